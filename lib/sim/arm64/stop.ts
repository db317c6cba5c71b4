/** Why a vCPU stopped. The pc is on the instruction unless said otherwise. */
import type { BudgetStop, MemoryFaultStop, MmioStop, UnreachableStop } from '../vcpu/stop.ts';

export { type Abandoned, EXCEPTION, STOPPED } from '../vcpu/stop.ts';

/** The access has not been carried out: whoever answers finishes the instruction (`finishMmio`). */
export interface A64MmioStop extends MmioStop {
  /** The processor says what the instruction is (ESR_EL2.ISV): one register, no writeback, not exclusive. */
  readonly described: boolean;
}

/** HVC or SMC, executed: the pc is behind it. */
export interface CallStop {
  readonly kind: 'call';
  readonly conduit: 'hvc' | 'smc';
  readonly immediate: number;
}

/** An instruction, or a use of it, that this simulation does not have. No real processor stops here. */
export interface UnknownStop {
  readonly kind: 'unknown';
  readonly word: number;
}

export type Stop =
  | A64MmioStop
  | MemoryFaultStop
  | UnreachableStop
  | CallStop
  | UnknownStop
  | { readonly kind: 'wfi' }
  | BudgetStop;

/** Exception classes of ESR_EL1, taken from the current level; from EL0 those of aborts are one less. Arm ARM, D24.2 */
export const CLASS = {
  unknown: 0x00,
  svc: 0x15,
  instructionAbort: 0x21,
  pcAlignment: 0x22,
  dataAbort: 0x25,
  spAlignment: 0x26,
  breakpoint: 0x3c,
} as const;

/** Fault status of aborts. */
export const STATUS = { addressSize: 0x00, external: 0x10, alignment: 0x21 } as const;
