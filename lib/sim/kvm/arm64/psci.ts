/** PSCI: vCPUs on and off, the machine off. arch/arm64/kvm/psci.c */
import { KVM_MP_STATE, KVM_SYSTEM_EVENT, PSCI, PSCI_RET } from '../../../uapi/index.ts';
import type { Arm64Vcpu } from './vcpu.ts';

const FN = PSCI.value;
const RET = PSCI_RET.value;
const EVENT = KVM_SYSTEM_EVENT.value;
const { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED } = KVM_MP_STATE.value;

export const PSCI_0_1 = 0x1;
export const PSCI_0_2 = 0x2;
/** What a vCPU with the feature PSCI_0_2 speaks. */
export const PSCI_LATEST = 0x1_0003;

const AFFINITY_BITS = 0xff_00ff_ffffn;
const HIGHEST_LEVEL = 3n;
const TRUSTED_OS_NONE = 2n;
const HIBERNATE_OFF = 1n;
const VENDOR_RESET = 0x8000_0000n;
const SMCCC_VERSION = 0x8000_0000;

/** x0 of the guest, or the event that ends KVM_RUN, with x0 of a guest that is run again nevertheless. */
export type PsciResult =
  | { readonly x0: bigint; readonly waits?: boolean }
  | { readonly x0: bigint; readonly event: number; readonly flags: bigint }
  | { readonly suspends: true };

const narrow = (value: bigint): bigint => value & 0xffff_ffffn;
const result = (x0: number | bigint): PsciResult => ({ x0: BigInt(x0) });

/** Every vCPU is stopped until somebody says otherwise. */
const event = (type: number, flags: number): PsciResult => ({
  x0: BigInt(RET.PSCI_RET_INTERNAL_FAILURE),
  event: type,
  flags: BigInt(flags),
});

function turnOn(vcpu: Arm64Vcpu, id: bigint, pc: bigint, x0: bigint): PsciResult {
  if ((id & ~AFFINITY_BITS) !== 0n) return result(RET.PSCI_RET_INVALID_PARAMS);
  const other = vcpu.vm.vcpus.find((candidate) => candidate.affinity === id);
  if (other === undefined) return result(RET.PSCI_RET_INVALID_PARAMS);
  if (other.mpState !== KVM_MP_STATE_STOPPED) {
    const known = vcpu.psciVersion !== PSCI_0_1;
    return result(known ? RET.PSCI_RET_ALREADY_ON : RET.PSCI_RET_INVALID_PARAMS);
  }
  other.owesReset = { pc, x0 };
  other.mpState = KVM_MP_STATE_RUNNABLE;
  return result(RET.PSCI_RET_SUCCESS);
}

function affinityInfo(vcpu: Arm64Vcpu, id: bigint, level: bigint): PsciResult {
  if ((id & ~AFFINITY_BITS) !== 0n || level > HIGHEST_LEVEL) return result(RET.PSCI_RET_INVALID_PARAMS);
  const mask = AFFINITY_BITS & ~((1n << (8n * level)) - 1n);
  const matching = vcpu.vm.vcpus.filter(({ affinity }) => (affinity & mask) === (id & mask));
  if (matching.length === 0) return result(RET.PSCI_RET_INVALID_PARAMS);
  return result(matching.some(({ mpState }) => mpState !== KVM_MP_STATE_STOPPED) ? 0 : 1);
}

function call02(vcpu: Arm64Vcpu, fn: number, args: readonly [bigint, bigint, bigint]): PsciResult {
  const [a, b, c] = args;
  switch (fn) {
    case FN.PSCI_0_2_FN_PSCI_VERSION:
      return result(PSCI_0_2);
    // Every suspended state is that of a vCPU that waits for interrupts.
    case FN.PSCI_0_2_FN_CPU_SUSPEND:
    case FN.PSCI_0_2_FN64_CPU_SUSPEND:
      return { x0: BigInt(RET.PSCI_RET_SUCCESS), waits: true };
    case FN.PSCI_0_2_FN_CPU_OFF:
      vcpu.mpState = KVM_MP_STATE_STOPPED;
      return result(RET.PSCI_RET_SUCCESS);
    case FN.PSCI_0_2_FN_CPU_ON:
      return turnOn(vcpu, narrow(a), narrow(b), narrow(c));
    case FN.PSCI_0_2_FN64_CPU_ON:
      return turnOn(vcpu, a, b, c);
    case FN.PSCI_0_2_FN_AFFINITY_INFO:
      return affinityInfo(vcpu, narrow(a), narrow(b));
    case FN.PSCI_0_2_FN64_AFFINITY_INFO:
      return affinityInfo(vcpu, a, b);
    case FN.PSCI_0_2_FN_MIGRATE_INFO_TYPE:
      return result(TRUSTED_OS_NONE);
    case FN.PSCI_0_2_FN_SYSTEM_OFF:
      return event(EVENT.KVM_SYSTEM_EVENT_SHUTDOWN, 0);
    case FN.PSCI_0_2_FN_SYSTEM_RESET:
      return event(EVENT.KVM_SYSTEM_EVENT_RESET, 0);
    default:
      return result(RET.PSCI_RET_NOT_SUPPORTED);
  }
}

