/** Requests, capabilities and calls that a differential run of KVM chooses from: none that only one of the kernels has. */
import * as uapi from '../../lib/uapi/index.ts';
import type { FdOf, FileCall } from './kvm-commands.ts';

/** Requests without a struct. */
export const PLAIN = [uapi.KVM_GET_API_VERSION, uapi.KVM_GET_VCPU_MMAP_SIZE, uapi.KVM_SET_TSS_ADDR].map(
  ({ request }) => request,
);
export const UNKNOWN = [0xaeff, 0xae02, 0x5401, 0, 0xffff_ffff, 0x4020_ae47, 0x4021_ae46, 0xc041_aed4, 0x8090_ae82];
/** Requests with a struct that a buffer of zeros does no harm to; where they belong nowhere, everybody says so. */
export const STRUCTS = [
  uapi.KVM_SET_USER_MEMORY_REGION,
  uapi.KVM_SET_USER_MEMORY_REGION2,
  uapi.KVM_CREATE_GUEST_MEMFD,
  uapi.KVM_SET_MEMORY_ATTRIBUTES,
  uapi.KVM_ENABLE_CAP,
  uapi.KVM_GET_DIRTY_LOG,
  uapi.KVM_CLEAR_DIRTY_LOG,
  uapi.KVM_GET_REGS,
  uapi.KVM_GET_SREGS,
  uapi.KVM_GET_MP_STATE,
  uapi.KVM_SET_MP_STATE,
  uapi.KVM_PRE_FAULT_MEMORY,
  uapi.KVM_MEMORY_ENCRYPT_REG_REGION,
  uapi.KVM_MEMORY_ENCRYPT_UNREG_REGION,
].map(({ request }) => request);
/** KVM_SET_IDENTITY_MAP_ADDR, which is not in lib/uapi, and KVM_MEMORY_ENCRYPT_OP, whose argument means something to some processors only. */
const IDENTITY_MAP = 0x4008_ae48;
/** Requests whose argument is an address. */
export const BY_ADDRESS = [...STRUCTS, IDENTITY_MAP, uapi.KVM_MEMORY_ENCRYPT_OP.request];
export const FLEXIBLE = [uapi.KVM_GET_SUPPORTED_CPUID, uapi.KVM_GET_MSR_INDEX_LIST].map(({ request }) => request);
/** Capabilities that the simulation answers as a kernel does. Others it has not, and says so. */
export const CAPS = [
  3, 4, 7, 10, 14, 16, 21, 30, 37, 40, 66, 81, 98, 105, 118, 128, 136, 166, 168, 201, 231, 232, 233, 234, 235, 236, 244,
];
export const STRANGE_CAPS = [252, 300, 0xffff, 0x1_0000, 0x1_0000_0003, 0xffff_ffff, 2 ** 40];
export const CALLS: readonly FileCall[] = [
  ...(['read', 'write', 'pread', 'pwrite', 'lseek', 'lseek', 'ftruncate', 'fallocate', 'flags'] as const),
  ...(['seals', 'addSeals', 'cachestat', 'stat', 'mmap', 'mmap', 'mmap'] as const),
];
export const ON: readonly FdOf[] = ['kvm', 'vm', 'vm', 'vcpu', 'gmem', 'memfd', 'closed'];
