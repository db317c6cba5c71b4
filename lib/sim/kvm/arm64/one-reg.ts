/** KVM_GET_ONE_REG, KVM_SET_ONE_REG and KVM_GET_REG_LIST. arch/arm64/kvm/guest.c, sys_regs.c, hypercalls.c */
import { SYSTEM_REGISTERS as S } from '../../../guest/a64/system-registers.ts';
import {
  KVM_REG_ARCH,
  KVM_REG_ARM_KIND,
  KVM_REG_SIZE,
  KVM_REG_SIZE_BITS,
  kvm_regs_arm64,
  user_fpsimd_state,
  user_pt_regs,
} from '../../../uapi/index.ts';
import { getPair, PC, setPair } from '../../arm64/index.ts';
import { EFAULT, EINVAL, ENOENT } from '../../errno.ts';
import { firmwareList, getFirmware, setFirmware } from './firmware-registers.ts';
import type { Arm64Vcpu } from './vcpu.ts';

const KIND = KVM_REG_ARM_KIND.value;
const ARM64 = KVM_REG_ARCH.value.KVM_REG_ARM64;
const { KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128 } = KVM_REG_SIZE_BITS.value;
const SIZE_MASK = 0x00f0_0000_0000_0000n;
const KIND_MASK = 0x0fff_0000n;
const SYSREG_MASK = 0xffffn;
const CORE_WORDS = kvm_regs_arm64.size / 4;
const WORD = 4;

const AT = {
  x: 0,
  sp: user_pt_regs.offsets.sp,
  pc: user_pt_regs.offsets.pc,
  pstate: user_pt_regs.offsets.pstate,
  spEl1: kvm_regs_arm64.offsets.sp_el1,
  elr: kvm_regs_arm64.offsets.elr_el1,
  spsr: kvm_regs_arm64.offsets.spsr,
  v: kvm_regs_arm64.offsets.fp_regs,
  fpsr: kvm_regs_arm64.offsets.fp_regs + user_fpsimd_state.offsets.fpsr,
  fpcr: kvm_regs_arm64.offsets.fp_regs + user_fpsimd_state.offsets.fpcr,
} as const;
const V_END = AT.fpsr;
const SPSR_END = AT.spsr + 5 * 8;

/** PSTATE.M, with the bit for AArch32. */
const MODE_MASK = 0x1fn;
const MODES: ReadonlySet<bigint> = new Set([0x0n, 0x4n, 0x5n]);

/** Bytes of the core register that starts at a byte offset of struct kvm_regs, or undefined. */
function coreSize(offset: number): number | undefined {
  if (offset >= AT.v && offset < V_END) return (offset - AT.v) % 16 === 0 ? 16 : undefined;
  if (offset === AT.fpsr || offset === AT.fpcr) return 4;
  return offset < SPSR_END && offset % 8 === 0 ? 8 : undefined;
}

/** Registers that the simulated processor does not act on are kept as bytes. */
function getCore(vcpu: Arm64Vcpu, offset: number, size: number): Uint8Array {
  const { state } = vcpu.cpu;
  const bytes = new Uint8Array(size);
  const put = (value: bigint): Uint8Array => {
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return bytes;
  };
  if (offset < AT.sp) return put(getPair(state.r, offset / WORD));
  switch (offset) {
    case AT.sp:
      return put(state.getStack(0));
    case AT.pc:
      return put(getPair(state.r, PC));
    case AT.pstate:
      return put(state.pstate);
    case AT.spEl1:
      return put(state.getStack(1));
    case AT.elr:
      return put(state.system.elr);
    case AT.spsr:
      return put(state.system.spsr);
    default:
      return vcpu.passive.slice(offset, offset + size);
  }
}

function setCore(vcpu: Arm64Vcpu, offset: number, bytes: Uint8Array): number {
  const { state } = vcpu.cpu;
  if (bytes.length !== 8 || offset > AT.spsr) {
    vcpu.passive.set(bytes, offset);
    return 0;
  }
  const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (offset < AT.sp) setPair(state.r, offset / WORD, value);
  else if (offset === AT.sp) state.setStack(0, value);
  else if (offset === AT.pc) setPair(state.r, PC, value);
  else if (offset === AT.spEl1) state.setStack(1, value);
  else if (offset === AT.elr) state.system.elr = value;
  else if (offset === AT.spsr) state.system.spsr = value;
  else {
    // Neither AArch32 nor EL2 is there.
    if (!MODES.has(value & MODE_MASK)) return -EINVAL;
    state.pstate = value;
  }
  return 0;
}

/** The byte offset in struct kvm_regs that an id means: a negated errno when it means none. */
function coreOffset(id: bigint): number {
  const index = Number(id & 0xffffn);
  const size = KVM_REG_SIZE(id);
  const beyond = (id & ~(SIZE_MASK | (0xfn << 60n) | BigInt(KIND.KVM_REG_ARM_CORE))) >> 16n !== 0n;
  if (beyond || index >= CORE_WORDS || index + size / WORD >= CORE_WORDS) return -ENOENT;
  return coreSize(index * WORD) === size ? index * WORD : -EINVAL;
}

