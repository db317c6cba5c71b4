/** Private guest memory: guest_memfd, memory attributes, pre-faulting, encrypted regions. Source: include/uapi/linux/kvm.h. */
import { address, array, named, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const source = 'include/uapi/linux/kvm.h';

/** MMAP and INIT_SHARED since 6.18. KVM_CAP_GUEST_MEMFD_FLAGS of the VM says which ones it takes. */
export const GUEST_MEMFD_FLAG = defineNames('GUEST_MEMFD_FLAG', 'bits', {
  GUEST_MEMFD_FLAG_MMAP: 0x1,
  GUEST_MEMFD_FLAG_INIT_SHARED: 0x2,
});

/** `size` in bytes, a multiple of the page size. `reserved` is not looked at. */
export const kvm_create_guest_memfd = struct(
  'kvm_create_guest_memfd',
  { size: address, flags: named.u64(GUEST_MEMFD_FLAG), reserved: array(u64, 6) },
  { source },
);

/** Declared as travelling both ways; the kernel only reads the struct. The descriptor comes without FD_CLOEXEC. */
export const KVM_CREATE_GUEST_MEMFD = defineIoctl('KVM_CREATE_GUEST_MEMFD', {
  nr: 0xd4,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_create_guest_memfd,
  travels: 'in',
  makes: 'guest_memfd',
  since: '6.8',
});

export const KVM_MEMORY_ATTRIBUTE = defineNames('KVM_MEMORY_ATTRIBUTE', 'bits', {
  KVM_MEMORY_ATTRIBUTE_PRIVATE: 0x8,
});

/** `address` is a gpa. `flags` must be 0. */
export const kvm_memory_attributes = struct(
  'kvm_memory_attributes',
  { address, size: address, attributes: named.u64(KVM_MEMORY_ATTRIBUTE), flags: u64 },
  { source },
);

export const KVM_SET_MEMORY_ATTRIBUTES = defineIoctl('KVM_SET_MEMORY_ATTRIBUTES', {
  nr: 0xd2,
  direction: 'write',
  on: 'vm',
  arg: kvm_memory_attributes,
  since: '6.8',
});

/** gpa and size in bytes, advanced by what was done. `padding` is not looked at. */
export const kvm_pre_fault_memory = struct(
  'kvm_pre_fault_memory',
  { gpa: address, size: address, flags: u64, padding: array(u64, 5) },
  { source },
);

/** Succeeds when at least one page was mapped: go on until `size` is 0. */
export const KVM_PRE_FAULT_MEMORY = defineIoctl('KVM_PRE_FAULT_MEMORY', {
  nr: 0xd5,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_pre_fault_memory,
  since: '6.11',
});

/** Memory that the guest may encrypt, pinned for the life of the VM (SEV). */
export const kvm_enc_region = struct('kvm_enc_region', { addr: address, size: address }, { source });

/** Declared as travelling out of the kernel; it travels in. */
export const KVM_MEMORY_ENCRYPT_REG_REGION = defineIoctl('KVM_MEMORY_ENCRYPT_REG_REGION', {
  nr: 0xbb,
  direction: 'read',
  on: 'vm',
  arg: kvm_enc_region,
  travels: 'in',
  pointers: ['addr'],
  since: '4.16',
});

export const KVM_MEMORY_ENCRYPT_UNREG_REGION = defineIoctl('KVM_MEMORY_ENCRYPT_UNREG_REGION', {
  nr: 0xbc,
  direction: 'read',
  on: 'vm',
  arg: kvm_enc_region,
  travels: 'in',
  pointers: ['addr'],
  since: '4.16',
});
