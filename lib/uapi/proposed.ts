/**
 * Interfaces that are not merged: in-place conversion inside one guest_memfd, as in revision 8 of the series (June 2026), and fd-based private
 * memory as in revision 5 (March 2022), which never was. Nothing here is known to traces and errors until its declaring function is called,
 * since a kernel without the series may give the number to something else. It is also the worked example of how a user declares the interfaces
 * of a patched kernel: docs/uapi.md.
 */
import { address, array, fd, named, u32, u64 } from './fields.ts';
import { KVM_MEMORY_ATTRIBUTE } from './kvm-private.ts';
import { struct } from './layout.ts';
import type { Ioctl, IoctlDeclaration } from './registry.ts';
import { defineIoctl, makeIoctl } from './registry.ts';

/** `offset` in the file; `error_offset` is written when it fails with EAGAIN or ENOMEM. `flags` and `reserved` must be 0. */
export const kvm_memory_attributes2 = struct(
  'kvm_memory_attributes2',
  {
    /** In C a union of address and offset, which share the place. */
    offset: address,
    size: address,
    attributes: named.u64(KVM_MEMORY_ATTRIBUTE),
    flags: u64,
    error_offset: address,
    reserved: array(u64, 11),
  },
  { source: 'in-place conversion series, v8' },
);

/** Makes KVM_SET_MEMORY_ATTRIBUTES2 (0xC080AED2, on guest_memfd descriptors) known; returns it. */
export function declareMemoryAttributes2(): Ioctl {
  return defineIoctl('KVM_SET_MEMORY_ATTRIBUTES2', {
    nr: 0xd2,
    direction: 'read-write',
    on: 'guest_memfd',
    arg: kvm_memory_attributes2,
    since: 'in-place conversion series, v8',
  });
}

const fdBased = 'KVM: mm: fd-based approach for supporting KVM guest private memory, v5';

/** memfd_create flag of the 2022 series: 8, which is MFD_NOEXEC_SEAL since 6.3. */
export const MFD_INACCESSIBLE = 0x8;
/** Memslot flag of the 2022 series: 4, which is KVM_MEM_GUEST_MEMFD since 6.8. */
export const KVM_MEM_PRIVATE = 0x4;
/** Exit reason of the 2022 series up to v6; upstream gave the number to another architecture. KVM_RUN fails with EPERM then. */
export const KVM_EXIT_MEMORY_ERROR = 36;

/** With KVM_MEM_PRIVATE the kernel reads this, though the request's number says 32 bytes. */
export const kvm_userspace_memory_region_ext = struct(
  'kvm_userspace_memory_region_ext',
  {
    slot: u32,
    flags: u32,
    guest_phys_addr: address,
    memory_size: address,
    userspace_addr: address,
    private_offset: address,
    private_fd: fd,
    pad: array(u32, 5),
  },
  { source: fdBased },
);

/** Payload of KVM_EXIT_MEMORY_ERROR, from KVM_RUN_EXIT_OFFSET on. `flags` bit 0: the access was private. */
export const kvm_run_memory_error = struct(
  'kvm_run.memory_error',
  { flags: u32, padding: u32, gpa: address, size: address },
  { source: fdBased },
);

const PRIVATE_REGION: IoctlDeclaration = {
  nr: 0x46,
  direction: 'write',
  on: 'vm',
  arg: kvm_userspace_memory_region_ext,
  encodedSize: 32,
  realLength: (bytes) =>
    bytes.length >= 8 && (new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true) & KVM_MEM_PRIVATE) !== 0
      ? kvm_userspace_memory_region_ext.size
      : 32,
  since: fdBased,
};
const PRIVATE_REGION_NAME = 'KVM_SET_USER_MEMORY_REGION_PRIVATE';

/** KVM_SET_USER_MEMORY_REGION with KVM_MEM_PRIVATE: the old number, 64 bytes. Traces and errors of that number stay those of the old request. */
export const privateMemoryRegion: Ioctl = makeIoctl(PRIVATE_REGION_NAME, PRIVATE_REGION);

/** Makes it known as well, for all requests of that number; returns it. */
export function declarePrivateMemoryRegion(): Ioctl {
  return defineIoctl(PRIVATE_REGION_NAME, PRIVATE_REGION);
}