const KNOWN_SINCE_1_0: ReadonlySet<number> = new Set([
  ...Object.entries(FN)
    .filter(([name]) => name.startsWith('PSCI_0_2_'))
    .map(([, fn]) => fn),
  FN.PSCI_1_0_FN_PSCI_FEATURES,
  SMCCC_VERSION,
]);

function features(vcpu: Arm64Vcpu, fn: number, minor: number): PsciResult {
  if (KNOWN_SINCE_1_0.has(fn)) return result(0);
  switch (fn) {
    case FN.PSCI_1_0_FN_SYSTEM_SUSPEND:
    case FN.PSCI_1_0_FN64_SYSTEM_SUSPEND:
      return result(vcpu.vm.suspends ? 0 : RET.PSCI_RET_NOT_SUPPORTED);
    case FN.PSCI_1_1_FN_SYSTEM_RESET2:
    case FN.PSCI_1_1_FN64_SYSTEM_RESET2:
      return result(minor >= 1 ? 0 : RET.PSCI_RET_NOT_SUPPORTED);
    case FN.PSCI_1_3_FN_SYSTEM_OFF2:
    case FN.PSCI_1_3_FN64_SYSTEM_OFF2:
      return result(minor >= 3 ? HIBERNATE_OFF : RET.PSCI_RET_NOT_SUPPORTED);
    default:
      return result(RET.PSCI_RET_NOT_SUPPORTED);
  }
}

function call1(vcpu: Arm64Vcpu, fn: number, args: readonly [bigint, bigint, bigint], minor: number): PsciResult {
  const wide = (fn & 0x4000_0000) !== 0;
  const [a, b] = wide ? args : [narrow(args[0]), narrow(args[1])];
  switch (fn) {
    case FN.PSCI_0_2_FN_PSCI_VERSION:
      return result(0x1_0000 | minor);
    case FN.PSCI_1_0_FN_PSCI_FEATURES:
      return features(vcpu, Number(narrow(args[0])), minor);
    case FN.PSCI_1_0_FN_SYSTEM_SUSPEND:
    case FN.PSCI_1_0_FN64_SYSTEM_SUSPEND:
      return vcpu.vm.suspends ? { suspends: true } : result(RET.PSCI_RET_NOT_SUPPORTED);
    case FN.PSCI_1_1_FN_SYSTEM_RESET2:
    case FN.PSCI_1_1_FN64_SYSTEM_RESET2:
      if (minor < 1) return result(RET.PSCI_RET_NOT_SUPPORTED);
      if (narrow(a) !== 0n && narrow(a) < VENDOR_RESET) return result(RET.PSCI_RET_INVALID_PARAMS);
      return event(EVENT.KVM_SYSTEM_EVENT_RESET, 1);
    case FN.PSCI_1_3_FN_SYSTEM_OFF2:
    case FN.PSCI_1_3_FN64_SYSTEM_OFF2: {
      if (minor < 3) return result(RET.PSCI_RET_NOT_SUPPORTED);
      const type = narrow(a);
      if ((type !== 0n && type !== HIBERNATE_OFF) || b !== 0n) return result(RET.PSCI_RET_INVALID_PARAMS);
      return event(EVENT.KVM_SYSTEM_EVENT_SHUTDOWN, 1);
    }
    default:
      return call02(vcpu, fn, args);
  }
}

/** By the version that the vCPU speaks. */
export function psci(vcpu: Arm64Vcpu, fn: number, args: readonly [bigint, bigint, bigint]): PsciResult {
  const version = vcpu.psciVersion;
  if (version >= 0x1_0000) return call1(vcpu, fn, args, version & 0xffff);
  if (version === PSCI_0_2) return call02(vcpu, fn, args);
  return call01(vcpu, fn, args);
}

const OFF_0_1 = 0x95c1_ba5f;
const ON_0_1 = 0x95c1_ba60;

/** Before there were standard function numbers. */
function call01(vcpu: Arm64Vcpu, fn: number, [a, b, c]: readonly [bigint, bigint, bigint]): PsciResult {
  if (fn === OFF_0_1) {
    vcpu.mpState = KVM_MP_STATE_STOPPED;
    return result(RET.PSCI_RET_SUCCESS);
  }
  return fn === ON_0_1 ? turnOn(vcpu, a, b, c) : result(RET.PSCI_RET_NOT_SUPPORTED);
}

/** PSCI 0.2 and newer, and the numbers of 0.1, are answered whatever the bitmaps say. */
export function isPsci(fn: number): boolean {
  const standard = (fn & 0x3f00_0000) === 0x0400_0000 && (fn & 0xffff) <= 0x1f;
  return standard || (fn >= OFF_0_1 - 1 && fn <= OFF_0_1 + 2);
}
