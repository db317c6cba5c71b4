/**
 * SEV, SEV-ES and SEV-SNP: the commands of KVM_MEMORY_ENCRYPT_OP and what they carry. `uaddr` fields are addresses in this process,
 * lengths in bytes. Source: arch/x86/include/uapi/asm/kvm.h.
 */
import { address, array, bytes, fd, named, u8, u16, u32, u64 } from './fields.ts';
import { type Fields, type Layout, struct } from './layout.ts';
import { defineLayout, defineNames } from './registry.ts';

const arch = 'x86';
const source = 'arch/x86/include/uapi/asm/kvm.h';

function command<const F extends Fields>(name: string, fields: F): Layout<F> {
  return defineLayout(struct(name, fields, { arch, source }));
}

/** INIT and ES_INIT are for DEFAULT VMs, INIT2 (6.10) for the VM types; SNP_* since 6.11, SNP_ENABLE_REQ_CERTS after 6.18. */
export const KVM_SEV = defineNames(
  'KVM_SEV',
  'values',
  {
    KVM_SEV_INIT: 0,
    KVM_SEV_ES_INIT: 1,
    KVM_SEV_LAUNCH_START: 2,
    KVM_SEV_LAUNCH_UPDATE_DATA: 3,
    KVM_SEV_LAUNCH_UPDATE_VMSA: 4,
    KVM_SEV_LAUNCH_SECRET: 5,
    KVM_SEV_LAUNCH_MEASURE: 6,
    KVM_SEV_LAUNCH_FINISH: 7,
    KVM_SEV_SEND_START: 8,
    KVM_SEV_SEND_UPDATE_DATA: 9,
    KVM_SEV_SEND_UPDATE_VMSA: 10,
    KVM_SEV_SEND_FINISH: 11,
    KVM_SEV_RECEIVE_START: 12,
    KVM_SEV_RECEIVE_UPDATE_DATA: 13,
    KVM_SEV_RECEIVE_UPDATE_VMSA: 14,
    KVM_SEV_RECEIVE_FINISH: 15,
    KVM_SEV_GUEST_STATUS: 16,
    KVM_SEV_DBG_DECRYPT: 17,
    KVM_SEV_DBG_ENCRYPT: 18,
    KVM_SEV_CERT_EXPORT: 19,
    KVM_SEV_GET_ATTESTATION_REPORT: 20,
    KVM_SEV_SEND_CANCEL: 21,
    KVM_SEV_INIT2: 22,
    KVM_SEV_SNP_LAUNCH_START: 100,
    KVM_SEV_SNP_LAUNCH_UPDATE: 101,
    KVM_SEV_SNP_LAUNCH_FINISH: 102,
    KVM_SEV_SNP_ENABLE_REQ_CERTS: 103,
  },
  arch,
);

export const KVM_SEV_SNP_PAGE_TYPE = defineNames(
  'KVM_SEV_SNP_PAGE_TYPE',
  'values',
  {
    KVM_SEV_SNP_PAGE_TYPE_NORMAL: 1,
    KVM_SEV_SNP_PAGE_TYPE_ZERO: 3,
    KVM_SEV_SNP_PAGE_TYPE_UNMEASURED: 4,
    KVM_SEV_SNP_PAGE_TYPE_SECRETS: 5,
    KVM_SEV_SNP_PAGE_TYPE_CPUID: 6,
  },
  arch,
);

/** Bits of kvm_sev_init.vmsa_features; SNP_ACTIVE is the kernel's to set. Not in a user header. Source: arch/x86/include/asm/svm.h. */
export const SVM_SEV_FEAT = defineNames(
  'SVM_SEV_FEAT',
  'bits',
  {
    SVM_SEV_FEAT_SNP_ACTIVE: 0x1,
    SVM_SEV_FEAT_RESTRICTED_INJECTION: 0x8,
    SVM_SEV_FEAT_ALTERNATE_INJECTION: 0x10,
    SVM_SEV_FEAT_DEBUG_SWAP: 0x20,
    SVM_SEV_FEAT_SECURE_TSC: 0x200,
  },
  arch,
);

