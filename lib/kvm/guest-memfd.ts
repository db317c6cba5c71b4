/** guest_memfd: memory that belongs to one VM and that userspace reaches only as far as its flags allow. */
import { MemFile } from '../memory/mem-file.ts';
import { GUEST_MEMFD_FLAG } from '../uapi/index.ts';
import type { Vm } from './vm.ts';

export class GuestMemfd extends MemFile {
  readonly vm: Vm;
  /** GUEST_MEMFD_FLAG bits that it was created with. */
  readonly flags: bigint;

  /** Not for users: see {@link Vm.createGuestMemfd}. */
  constructor(vm: Vm, fd: number, flags: bigint) {
    super(vm.sys, vm, 'guest_memfd', fd);
    this.vm = vm;
    this.flags = flags;
  }

  /** GUEST_MEMFD_FLAG_MMAP: the file can be mapped; ENODEV otherwise. */
  get mappable(): boolean {
    return (this.flags & BigInt(GUEST_MEMFD_FLAG.value.GUEST_MEMFD_FLAG_MMAP)) !== 0n;
  }

  /** GUEST_MEMFD_FLAG_INIT_SHARED: pages start shared, so that the host reaches them; private otherwise (SIGBUS). */
  get initShared(): boolean {
    return (this.flags & BigInt(GUEST_MEMFD_FLAG.value.GUEST_MEMFD_FLAG_INIT_SHARED)) !== 0n;
  }
}
