/**
 * A request that is not merged: in-place conversion inside one guest_memfd, as in revision 8 of the series (June 2026). Nothing here is
 * known to traces and errors until {@link declareMemoryAttributes2} is called, since a kernel without the series may give the number to
 * something else. It is also the worked example of how a user declares the interfaces of a patched kernel: docs/uapi.md.
 */
import { address, array, named, u64 } from './fields.ts';
import { KVM_MEMORY_ATTRIBUTE } from './kvm-private.ts';
import { struct } from './layout.ts';
import type { Ioctl } from './registry.ts';
import { defineIoctl } from './registry.ts';

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