/** Codes of the firmware in kvm_sev_cmd.error. Source: include/uapi/linux/psp-sev.h. */
export const SEV_RET = defineNames('SEV_RET', 'values', {
  SEV_RET_SUCCESS: 0,
  SEV_RET_INVALID_PLATFORM_STATE: 0x1,
  SEV_RET_INVALID_GUEST_STATE: 0x2,
  SEV_RET_INVALID_CONFIG: 0x3,
  SEV_RET_INVALID_LEN: 0x4,
  SEV_RET_ALREADY_OWNED: 0x5,
  SEV_RET_INVALID_CERTIFICATE: 0x6,
  SEV_RET_POLICY_FAILURE: 0x7,
  SEV_RET_INACTIVE: 0x8,
  SEV_RET_INVALID_ADDRESS: 0x9,
  SEV_RET_BAD_SIGNATURE: 0xa,
  SEV_RET_BAD_MEASUREMENT: 0xb,
  SEV_RET_ASID_OWNED: 0xc,
  SEV_RET_INVALID_ASID: 0xd,
  SEV_RET_WBINVD_REQUIRED: 0xe,
  SEV_RET_DFFLUSH_REQUIRED: 0xf,
  SEV_RET_INVALID_GUEST: 0x10,
  SEV_RET_INVALID_COMMAND: 0x11,
  SEV_RET_ACTIVE: 0x12,
  SEV_RET_HWSEV_RET_PLATFORM: 0x13,
  SEV_RET_HWSEV_RET_UNSAFE: 0x14,
  SEV_RET_UNSUPPORTED: 0x15,
  SEV_RET_INVALID_PARAM: 0x16,
  SEV_RET_RESOURCE_LIMIT: 0x17,
  SEV_RET_SECURE_DATA_INVALID: 0x18,
  SEV_RET_INVALID_PAGE_SIZE: 0x19,
  SEV_RET_INVALID_PAGE_STATE: 0x1a,
  SEV_RET_INVALID_MDATA_ENTRY: 0x1b,
  SEV_RET_INVALID_PAGE_OWNER: 0x1c,
  SEV_RET_AEAD_OFLOW: 0x1d,
  SEV_RET_EXIT_RING_BUFFER: 0x1f,
  SEV_RET_RMP_INIT_REQUIRED: 0x20,
  SEV_RET_BAD_SVN: 0x21,
  SEV_RET_BAD_VERSION: 0x22,
  SEV_RET_SHUTDOWN_REQUIRED: 0x23,
  SEV_RET_UPDATE_FAILED: 0x24,
  SEV_RET_RESTORE_REQUIRED: 0x25,
  SEV_RET_RMP_INITIALIZATION_FAILED: 0x26,
  SEV_RET_INVALID_KEY: 0x27,
});

/** `data` points to the command's struct; `error` is written by the firmware, also on success; `sev_fd` is /dev/sev. */
export const kvm_sev_cmd = command('kvm_sev_cmd', {
  id: named.u32(KVM_SEV),
  pad0: u32,
  data: address,
  error: named.u32(SEV_RET),
  sev_fd: fd,
});

/** KVM_SEV_INIT2. `ghcb_version` 0 means 2, except for SEV, which has none. */
export const kvm_sev_init = command('kvm_sev_init', {
  vmsa_features: named.u64(SVM_SEV_FEAT),
  flags: u32,
  ghcb_version: u16,
  pad1: u16,
  pad2: array(u32, 8),
});

export const kvm_sev_launch_start = command('kvm_sev_launch_start', {
  handle: u32,
  policy: u32,
  dh_uaddr: address,
  dh_len: u32,
  pad0: u32,
  session_uaddr: address,
  session_len: u32,
  pad1: u32,
});

export const kvm_sev_launch_update_data = command('kvm_sev_launch_update_data', {
  uaddr: address,
  len: u32,
  pad0: u32,
});

export const kvm_sev_launch_secret = command('kvm_sev_launch_secret', {
  hdr_uaddr: address,
  hdr_len: u32,
  pad0: u32,
  guest_uaddr: address,
  guest_len: u32,
  pad1: u32,
  trans_uaddr: address,
  trans_len: u32,
  pad2: u32,
});

/** `len` 0 asks for the length: it is written, and the command fails with EIO. */
export const kvm_sev_launch_measure = command('kvm_sev_launch_measure', { uaddr: address, len: u32, pad0: u32 });

/** States of kvm_sev_guest_status. No name in C. */
export const SEV_GUEST_STATE = {
  uninit: 0,
  launchUpdate: 1,
  launchSecret: 2,
  running: 3,
  receiveUpdate: 4,
  sendUpdate: 5,
} as const;

export const kvm_sev_guest_status = command('kvm_sev_guest_status', { handle: u32, policy: u32, state: u32 });

export const kvm_sev_dbg = command('kvm_sev_dbg', { src_uaddr: address, dst_uaddr: address, len: u32, pad0: u32 });

export const kvm_sev_attestation_report = command('kvm_sev_attestation_report', {
  mnonce: bytes(16),
  uaddr: address,
  len: u32,
  pad0: u32,
});

/** `policy`: bit 17 must be set. */
export const kvm_sev_snp_launch_start = command('kvm_sev_snp_launch_start', {
  policy: u64,
  gosvw: bytes(16),
  flags: u16,
  pad0: bytes(6),
  pad1: array(u64, 4),
});

/** Rewritten by what was done: gfn_start in pages, uaddr and len in bytes. Go on until `len` is 0. */
export const kvm_sev_snp_launch_update = command('kvm_sev_snp_launch_update', {
  gfn_start: address,
  uaddr: address,
  len: address,
  type: named.u8(KVM_SEV_SNP_PAGE_TYPE),
  pad0: u8,
  flags: u16,
  pad1: u32,
  pad2: array(u64, 4),
});

/** The blocks are 96 and 4096 bytes. */
export const kvm_sev_snp_launch_finish = command('kvm_sev_snp_launch_finish', {
  id_block_uaddr: address,
  id_auth_uaddr: address,
  id_block_en: u8,
  auth_key_en: u8,
  vcek_disabled: u8,
  host_data: bytes(32),
  pad0: bytes(3),
  flags: u16,
  pad1: array(u64, 4),
});
