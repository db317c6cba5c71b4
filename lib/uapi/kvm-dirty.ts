/** Which pages the guest wrote: dirty bitmaps and dirty rings. Source: include/uapi/linux/kvm.h. */
import { address, named, u32 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const options = { source: 'include/uapi/linux/kvm.h' } as const;

/** `dirty_bitmap` points to one bit per page of the slot, in words of 64 bits. */
export const kvm_dirty_log = struct('kvm_dirty_log', { slot: u32, padding1: u32, dirty_bitmap: address }, options);

/** The bitmap is written through the pointer; the struct itself only travels in. */
export const KVM_GET_DIRTY_LOG = defineIoctl('KVM_GET_DIRTY_LOG', {
  nr: 0x42,
  direction: 'write',
  on: 'vm',
  arg: kvm_dirty_log,
  pointers: ['dirty_bitmap'],
  since: '2.6.20',
});

/** Pages `first_page`, a multiple of 64, up to `num_pages`, a multiple of 64 unless it ends the slot. */
export const kvm_clear_dirty_log = struct(
  'kvm_clear_dirty_log',
  { slot: u32, num_pages: u32, first_page: address, dirty_bitmap: address },
  options,
);

/** Needs KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. Declared as travelling both ways; the struct only travels in. */
export const KVM_CLEAR_DIRTY_LOG = defineIoctl('KVM_CLEAR_DIRTY_LOG', {
  nr: 0xc0,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_clear_dirty_log,
  travels: 'in',
  pointers: ['dirty_bitmap'],
  since: '5.0',
});

/** Argument of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. */
export const KVM_DIRTY_LOG = defineNames('KVM_DIRTY_LOG', 'bits', {
  KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE: 0x1,
  KVM_DIRTY_LOG_INITIALLY_SET: 0x2,
});

/** Returns how many pages were reset. Rings are sized in bytes through KVM_CAP_DIRTY_LOG_RING or _ACQ_REL before the first vCPU. */
export const KVM_RESET_DIRTY_RINGS = defineIoctl('KVM_RESET_DIRTY_RINGS', {
  nr: 0xc7,
  direction: 'none',
  on: 'vm',
  since: '5.11',
});

export const KVM_DIRTY_GFN_F = defineNames('KVM_DIRTY_GFN_F', 'bits', {
  KVM_DIRTY_GFN_F_DIRTY: 0x1,
  KVM_DIRTY_GFN_F_RESET: 0x2,
});

/** An element of the ring mapped at KVM_DIRTY_LOG_PAGE_OFFSET of a vCPU's descriptor; `offset` in pages from the slot's start. */
export const kvm_dirty_gfn = defineLayout(
  struct('kvm_dirty_gfn', { flags: named.u32(KVM_DIRTY_GFN_F), slot: u32, offset: address }, options),
);
