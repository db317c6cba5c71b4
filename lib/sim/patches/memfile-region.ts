/**
 * KVM_SET_USER_MEMORY_REGION of a kernel with a series of 2022: the request's number is the old one, and with KVM_MEM_PRIVATE the kernel reads 64
 * bytes. virt/kvm/kvm_main.c of the series, v5.
 */
import { KVM_MEM_PRIVATE, kvm_userspace_memory_region_ext } from '../../uapi/proposed.ts';
import { EFAULT, EINVAL } from '../errno.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';

const REGION = kvm_userspace_memory_region_ext;
const PLAIN_SIZE = 32;
/** Only later revisions looked at the offset: here it counts in pages, and its sign not at all. */
const OFFSET = 0x7fff_ffff_ffff_f000n;

export function setMemfileRegion(vm: Vm, arg: bigint): number {
  const { user } = vm.process;
  const head = user.read(arg, PLAIN_SIZE);
  if (head === undefined) return -EFAULT;
  const flags = new DataView(head.buffer, head.byteOffset).getUint32(REGION.offsets.flags, true);
  const isPrivate = (flags & KVM_MEM_PRIVATE) !== 0;
  const bytes = isPrivate ? user.read(arg, REGION.size) : head;
  if (bytes === undefined) return -EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = REGION.offsets;
  const word = (offset: number): bigint => view.getBigUint64(offset, true);
  const slot = view.getUint32(at.slot, true);
  const size = word(at.memory_size);
  const region = { slot, flags, gpa: word(at.guest_phys_addr), size, hva: word(at.userspace_addr) };
  const old = vm.slots.byId(slot);
  // A private slot can only be deleted.
  if (old?.hasFile === true && size !== 0n) return -EINVAL;
  if (!isPrivate) return vm.setRegion(region);
  // What an architecture does not opt in to.
  if (!vm.machine.optsIn(vm.type) || (old !== undefined && size !== 0n)) return -EINVAL;
  if (size === 0n) return vm.setRegion({ ...region, flags: flags & ~KVM_MEM_PRIVATE });
  const fd = view.getUint32(at.private_fd, true);
  // A descriptor that is not open comes before everything about the slot.
  if (vm.process.fds.get(fd | 0) === undefined) return -EINVAL;
  return vm.setRegion({ ...region, file: { fd: fd | 0, offset: word(at.private_offset) & OFFSET } });
}
