/**
 * VMs of a kernel with a series of 2022 whose memslots can have private memory in a memfd. virt/kvm/kvm_main.c and arch/x86/kvm/mmu/mmu.c of the
 * series, v5. Its generic code never calls an access private: only the series of TDX and SEV on top did. Here VMs of type 1 opt in, as trust
 * domains of the time, and name the side by bit 47 of the gpa; nothing else of a technology is there.
 */

import { ENOTTY, EPERM } from '../errno.ts';
import type { RunResult, VmTechnology } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';
import { PAGE_SIZE } from '../page.ts';
import type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';

const SHARED_BIT = 47;
const SHARED_FRAME = 2 ** (SHARED_BIT - 12);
/** The fault handler answers -1, which is the result of KVM_RUN. */
const missing = (isPrivate: boolean): BusMiss => ({ kind: 'memory-fault', private: isPrivate, errno: EPERM });

class MemfileBus implements GuestBus {
  readonly #vm: Vm;
  readonly #vcpu: Vcpu;

  constructor(vm: Vm, vcpu: Vcpu) {
    this.#vm = vm;
    this.#vcpu = vcpu;
  }

  get generation(): number {
    return this.#vm.memory.generation;
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const shared = gfn >= SHARED_FRAME && this.#vcpu.cpu.hasWideEntries;
    return this.#find(shared ? gfn - SHARED_FRAME : gfn, access, !shared);
  }

  /** kvm_faultin_pfn_private: what the file holds decides. */
  #find(gfn: number, access: BusAccess, isPrivate: boolean): Uint8Array | BusMiss {
    const { memory } = this.#vm;
    const slot = memory.slotAt(gfn);
    if (slot?.hasFile !== true) return memory.page(gfn, access);
    const page = slot.file?.page(slot.filePage + gfn - slot.gfn, access === 'write');
    if (isPrivate) return page ?? missing(true);
    return page === undefined ? memory.sided(gfn, access === 'write', false) : missing(false);
  }
}

export class MemfileVm implements VmTechnology {
  readonly vm: Vm;

  constructor(vm: Vm) {
    this.vm = vm;
  }

  bus(vcpu: Vcpu): GuestBus {
    return new MemfileBus(this.vm, vcpu);
  }

  address(gpa: number): number {
    return gpa >= SHARED_FRAME * PAGE_SIZE ? gpa - SHARED_FRAME * PAGE_SIZE : gpa;
  }

  isAlias(gfn: number): boolean {
    return gfn >= SHARED_FRAME;
  }

  destroy(): void {}
  vmCommand(): number {
    return -ENOTTY;
  }
  vcpuCommand(): number {
    return -ENOTTY;
  }
  registerRegion(): number {
    return -ENOTTY;
  }
  unregisterRegion(): number {
    return -ENOTTY;
  }
  mayCreateVcpu(): number {
    return 0;
  }
  vcpuCreated(): void {}
  hidesState(): boolean {
    return false;
  }
  mayRun(): number {
    return 0;
  }
  entryFailure(): undefined {
    return undefined;
  }
  secure(): RunResult {
    return undefined;
  }
  leaveGuest(): void {}
  readonly preFaults = false;
  preFaulted(): number {
    return 0;
  }
  converted(): void {}
  slotRemoved(): void {}
  fileCreated(): void {}
}
