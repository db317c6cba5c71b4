/** Model-specific registers: those that change what is simulated, and those that only keep a value. */
import { type Cpuid, physicalBits } from './cpuid.ts';
import { getPair, SEGMENT_BASES } from './registers.ts';
import { CR0, EFER, SEGMENT, type State } from './state.ts';

export const MSR = {
  tsc: 0x10,
  apicBase: 0x1b,
  tscAdjust: 0x3b,
  efer: 0xc000_0080,
  fsBase: 0xc000_0100,
  gsBase: 0xc000_0101,
  kernelGsBase: 0xc000_0102,
} as const;

/** Kept without effect, with the value after reset. */
const KEPT: readonly (readonly [index: number, value: bigint])[] = [
  ...[0x11, 0x12, 0x34, 0x3a, 0x48, 0x8b, 0xce, 0x140, 0x174, 0x175, 0x176, 0x17a, 0x1d9].map((i) => [i, 0n] as const),
  [0x1a0, 1n],
  [0x277, 0x7_0406_0007_0406n],
  [0x2ff, 0n],
  ...[0x250, 0x258, 0x259, ...range(0x268, 8), ...range(0x200, 16)].map((i) => [i, 0n] as const),
  ...[0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0103].map((i) => [i, 0n] as const),
  ...range(0x4b56_4d00, 5).map((i) => [i, 0n] as const),
  [0x4b56_4d05, 1n],
];
/** Sixteen bits for each of eight variable ranges, fixed ranges and write-combining. */
const MTRR_CAPABILITIES = 0x508n;
/** Hold addresses, which must be canonical: entry points and bases. */
const ADDRESSES: ReadonlySet<number> = new Set([0xc000_0082, 0xc000_0083, MSR.fsBase, MSR.gsBase]);
/** Stack and entry of sysenter: made canonical instead. */
const SIGN_EXTENDED: ReadonlySet<number> = new Set([0x175, 0x176]);
const X2APIC = 1 << 21;
const EXTENDED_LEAF = 0x8000_0001;
const LONG_MODE = 1 << 29;
const NO_EXECUTE = 1 << 20;
const EFER_KNOWN = EFER.sce | EFER.lme | EFER.lma | EFER.nxe | 0x1000n | 0x2000n | 0x4000n;

/** Reserved bits, x2APIC mode without an enabled APIC, and x2APIC mode where CPUID has none. kvm_apic_set_base */
export function isApicBase(value: bigint, cpuid: Cpuid): boolean {
  const x2apic = ((cpuid.entries.find((leaf) => leaf.function === 1)?.ecx ?? 0) & X2APIC) !== 0;
  if ((value & 0x400n) !== 0n && (!x2apic || (value & 0x800n) === 0n)) return false;
  return (value & 0x2ffn) === 0n && value >> BigInt(physicalBits(cpuid)) === 0n;
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

export class Msrs {
  readonly #state: State;
  readonly #kept = new Map<number, bigint>(KEPT);
  #kernelGsBase = 0n;
  #tscOffset = 0n;
  #tscAdjust = 0n;
  #lastTsc = 0n;
  readonly #clock: () => bigint;
  readonly #cpuid: Cpuid;
  readonly #linearBits: 48 | 57 | undefined;

  /** `clock` is the processor's time-stamp counter; it need not move by itself: every reading is later than the last. `linearBits`: see X64CpuOptions. */
  constructor(state: State, cpuid: Cpuid, clock: () => bigint, linearBits?: 48 | 57) {
    this.#state = state;
    this.#cpuid = cpuid;
    this.#linearBits = linearBits;
    this.#clock = clock;
  }

  /** One more MSR that only keeps what is written to it. */
  define(index: number, value: bigint): void {
    this.#kept.set(index, value);
  }

  get tscOffset(): bigint {
    return BigInt.asUintN(64, this.#tscOffset);
  }

  set tscOffset(value: bigint) {
    this.#tscOffset = value;
    this.#lastTsc = 0n;
  }

  /** The time-stamp counter, never twice the same. */
  tsc(): bigint {
    const now = BigInt.asUintN(64, this.#clock() + this.#tscOffset);
    this.#lastTsc = now > this.#lastTsc ? now : this.#lastTsc + 1n;
    return this.#lastTsc;
  }

  /** Undefined for an MSR that does not exist here. */
  get(index: number): bigint | undefined {
    const state = this.#state;
    switch (index) {
      case MSR.tsc:
        return this.tsc();
      case MSR.tscAdjust:
        return this.#tscAdjust;
      case MSR.apicBase:
        return state.apicBase;
      case MSR.efer:
        return state.efer;
      case MSR.fsBase:
        return getPair(state.r, SEGMENT_BASES + 2 * SEGMENT.fs);
      case MSR.gsBase:
        return getPair(state.r, SEGMENT_BASES + 2 * SEGMENT.gs);
      case MSR.kernelGsBase:
        return this.#kernelGsBase;
      case 0xfe:
        return MTRR_CAPABILITIES;
      default:
        return this.#kept.get(index);
    }
  }

  /** False where the guest would get #GP: no such MSR, read-only, or a value that it does not take. The host is allowed more. */
  set(index: number, value: bigint, byHost = false): boolean {
    const state = this.#state;
    if ((ADDRESSES.has(index) || index === MSR.kernelGsBase) && !this.canonical(value)) return false;
    switch (index) {
      case MSR.tsc:
        this.#tscOffset = value - this.#clock();
        this.#lastTsc = value;
        return true;
      case MSR.tscAdjust:
        this.#tscOffset += value - this.#tscAdjust;
        this.#tscAdjust = value;
        return true;
      case MSR.apicBase:
        if (!isApicBase(value, this.#cpuid)) return false;
        state.apicBase = value;
        return true;
      case MSR.efer:
        return this.#setEfer(value, byHost);
      case MSR.fsBase:
      case MSR.gsBase: {
        const segment = index === MSR.fsBase ? SEGMENT.fs : SEGMENT.gs;
        state.setSegment(segment, { ...state.segment(segment), base: value });
        return true;
      }
      case MSR.kernelGsBase:
        this.#kernelGsBase = value;
        return true;
      default:
        if (!this.#kept.has(index)) return false;
        this.#kept.set(index, SIGN_EXTENDED.has(index) ? this.#extended(value) : value);
        return true;
    }
  }

  #setEfer(value: bigint, byHost: boolean): boolean {
    const state = this.#state;
    if ((value & ~EFER_KNOWN) !== 0n) return false;
    if (!byHost) {
      const paging = (state.cr0 & CR0.pg) !== 0n;
      if (paging && ((value ^ state.efer) & EFER.lme) !== 0n) return false;
      const features = this.#cpuid.entries.find((leaf) => leaf.function >>> 0 === EXTENDED_LEAF)?.edx ?? 0;
      if ((value & (EFER.lme | EFER.lma)) !== 0n && (features & LONG_MODE) === 0) return false;
      if ((value & EFER.nxe) !== 0n && (features & NO_EXECUTE) === 0) return false;
    }
    // Software cannot change LMA: it follows from LME and paging.
    state.efer = (value & ~EFER.lma) | (state.efer & EFER.lma);
    state.refresh();
    return true;
  }

  /** As the processor has it, whatever the guest uses of it: also for the bases of descriptor tables. */
  canonical(value: bigint): boolean {
    return this.#extended(value) === value;
  }

  #extended(value: bigint): bigint {
    return BigInt.asUintN(64, BigInt.asIntN(this.#linearBits ?? this.#state.linearBits, value));
  }
}
