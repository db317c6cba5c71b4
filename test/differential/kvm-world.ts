/** One kernel with what a differential run of KVM acts on: two VMs, a vCPU with a page of code, memory, files. */

import { protectedMode } from '../../lib/guest/x64/modes.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import {
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_SREGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  kvm_create_guest_memfd,
  kvm_sregs,
  kvm_userspace_memory_region,
} from '../../lib/uapi/index.ts';
import type { FdOf } from './kvm-commands.ts';

export const PAGE = 4096;
export const BACKING_PAGES = 24;
/** Behind the backing memory, so that no slot reaches into what the process has there. */
const GUARD_PAGES = 8;
export const FILES = 4;
const FILE_PAGES = 8;
/** Where code lies: a slot of its own, which no command touches. */
export const CODE_GPA = 0xf_0000;
const CODE_SLOT = 100;
const O_RDWR = 2;
const RUN_BYTES = 12288;
const SHARED_RW = { prot: 3, shared: 1, anonymous: 0x20 } as const;
/** No exception can be delivered: each one is a shutdown. */
const NO_IDT = { base: 0n, limit: 0, padding: [0, 0, 0] };
const CLOSED_FD = 19_000;

/** The value, or an error that names the call: a world that cannot be made is no disagreement. */
export function must(value: number, what: string): number {
  if (value < 0) throw new Error(`${what}: errno ${-value}`);
  return value;
}

export class KvmWorld {
  readonly kernel: Kernel;
  readonly kvm: number;
  readonly vms: (number | undefined)[] = [];
  readonly vcpu: number;
  readonly handle: number;
  readonly run: DataView;
  readonly backing: number;
  readonly code: number;
  readonly memfd: number;
  readonly files: (number | undefined)[] = [];
  readonly #runPage: number;
  readonly #others: number[] = [];

  /** @param type of the first VM, whose vCPU runs; the second is a default VM. */
  constructor(kernel: Kernel, type: number) {
    this.kernel = kernel;
    this.kvm = must(kernel.open('/dev/kvm', O_RDWR, 0), '/dev/kvm');
    for (const one of [type, 0]) {
      this.vms.push(must(kernel.ioctl(this.kvm, KVM_CREATE_VM.request, one, 1), 'KVM_CREATE_VM'));
    }
    const vm = this.vms[0] ?? -1;
    const { prot, shared, anonymous } = SHARED_RW;
    const pages = BACKING_PAGES + GUARD_PAGES;
    this.backing = must(kernel.mmap(0, pages * PAGE, prot, shared | anonymous, -1, 0), 'mmap');
    must(kernel.mprotect(this.backing + BACKING_PAGES * PAGE, GUARD_PAGES * PAGE, 0), 'mprotect');
    this.code = must(kernel.mmap(0, PAGE, prot, shared | anonymous, -1, 0), 'mmap');
    this.memfd = must(kernel.memfdCreate('differential', 0), 'memfd_create');
    must(kernel.ftruncate(this.memfd, BACKING_PAGES * PAGE), 'ftruncate');
    const region = kvm_userspace_memory_region.encode({
      slot: CODE_SLOT,
      guest_phys_addr: CODE_GPA,
      memory_size: PAGE,
      userspace_addr: this.code,
    });
    must(kernel.ioctl(vm, KVM_SET_USER_MEMORY_REGION.request, region), 'the slot of the code');
    // Files from the start, so that slots are bound to them again and again. On a kernel without guest_memfd there are none.
    for (let flags = 0n; flags < 4n; flags += 3n) {
      const bytes = kvm_create_guest_memfd.encode({ size: FILE_PAGES * PAGE, flags });
      const fd = kernel.ioctl(vm, KVM_CREATE_GUEST_MEMFD.request, bytes, 1);
      this.files.push(fd < 0 ? undefined : fd);
    }
    this.vcpu = must(kernel.ioctl(vm, KVM_CREATE_VCPU.request, 0, 1), 'KVM_CREATE_VCPU');
    this.#runPage = must(kernel.mmap(0, RUN_BYTES, prot, shared, this.vcpu, 0), 'mmap of the vCPU');
    this.handle = must(kernel.vcpuAttach(this.vcpu, this.#runPage), 'vcpuAttach');
    const view = kernel.view(this.#runPage, RUN_BYTES);
    if (typeof view === 'number') throw new Error(`no view: errno ${-view}`);
    this.run = new DataView(view);
    this.startOver();
  }

  /** Flat protected mode, as a shutdown may leave none. */
  startOver(): void {
    const { kernel, vcpu } = this;
    const sregs = kvm_sregs.encode();
    must(kernel.ioctl(vcpu, KVM_GET_SREGS.request, sregs), 'KVM_GET_SREGS');
    const flat = kvm_sregs.encode({ ...kvm_sregs.decode(sregs), ...protectedMode(), idt: NO_IDT });
    must(kernel.ioctl(vcpu, KVM_SET_SREGS.request, flat), 'KVM_SET_SREGS');
  }

  fd(of: FdOf, index: number): number {
    switch (of) {
      case 'kvm':
        return this.kvm;
      case 'vm':
        return this.vms[index] ?? CLOSED_FD;
      case 'vcpu':
        return this.vcpu;
      case 'gmem':
        return this.files[index] ?? CLOSED_FD;
      case 'memfd':
        return this.memfd;
      case 'closed':
        return CLOSED_FD;
    }
  }

  keepFile(index: number, fd: number): void {
    this.closeFile(index);
    this.files[index] = fd;
  }

  closeFile(index: number): number {
    const fd = this.files[index];
    this.files[index] = undefined;
    return fd === undefined ? 0 : this.kernel.close(fd);
  }

  /** A descriptor of no further use. */
  keepOther(fd: number): void {
    this.#others.push(fd);
  }

  end(): void {
    const { kernel } = this;
    kernel.vcpuDetach(this.handle);
    kernel.munmap(this.#runPage, RUN_BYTES);
    kernel.munmap(this.backing, (BACKING_PAGES + GUARD_PAGES) * PAGE);
    kernel.munmap(this.code, PAGE);
    for (const fd of [...this.files, this.vcpu, ...this.#others, this.memfd, ...this.vms, this.kvm]) {
      if (fd !== undefined) kernel.close(fd);
    }
  }
}
