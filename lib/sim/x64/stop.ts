/** Why a vCPU stopped, and how code deep inside an instruction says so. */
import type { BudgetStop, MemoryFaultStop, MmioStop, UnreachableStop } from '../vcpu/stop.ts';

export type { MemoryFaultStop, MmioStop, UnreachableStop } from '../vcpu/stop.ts';
export { type Abandoned, EXCEPTION, STOPPED } from '../vcpu/stop.ts';

/** A port access. */
export interface IoStop {
  readonly kind: 'io';
  readonly direction: 'in' | 'out';
  /** Bytes: 1, 2 or 4. */
  readonly size: 1 | 2 | 4;
  readonly port: number;
  readonly count: number;
  /** What was written; absent for `in`. */
  readonly data?: Uint8Array;
  /** rip is on the instruction, and `complete` goes past it; otherwise it has been executed. */
  readonly waits: boolean;
  /** Of an `out` that waits: where the instruction ends. */
  readonly end?: bigint;
}

/** rip is on the instruction; `complete` gives rax and goes past it. */
export interface HypercallStop {
  readonly kind: 'hypercall';
  readonly nr: bigint;
  /** rbx, rcx, rdx, rsi; cut to 32 bits outside 64-bit code. */
  readonly args: readonly bigint[];
  readonly longMode: boolean;
  readonly cpl: number;
  /** rax has bits outside `nr`. */
  readonly numberCut?: boolean;
}

/** KVM_INTERNAL_ERROR_EMULATION; rip is on the instruction. No bytes when they could not be fetched. */
export interface EmulationStop {
  readonly kind: 'emulation';
  readonly bytes: Uint8Array;
}

/** KVM_INTERNAL_ERROR_DELIVERY_EV: an exception whose table or stack has no memory behind it. */
export interface DeliveryStop {
  readonly kind: 'delivery';
  readonly vector: number;
  readonly gpa: number;
}

export type SecureInstruction = 'vmgexit' | 'pvalidate' | 'tdcall';

/** An instruction of a protected guest; rip is on it, and `complete` goes past it. See secure.ts. */
export interface SecureStop {
  readonly kind: 'secure';
  readonly instruction: SecureInstruction;
  /** pvalidate: the page frame that rax leads to. */
  readonly gfn: number;
}

export type Stop =
  | IoStop
  | MmioStop
  | HypercallStop
  | MemoryFaultStop
  | UnreachableStop
  | EmulationStop
  | DeliveryStop
  | SecureStop
  | { readonly kind: 'hlt' }
  /** Triple fault. */
  | { readonly kind: 'shutdown' }
  /** The access cannot succeed and does not end: the vCPU tries again for ever, as a processor would. */
  | { readonly kind: 'retry' }
  | BudgetStop;

export const VECTOR = {
  divide: 0,
  breakpoint: 3,
  undefined: 6,
  doubleFault: 8,
  invalidTss: 10,
  notPresent: 11,
  stack: 12,
  protection: 13,
  page: 14,
} as const;
/** For exceptions that push no error code. */
export const NO_ERROR_CODE = -1;