function getSystem(vcpu: Arm64Vcpu, id: bigint): bigint | undefined {
  if ((id & SIZE_MASK) !== KVM_REG_SIZE_U64) return undefined;
  const number = Number(id & SYSREG_MASK);
  return SYSTEM_SET.has(number) ? vcpu.cpu.state.system.get(number) : undefined;
}

/** In the order of their encodings, as KVM lists them. */
const SYSTEM_LIST: readonly number[] = [
  ...([S.midr_el1, S.mpidr_el1, S.sctlr_el1, S.ttbr0_el1, S.ttbr1_el1, S.tcr_el1, S.esr_el1, S.far_el1] as const),
  ...([S.mair_el1, S.vbar_el1, S.contextidr_el1, S.tpidr_el1, S.tpidr_el0, S.tpidrro_el0] as const),
];
const SYSTEM_SET: ReadonlySet<number> = new Set(SYSTEM_LIST);

/** Nothing arm64-specific is in the upper half but architecture and size. */
const isArm64 = (id: bigint): boolean => (id & ~SIZE_MASK) >> 32n === ARM64 >> 32n;

export function getOneReg(vcpu: Arm64Vcpu, id: bigint, address: bigint): number {
  if (!isArm64(id)) return -EINVAL;
  const { user } = vcpu.vm.process;
  const give = (bytes: Uint8Array): number => (user.write(address, bytes) ? 0 : -EFAULT);
  switch (Number(id & KIND_MASK)) {
    case KIND.KVM_REG_ARM_CORE: {
      const offset = coreOffset(id);
      return offset < 0 ? offset : give(getCore(vcpu, offset, KVM_REG_SIZE(id)));
    }
    case KIND.KVM_REG_ARM_FW:
    case KIND.KVM_REG_ARM_FW_FEAT_BMAP: {
      const value = getFirmware(vcpu, id);
      return value === undefined ? -ENOENT : give(wordBytes(value));
    }
    case KIND.KVM_REG_ARM64_SYSREG: {
      const value = getSystem(vcpu, id);
      return value === undefined ? -ENOENT : give(wordBytes(value));
    }
    default:
      return -ENOENT;
  }
}

export function setOneReg(vcpu: Arm64Vcpu, id: bigint, address: bigint): number {
  if (!isArm64(id)) return -EINVAL;
  const { user } = vcpu.vm.process;
  switch (Number(id & KIND_MASK)) {
    case KIND.KVM_REG_ARM_CORE: {
      const offset = coreOffset(id);
      if (offset < 0) return offset;
      const bytes = user.read(address, KVM_REG_SIZE(id));
      return bytes === undefined ? -EFAULT : setCore(vcpu, offset, bytes);
    }
    case KIND.KVM_REG_ARM_FW:
    case KIND.KVM_REG_ARM_FW_FEAT_BMAP: {
      if (KVM_REG_SIZE(id) !== 8) return -ENOENT;
      const value = user.readU64(address);
      return value === undefined ? -EFAULT : setFirmware(vcpu, id, value);
    }
    case KIND.KVM_REG_ARM64_SYSREG: {
      if (KVM_REG_SIZE(id) !== 8) return -ENOENT;
      const value = user.readU64(address);
      return value === undefined ? -EFAULT : setSystem(vcpu, id, value);
    }
    default:
      return -ENOENT;
  }
}

function setSystem(vcpu: Arm64Vcpu, id: bigint, value: bigint): number {
  const old = getSystem(vcpu, id);
  if (old === undefined) return -ENOENT;
  const number = Number(id & SYSREG_MASK);
  const { system } = vcpu.cpu.state;
  // Who made the processor is not to be changed.
  if (number === S.midr_el1) return value === old ? 0 : -EINVAL;
  if (number === S.mpidr_el1) system.mpidr = value;
  else if (number === S.vbar_el1) system.vbar = value;
  else system.set(number, value);
  return 0;
}

function wordBytes(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

const SIZE_BITS: Readonly<Record<number, bigint>> = { 4: KVM_REG_SIZE_U32, 8: KVM_REG_SIZE_U64, 16: KVM_REG_SIZE_U128 };

/** KVM_GET_REG_LIST: core, firmware and system registers. */
export const REGISTER_LIST: readonly bigint[] = [
  ...Array.from({ length: CORE_WORDS }, (_, index) => {
    const size = SIZE_BITS[coreSize(index * WORD) ?? 0];
    return size === undefined ? undefined : ARM64 | size | BigInt(KIND.KVM_REG_ARM_CORE) | BigInt(index);
  }).filter((id) => id !== undefined),
  ...firmwareList,
  ...SYSTEM_LIST.map((number) => ARM64 | KVM_REG_SIZE_U64 | BigInt(KIND.KVM_REG_ARM64_SYSREG) | BigInt(number)),
];
