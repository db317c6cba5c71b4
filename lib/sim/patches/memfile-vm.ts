/**
 * VMs of a kernel with a series of 2022 whose memslots can have private memory in a memfd. virt/kvm/kvm_main.c and arch/x86/kvm/mmu/mmu.c of the
 * series, v5. Its generic code never calls an access private: only the series of TDX and SEV on top did. Here VMs of type 1 opt in, as trust
 * domains of the time, and name the side by bit 47 of the gpa; nothing else of a technology is there.
 */

import { KVM_RUN_EXIT_OFFSET } from '../../uapi/kvm-run.ts';
import { KVM_EXIT_MEMORY_ERROR, kvm_run_memory_error } from '../../uapi/proposed.ts';
import { EINVAL, ENOTTY, EOPNOTSUPP, EPERM } from '../errno.ts';
import { MemfdFile } from '../files/memfd.ts';
import type { BindableFile, Memslot } from '../kvm/slot.ts';
import type { RunResult, VmTechnology } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';
import { PAGE_SIZE } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';
import type { MemfileListener } from './memfile.ts';

const SHARED_BIT = 47;
const SHARED_FRAME = 2 ** (SHARED_BIT - 12);
const AT = KVM_RUN_EXIT_OFFSET;
const ERROR = kvm_run_memory_error.offsets;
/** The fault handler answers -1, which is the result of KVM_RUN. */
const missing = (isPrivate: boolean): BusMiss => ({ kind: 'memory-fault', private: isPrivate, errno: EPERM });

/** One memslot's hold on a memfd, and what it is told of it. */
class Binding implements BindableFile, MemfileListener {
  readonly #vm: Vm;
  readonly #file: MemfdFile;
  readonly pages: PageStore;
  /** No offset is looked at. */
  readonly size = 2n ** 63n;
  readonly mappable = false;
  #slot: Memslot | undefined;
  #unregister: (() => void) | undefined;

  constructor(vm: Vm, file: MemfdFile) {
    this.#vm = vm;
    this.#file = file;
    this.pages = file.pages;
  }

  /** Nobody minds that somebody else has the page. */
  isBound(): boolean {
    return false;
  }

  bind(_from: number, _to: number, slot: Memslot): void {
    const { memfile } = this.#file;
    this.#slot = slot;
    this.#file.retain();
    this.#unregister = memfile?.register(this);
    if (memfile === undefined || !this.#vm.machine.profile.patches.has('register-converts')) return;
    // The variant: from now on the file is the guest's alone, with what it holds.
    memfile.inaccessible = true;
    this.pages.moved();
  }

  unbind(): void {
    if (this.#slot === undefined) return;
    this.#slot = undefined;
    this.#unregister?.();
    this.#file.drop();
  }

  page(filePage: number, write: boolean): Uint8Array | undefined {
    return this.pages.has(filePage) ? this.pages.page(filePage, write) : undefined;
  }

  fallocate(from: number, to: number): void {
    this.#tell('fallocate', 'shared', from, to);
  }

  invalidate(from: number, to: number): void {
    this.#tell('invalidate', 'private', from, to);
  }

  #tell(callback: 'fallocate' | 'invalidate', zapped: 'shared' | 'private', from: number, to: number): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    const first = Math.max(from, slot.filePage);
    const last = Math.min(to, slot.filePage + slot.pages);
    if (first >= last) return;
    this.#vm.memory.changed();
    this.#vm.process.events.push({
      ...{ kind: 'memfile-notifier', callback, zapped, ino: this.#file.ino },
      ...{ from: first * PAGE_SIZE, to: last * PAGE_SIZE, slot: slot.id },
      ...{ gpa: (slot.gfn + first - slot.filePage) * PAGE_SIZE, size: (last - first) * PAGE_SIZE },
    });
  }
}

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

  /** The file of private_fd: one whose file system registered a backing store, which is tmpfs. */
  fileOf(fd: number): BindableFile | number {
    const file = this.vm.process.fds.get(fd);
    if (file === undefined) return -EINVAL;
    return file instanceof MemfdFile && file.memfile !== undefined ? new Binding(this.vm, file) : -EOPNOTSUPP;
  }

  memoryFault({ page }: Vcpu, gpa: number, isPrivate: boolean): void {
    page.exitReason = KVM_EXIT_MEMORY_ERROR;
    page.run.setUint32(AT + ERROR.flags, isPrivate ? 1 : 0, true);
    page.run.setUint32(AT + ERROR.padding, 0, true);
    page.run.setBigUint64(AT + ERROR.gpa, BigInt(gpa), true);
    page.run.setBigUint64(AT + ERROR.size, BigInt(PAGE_SIZE), true);
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

  /** Slots hold their files as long as the VM lives. */
  destroy(): void {
    this.vm.slots.forEach((slot) => {
      slot.file?.unbind(slot.filePage, slot.filePage + slot.pages);
    });
  }

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
