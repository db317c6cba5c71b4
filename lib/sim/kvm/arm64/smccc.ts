/** Calls of the guest to its hypervisor, by the SMC calling convention. arch/arm64/kvm/hypercalls.c; hyp/nvhe/pkvm.c */
import { PAGE_SIZE } from '../../page.ts';
import { ProtectedMemory } from './protected-memory.ts';
import { isPsci, psci } from './psci.ts';
import type { Arm64Vcpu } from './vcpu.ts';

const NOT_SUPPORTED = -1n;
const NOT_REQUIRED = -2n;
const INVALID_PARAMETER = -3n;

const VERSION = 0x8000_0000;
const ARCH_FEATURES = 0x8000_0001;
/** The version of the convention: 1.1. */
const VERSION_1_1 = 0x1_0001n;
/** ARCH_WORKAROUND_1 and 3 answer 1 on a processor that needs neither. */
const UNAFFECTED = 1n;
const WORKAROUNDS: ReadonlyMap<bigint, bigint> = new Map([
  [0x8000_8000n, UNAFFECTED],
  [0x8000_7fffn, NOT_REQUIRED],
  [0x8000_3fffn, UNAFFECTED],
]);

const VENDOR_FEATURES = 0x8600_0000;
const VENDOR_UID = 0x8600_ff01;
const KVM_UID = [0xb66f_b428n, 0xe911_c52en, 0x564b_caa9n, 0x743a_004dn] as const;
const PTP = 0x8600_0001;
const PV_TIME_FEATURES = 0xc500_0020n;
const VENDOR_FEATURE_CALLS = 1n;
const VENDOR = 2;
const VENDOR_2 = 3;
const STD_HYP = 1;

const HYP_MEMINFO = 0xc600_0002;
const MEM_SHARE = 0xc600_0003;
const MEM_UNSHARE = 0xc600_0004;
/** FEATURES, HYP_MEMINFO, MEM_SHARE, MEM_UNSHARE. */
const PKVM_FEATURES = 0b1_1101n;
const PAGE_MASK = BigInt(PAGE_SIZE - 1);

/** x0 … x3 of the guest afterwards, an exit, or what keeps the call from being finished. */
export type CallOutcome =
  | { readonly kind: 'answered'; readonly values: readonly bigint[]; readonly waits?: boolean }
  | { readonly kind: 'event'; readonly x0: bigint; readonly event: number; readonly flags: bigint }
  | { readonly kind: 'suspend' }
  | { readonly kind: 'forward' }
  /** The page that was to be shared has to be had first: the guest repeats the call. */
  | { readonly kind: 'missing'; readonly gpa: bigint };

const answered = (...values: readonly bigint[]): CallOutcome => ({ kind: 'answered', values });

type Arguments = readonly [bigint, bigint, bigint];

/** What the hypervisor of pKVM answers by itself; undefined for what it leaves to the host. kvm_handle_pvm_hvc64 */
function protectedCall(memory: ProtectedMemory, fn: number, [a, b, c]: Arguments): CallOutcome | undefined {
  switch (fn) {
    case VENDOR_FEATURES:
      return answered(PKVM_FEATURES);
    case HYP_MEMINFO:
      return answered(a === 0n && b === 0n && c === 0n ? BigInt(PAGE_SIZE) : INVALID_PARAMETER);
    case MEM_SHARE:
    case MEM_UNSHARE: {
      if (b !== 0n || c !== 0n || (a & PAGE_MASK) !== 0n) return answered(INVALID_PARAMETER);
      const gfn = Number(a >> 12n);
      if (fn === MEM_SHARE && !memory.has(gfn)) return { kind: 'missing', gpa: a };
      const done = fn === MEM_SHARE ? memory.share(gfn) : memory.unshare(gfn);
      return answered(done ? 0n : INVALID_PARAMETER);
    }
    default:
      return undefined;
  }
}

/** kvm_smccc_test_fw_bmap and kvm_smccc_default_allowed. */
function isOffered({ vm }: Arm64Vcpu, fn: number): boolean {
  if (fn === VERSION || fn === ARCH_FEATURES || isPsci(fn)) return true;
  if (fn === VENDOR_FEATURES || fn === VENDOR_UID) return ((vm.bitmaps[VENDOR] ?? 0n) & VENDOR_FEATURE_CALLS) !== 0n;
  return fn === PTP && ((vm.bitmaps[VENDOR] ?? 0n) & 2n) !== 0n;
}

function hostCall(vcpu: Arm64Vcpu, fn: number, args: Arguments): CallOutcome {
  const { vm } = vcpu;
  const action = vm.filter.actionFor(fn);
  if (action === 'forward') return { kind: 'forward' };
  if (action === 'deny' || !isOffered(vcpu, fn)) return answered(NOT_SUPPORTED);
  switch (fn) {
    case VERSION:
      return answered(VERSION_1_1);
    case ARCH_FEATURES: {
      const feature = args[0] & 0xffff_ffffn;
      const pvTime = feature === PV_TIME_FEATURES && (vm.bitmaps[STD_HYP] ?? 0n) !== 0n;
      return answered(pvTime ? 0n : (WORKAROUNDS.get(feature) ?? NOT_SUPPORTED));
    }
    case VENDOR_UID:
      return answered(...KVM_UID);
    case VENDOR_FEATURES:
      return answered(vm.bitmaps[VENDOR] ?? 0n, 0n, vm.bitmaps[VENDOR_2] ?? 0n);
    // The simulated clock is not the one that guests see.
    case PTP:
      return answered(NOT_SUPPORTED);
    default:
      return psciCall(vcpu, fn, args);
  }
}

function psciCall(vcpu: Arm64Vcpu, fn: number, args: Arguments): CallOutcome {
  const result = psci(vcpu, fn, args);
  if ('suspends' in result) return { kind: 'suspend' };
  if ('event' in result) return { kind: 'event', ...result };
  return { kind: 'answered', values: [result.x0], waits: result.waits ?? false };
}

/** @param hvc only these are the hypervisor's own; SMC goes to the host at once. */
export function call(vcpu: Arm64Vcpu, fn: number, args: Arguments, hvc: boolean): CallOutcome {
  const { memory } = vcpu.vm;
  const own = hvc && memory instanceof ProtectedMemory ? protectedCall(memory, fn, args) : undefined;
  return own ?? hostCall(vcpu, fn, args);
}
