/**
 * Register ids of arm64 for KVM_GET_ONE_REG and KVM_SET_ONE_REG: architecture, size, kind and index in one u64.
 * Source: arch/arm64/include/uapi/asm/kvm.h.
 */
import { array, bytes, u32, u64 } from './fields.ts';
import { KVM_REG_ARCH, KVM_REG_SIZE_BITS } from './kvm-vcpu.ts';
import { struct } from './layout.ts';
import { defineLayout, defineNames } from './registry.ts';

const arm64 = { arch: 'arm64', source: 'arch/arm64/include/uapi/asm/kvm.h' } as const;
const ARM64 = KVM_REG_ARCH.value.KVM_REG_ARM64;
const { KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128 } = KVM_REG_SIZE_BITS.value;

export const user_pt_regs = struct(
  'user_pt_regs',
  { regs: array(u64, 31), sp: u64, pc: u64, pstate: u64 },
  { arch: 'arm64', source: 'arch/arm64/include/uapi/asm/ptrace.h' },
);

export const user_fpsimd_state = struct(
  'user_fpsimd_state',
  { vregs: array(bytes(16, 16), 32), fpsr: u32, fpcr: u32, reserved: array(u32, 2) },
  { arch: 'arm64', source: 'arch/arm64/include/uapi/asm/ptrace.h', cNames: { reserved: '__reserved' } },
);

/** No request carries it: its offsets, in words of 32 bits, are the indices of core registers. */
export const kvm_regs_arm64 = defineLayout(
  struct(
    'kvm_regs',
    { regs: user_pt_regs, sp_el1: u64, elr_el1: u64, spsr: array(u64, 5), fp_regs: user_fpsimd_state },
    arm64,
  ),
);

/** The kind of a register, in bits 27:16 of its id. */
export const KVM_REG_ARM_KIND = defineNames(
  'KVM_REG_ARM_KIND',
  'values',
  {
    KVM_REG_ARM_CORE: 0x100000,
    KVM_REG_ARM_DEMUX: 0x110000,
    KVM_REG_ARM64_SYSREG: 0x130000,
    KVM_REG_ARM_FW: 0x140000,
    KVM_REG_ARM64_SVE: 0x150000,
    KVM_REG_ARM_FW_FEAT_BMAP: 0x160000,
  },
  'arm64',
);
const KIND = KVM_REG_ARM_KIND.value;

const core = (offset: number, size: bigint): bigint =>
  ARM64 | size | BigInt(KIND.KVM_REG_ARM_CORE) | BigInt(offset / 4);

function index(name: string, value: number, count: number): number {
  if (!Number.isInteger(value) || value < 0 || value >= count) {
    throw new RangeError(`${name} must be 0..${count - 1}, got ${value}`);
  }
  return value;
}

/** X0..X30. */
export const KVM_REG_ARM64_X = (n: number): bigint => core(index('general register', n, 31) * 8, KVM_REG_SIZE_U64);
/** SP_EL0. */
export const KVM_REG_ARM64_SP = core(user_pt_regs.offsets.sp, KVM_REG_SIZE_U64);
export const KVM_REG_ARM64_PC = core(user_pt_regs.offsets.pc, KVM_REG_SIZE_U64);
export const KVM_REG_ARM64_PSTATE = core(user_pt_regs.offsets.pstate, KVM_REG_SIZE_U64);
export const KVM_REG_ARM64_SP_EL1 = core(kvm_regs_arm64.offsets.sp_el1, KVM_REG_SIZE_U64);
export const KVM_REG_ARM64_ELR_EL1 = core(kvm_regs_arm64.offsets.elr_el1, KVM_REG_SIZE_U64);
/** SPSR_EL1, _abt, _und, _irq, _fiq. */
export const KVM_REG_ARM64_SPSR = (n: number): bigint =>
  core(kvm_regs_arm64.offsets.spsr + index('spsr', n, 5) * 8, KVM_REG_SIZE_U64);
