/**
 * Conversion inside one guest_memfd: KVM_SET_MEMORY_ATTRIBUTES2 on the file. virt/kvm/guest_memfd.c of the in-place conversion series, v8, with
 * its module parameter on.
 */
import { kvm_memory_attributes2 } from '../../uapi/proposed.ts';
import { EAGAIN, EFAULT, EINVAL } from '../errno.ts';
import type { GuestMemfdFile } from '../files/guest-memfd.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';
import { isAligned, PAGE_SIZE, pageOf } from '../page.ts';

const AT = kvm_memory_attributes2.offsets;
const PRIVATE = 8n;
const WRAP = 1n << 64n;
const RESERVED_WORDS = 11;

/** _IOWR(0xAE, 0xd2, 128). */
export const SET_MEMORY_ATTRIBUTES2 = 0xc080_aed2;

export function setAttributes2(vm: Vm, file: GuestMemfdFile, arg: bigint): number {
  const { user, physical } = vm.process;
  const bytes = user.read(arg, kvm_memory_attributes2.size);
  if (bytes === undefined) return -EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (offset: number): bigint => view.getBigUint64(offset, true);
  const [offset, size, attributes] = [word(AT.offset), word(AT.size), word(AT.attributes)];
  if (word(AT.flags) !== 0n) return -EINVAL;
  for (let i = 0; i < RESERVED_WORDS; i++) if (word(AT.reserved + 8 * i) !== 0n) return -EINVAL;
  if (!vm.machine.hasPrivateMemory(vm.type) || (attributes & ~PRIVATE) !== 0n) return -EINVAL;
  if (size === 0n || offset + size >= WRAP || !isAligned(offset) || !isAligned(size)) return -EINVAL;
  if (offset >= file.size || offset + size > file.size) return -EINVAL;
  const [from, to] = [pageOf(offset), pageOf(offset + size)];
  const shared = attributes === 0n;
  if (file.inode.isUniform(from, to, shared)) return 0;
  if (!shared) {
    // Host mappings go first, whatever comes of it: they fault in again if it comes to nothing.
    file.pages.moved(from, to);
    const pinned = physical.pinnedIn(file.pages, from, to);
    if (pinned !== undefined) {
      view.setBigUint64(AT.error_offset, BigInt(pinned * PAGE_SIZE), true);
      return user.write(arg, bytes) ? -EAGAIN : -EFAULT;
    }
  }
  file.inode.setShared(from, to, shared);
  vm.technology?.fileConverted?.(file, from, to, !shared);
  vm.memory.changed();
  file.pages.moved(from, to);
  return 0;
}
