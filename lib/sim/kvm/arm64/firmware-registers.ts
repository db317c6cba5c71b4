/** Registers about firmware calls: PSCI's version, mitigations, which optional calls there are. arch/arm64/kvm/hypercalls.c */
import { KVM_REG_ARM } from '../../../uapi/index.ts';
import { EBUSY, EINVAL, ENOENT } from '../../errno.ts';
import type { Arm64Vcpu } from './vcpu.ts';

const R = KVM_REG_ARM.value;

const PSCI_VERSIONS: ReadonlySet<bigint> = new Set([0x2n, 0x1_0000n, 0x1_0001n, 0x1_0002n, 0x1_0003n]);
const PSCI_0_1 = 0x1n;
/** The simulated processor needs no mitigation. */
const NOT_REQUIRED: ReadonlyMap<bigint, bigint> = new Map([
  [R.KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1, 2n],
  [R.KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2, 3n],
  [R.KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3, 2n],
]);
const LEVEL_MASK = 0xfn;
const WORKAROUND_2_ENABLED = 0x10n;
const WORKAROUND_2_AVAILABLE = 2n;

/** Which bits each bitmap can have. */
const BITMAPS = [
  { id: R.KVM_REG_ARM_STD_BMAP, known: 1n },
  { id: R.KVM_REG_ARM_STD_HYP_BMAP, known: 1n },
  { id: R.KVM_REG_ARM_VENDOR_HYP_BMAP, known: 3n },
  { id: R.KVM_REG_ARM_VENDOR_HYP_BMAP_2, known: 3n },
] as const;

export const firmwareList: readonly bigint[] = [
  R.KVM_REG_ARM_PSCI_VERSION,
  ...NOT_REQUIRED.keys(),
  ...BITMAPS.map(({ id }) => id),
];

export function getFirmware(vcpu: Arm64Vcpu, id: bigint): bigint | undefined {
  if (id === R.KVM_REG_ARM_PSCI_VERSION) return BigInt(vcpu.psciVersion);
  const bitmap = BITMAPS.findIndex((candidate) => candidate.id === id);
  return bitmap < 0 ? NOT_REQUIRED.get(id) : vcpu.vm.bitmaps[bitmap];
}

export function setFirmware(vcpu: Arm64Vcpu, id: bigint, value: bigint): number {
  if (id === R.KVM_REG_ARM_PSCI_VERSION) {
    const known = vcpu.hasPsci02 ? PSCI_VERSIONS.has(value) : value === PSCI_0_1;
    if (!known) return -EINVAL;
    vcpu.vm.psciVersion = value;
    return 0;
  }
  const most = NOT_REQUIRED.get(id);
  if (most !== undefined) return judgeWorkaround(id, value, most);
  const bitmap = BITMAPS.findIndex((candidate) => candidate.id === id);
  const known = BITMAPS[bitmap]?.known;
  if (known === undefined) return -ENOENT;
  if ((value & ~known) !== 0n) return -EINVAL;
  const { vm } = vcpu;
  if (vm.hasRunOnce && value !== vm.bitmaps[bitmap]) return -EBUSY;
  vm.bitmaps[bitmap] = value;
  return 0;
}

/** A guest may be told of less protection than there is, not of more. */
function judgeWorkaround(id: bigint, value: bigint, most: bigint): number {
  if (id !== R.KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2) return (value & ~LEVEL_MASK) !== 0n || value > most ? -EINVAL : 0;
  const level = value & LEVEL_MASK;
  if ((value & ~(LEVEL_MASK | WORKAROUND_2_ENABLED)) !== 0n || level > most) return -EINVAL;
  return (value & WORKAROUND_2_ENABLED) !== 0n && level !== WORKAROUND_2_AVAILABLE ? -EINVAL : 0;
}
