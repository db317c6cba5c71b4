/** Requests of /dev/kvm and of VMs that are the same on every architecture: creation, capabilities, memory, dirty tracking. */
import { address, array, bytes, fd, named, u32, u64 } from './fields.ts';
import { KVM_CAP } from './kvm-caps.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const source = 'include/uapi/linux/kvm.h';
const OLD = 'before 6.1';

/** What KVM_GET_API_VERSION returns; anything else is not a kernel of this century. */
export const KVM_API_VERSION = 12;

/** The VM types of x86. SW_PROTECTED since 6.8; SEV, SEV_ES since 6.10; SNP since 6.11; TDX since 6.16. Source: asm/kvm.h of x86. */
export const KVM_VM_TYPE = defineNames(
  'KVM_VM_TYPE',
  'values',
  {
    KVM_X86_DEFAULT_VM: 0,
    KVM_X86_SW_PROTECTED_VM: 1,
    KVM_X86_SEV_VM: 2,
    KVM_X86_SEV_ES_VM: 3,
    KVM_X86_SNP_VM: 4,
    KVM_X86_TDX_VM: 5,
  },
  'x86',
);

/** The VM type of arm64: bits above the log2 of the IPA space in bits 7:0 (0: 40 bits). PROTECTED as of 7.3. */
export const KVM_VM_TYPE_ARM = defineNames(
  'KVM_VM_TYPE_ARM',
  'bits',
  { KVM_VM_TYPE_ARM_PROTECTED: 0x80000000 },
  'arm64',
);
export const KVM_VM_TYPE_ARM_IPA_SIZE_MASK = 0xff;

export const KVM_GET_API_VERSION = defineIoctl('KVM_GET_API_VERSION', {
  nr: 0x00,
  direction: 'none',
  on: 'kvm',
  since: '2.6.20',
});

export const KVM_CREATE_VM = defineIoctl('KVM_CREATE_VM', {
  nr: 0x01,
  direction: 'none',
  on: 'kvm',
  arg: { name: 'type', names: KVM_VM_TYPE },
  makes: 'vm',
  arch: 'x86',
  since: '2.6.20',
});

/** The same number on arm64, where the type is made of bits. */
export const KVM_CREATE_VM_arm64 = defineIoctl('KVM_CREATE_VM', {
  nr: 0x01,
  direction: 'none',
  on: 'kvm',
  arg: { name: 'type', names: KVM_VM_TYPE_ARM },
  makes: 'vm',
  arch: 'arm64',
  since: '3.9',
});

/** Returns 0 (absent) or a positive number whose meaning depends on the capability. On a VM since 3.17 (KVM_CAP_CHECK_EXTENSION_VM). */
export const KVM_CHECK_EXTENSION = defineIoctl('KVM_CHECK_EXTENSION', {
  nr: 0x03,
  direction: 'none',
  on: ['kvm', 'vm'],
  arg: { name: 'capability', names: KVM_CAP },
  since: '2.6.22',
});

/** Size in bytes to map of a vCPU's descriptor. */
export const KVM_GET_VCPU_MMAP_SIZE = defineIoctl('KVM_GET_VCPU_MMAP_SIZE', {
  nr: 0x04,
  direction: 'none',
  on: 'kvm',
  since: '2.6.22',
});

export const KVM_CREATE_VCPU = defineIoctl('KVM_CREATE_VCPU', {
  nr: 0x41,
  direction: 'none',
  on: 'vm',
  arg: 'id',
  makes: 'vcpu',
  since: '2.6.20',
});

/** Not for the bits above 15, which are the kernel's own. GUEST_MEMFD since 6.8. */
export const KVM_MEM = defineNames('KVM_MEM', 'bits', {
  KVM_MEM_LOG_DIRTY_PAGES: 0x1,
  KVM_MEM_READONLY: 0x2,
  KVM_MEM_GUEST_MEMFD: 0x4,
});

/** `slot`: id in the low 16 bits, address space in the high 16. Addresses and sizes in bytes. Size 0 deletes the slot. */
export const kvm_userspace_memory_region = struct(
  'kvm_userspace_memory_region',
  {
    slot: u32,
    flags: named.u32(KVM_MEM),
    guest_phys_addr: address,
    memory_size: address,
    userspace_addr: address,
  },
  { source },
);

export const KVM_SET_USER_MEMORY_REGION = defineIoctl('KVM_SET_USER_MEMORY_REGION', {
  nr: 0x46,
  direction: 'write',
  on: 'vm',
  arg: kvm_userspace_memory_region,
  pointers: ['userspace_addr'],
  since: '2.6.25',
});

/** The first 32 bytes are kvm_userspace_memory_region. The pads are not looked at. */
export const kvm_userspace_memory_region2 = struct(
  'kvm_userspace_memory_region2',
  {
    slot: u32,
    flags: named.u32(KVM_MEM),
    guest_phys_addr: address,
    memory_size: address,
    userspace_addr: address,
    guest_memfd_offset: address,
    guest_memfd: fd,
    pad1: u32,
    pad2: array(u64, 14),
  },
  { source },
);

export const KVM_SET_USER_MEMORY_REGION2 = defineIoctl('KVM_SET_USER_MEMORY_REGION2', {
  nr: 0x49,
  direction: 'write',
  on: 'vm',
  arg: kvm_userspace_memory_region2,
  pointers: ['userspace_addr'],
  since: '6.8',
});

export const kvm_enable_cap = struct(
  'kvm_enable_cap',
  { cap: named.u32(KVM_CAP), flags: u32, args: array(u64, 4), pad: bytes(64) },
  { source },
);

export const KVM_ENABLE_CAP = defineIoctl('KVM_ENABLE_CAP', {
  nr: 0xa3,
  direction: 'write',
  on: ['vm', 'vcpu'],
  arg: kvm_enable_cap,
  since: '2.6.34; on a VM 3.14',
});

/** Statistics of a VM or vCPU, read from the descriptor: struct kvm_stats_header first. */
export const KVM_GET_STATS_FD = defineIoctl('KVM_GET_STATS_FD', {
  nr: 0xce,
  direction: 'none',
  on: ['vm', 'vcpu'],
  makes: 'stats',
  since: '5.14',
});

/** The old way to bound the shadow page tables, in pages. */
export const KVM_SET_NR_MMU_PAGES = defineIoctl('KVM_SET_NR_MMU_PAGES', {
  nr: 0x44,
  direction: 'none',
  on: 'vm',
  arg: 'pages',
  arch: 'x86',
  since: OLD,
});

/** Deprecated with the request before. */
export const KVM_GET_NR_MMU_PAGES = defineIoctl('KVM_GET_NR_MMU_PAGES', {
  nr: 0x45,
  direction: 'none',
  on: 'vm',
  arch: 'x86',
  since: OLD,
});
