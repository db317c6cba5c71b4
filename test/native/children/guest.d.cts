import type { Kernel } from '../../../lib/kernel/kernel.js';

interface OpenVcpu {
  fd: number;
  runSize: number;
  runPage: number;
  handle: number;
}

interface OpenGuest extends OpenVcpu {
  kvm: number;
  vm: number;
  file: number;
  hva: number;
}

declare const guest: {
  E: Record<string, number> & typeof import('node:os').constants.errno;
  PAGE: number;
  MEMORY: number;
  ENTRY: number;
  PROT: { NONE: number; READ: number; RW: number };
  MAP: {
    SHARED: number;
    PRIVATE: number;
    FIXED: number;
    ANONYMOUS: number;
    NORESERVE: number;
    FIXED_NOREPLACE: number;
  };
  O: { RDONLY: number; RDWR: number; CLOEXEC: number };
  FCNTL: {
    DUPFD: number;
    GETFD: number;
    SETFD: number;
    GETFL: number;
    SETFL: number;
    DUPFD_CLOEXEC: number;
    ADD_SEALS: number;
    GET_SEALS: number;
  };
  KVM: {
    GET_API_VERSION: number;
    CREATE_VM: number;
    CHECK_EXTENSION: number;
    GET_VCPU_MMAP_SIZE: number;
    CREATE_VCPU: number;
    GET_DIRTY_LOG: number;
    SET_USER_MEMORY_REGION: number;
    RUN: number;
    GET_REGS: number;
    SET_REGS: number;
    GET_SREGS: number;
    SET_SREGS: number;
    GET_MSRS: number;
    CREATE_GUEST_MEMFD: number;
  };
  EXIT: { IO: number; HLT: number; MMIO: number };
  CODE: { out: number[]; spin: number[]; dirty: number[] };
  ok<T>(result: T, what: string): T;
  kvmMissing(kernel: Kernel): string | undefined;
  guestMemfdMissing(kernel: Kernel): string | undefined;
  openVm(kernel: Kernel): { kvm: number; vm: number };
  guestMemfd(kernel: Kernel, vm: number, size: number, flags: number): number;
  addVcpu(kernel: Kernel, kvm: number, vm: number, id: number): OpenVcpu;
  openGuest(kernel: Kernel, code: readonly number[], slotFlags?: number): OpenGuest;
  exitReason(kernel: Kernel, guest: OpenVcpu): number;
  closeGuest(kernel: Kernel, guest: OpenGuest): void;
};
export = guest;