/** V0..V31, 16 bytes each; absent on vCPUs with SVE. */
export const KVM_REG_ARM64_V = (n: number): bigint =>
  core(kvm_regs_arm64.offsets.fp_regs + index('vector register', n, 32) * 16, KVM_REG_SIZE_U128);
export const KVM_REG_ARM64_FPSR = core(
  kvm_regs_arm64.offsets.fp_regs + user_fpsimd_state.offsets.fpsr,
  KVM_REG_SIZE_U32,
);
export const KVM_REG_ARM64_FPCR = core(
  kvm_regs_arm64.offsets.fp_regs + user_fpsimd_state.offsets.fpcr,
  KVM_REG_SIZE_U32,
);

/** A system register by its encoding, as in MRS: op0, op1, CRn, CRm, op2. */
export function ARM64_SYS_REG(op0: number, op1: number, crn: number, crm: number, op2: number): bigint {
  const encoding =
    (index('op0', op0, 4) << 14) |
    (index('op1', op1, 8) << 11) |
    (index('CRn', crn, 16) << 7) |
    (index('CRm', crm, 16) << 3) |
    index('op2', op2, 8);
  return ARM64 | KVM_REG_SIZE_U64 | BigInt(KIND.KVM_REG_ARM64_SYSREG) | BigInt(encoding);
}

const firmware = (n: number): bigint => ARM64 | KVM_REG_SIZE_U64 | BigInt(KIND.KVM_REG_ARM_FW) | BigInt(n);
const features = (n: number): bigint => ARM64 | KVM_REG_SIZE_U64 | BigInt(KIND.KVM_REG_ARM_FW_FEAT_BMAP) | BigInt(n);

/**
 * Ids that have names of their own. The kernel's TIMER_CVAL and TIMER_CNT carry each other's encodings, which is ABI now.
 */
export const KVM_REG_ARM = defineNames(
  'KVM_REG_ARM',
  'values',
  {
    KVM_REG_ARM_TIMER_CTL: ARM64_SYS_REG(3, 3, 14, 3, 1),
    KVM_REG_ARM_TIMER_CVAL: ARM64_SYS_REG(3, 3, 14, 0, 2),
    KVM_REG_ARM_TIMER_CNT: ARM64_SYS_REG(3, 3, 14, 3, 2),
    KVM_REG_ARM_PTIMER_CTL: ARM64_SYS_REG(3, 3, 14, 2, 1),
    KVM_REG_ARM_PTIMER_CVAL: ARM64_SYS_REG(3, 3, 14, 2, 2),
    KVM_REG_ARM_PTIMER_CNT: ARM64_SYS_REG(3, 3, 14, 0, 1),
    KVM_REG_ARM_PSCI_VERSION: firmware(0),
    KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1: firmware(1),
    KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2: firmware(2),
    KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3: firmware(3),
    KVM_REG_ARM_STD_BMAP: features(0),
    KVM_REG_ARM_STD_HYP_BMAP: features(1),
    KVM_REG_ARM_VENDOR_HYP_BMAP: features(2),
    KVM_REG_ARM_VENDOR_HYP_BMAP_2: features(3),
    KVM_REG_ARM64_SVE_VLS: ARM64 | KVM_REG_SIZE_BITS.value.KVM_REG_SIZE_U512 | BigInt(KIND.KVM_REG_ARM64_SVE) | 0xffffn,
  },
  'arm64',
);

/** PSTATE: modes in bits 3:0, masks of interrupts above. Source: arch/arm64/include/uapi/asm/ptrace.h. */
export const PSR_MODE = defineNames(
  'PSR_MODE',
  'values',
  {
    PSR_MODE_EL0t: 0x0,
    PSR_MODE_EL1t: 0x4,
    PSR_MODE_EL1h: 0x5,
    PSR_MODE_EL2t: 0x8,
    PSR_MODE_EL2h: 0x9,
  },
  'arm64',
);
export const PSR_BIT = defineNames(
  'PSR_BIT',
  'bits',
  { PSR_MODE32_BIT: 0x10, PSR_F_BIT: 0x40, PSR_I_BIT: 0x80, PSR_A_BIT: 0x100, PSR_D_BIT: 0x200 },
  'arm64',
);
