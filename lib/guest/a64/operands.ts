/** What stands in an A64 instruction, decoded. */

export type Width = 32 | 64;

/** x0 … x30, xzr, sp, and their lower halves w0 … w30, wzr, wsp. */
export type Register = `${'x' | 'w'}${number}` | 'xzr' | 'wzr' | 'sp' | 'wsp';
export const SHIFTS = ['lsl', 'lsr', 'asr', 'ror'] as const;
export type Shift = (typeof SHIFTS)[number];
/** In the order of the encoding's option field. */
export const EXTENDS = ['uxtb', 'uxth', 'uxtw', 'uxtx', 'sxtb', 'sxth', 'sxtw', 'sxtx'] as const;
export type Extend = (typeof EXTENDS)[number];
/** In the order of their encoding; `cs` and `cc` are also called hs and lo. */
export const CONDITIONS = [
  ...(['eq', 'ne', 'cs', 'cc', 'mi', 'pl', 'vs', 'vc'] as const),
  ...(['hi', 'ls', 'ge', 'lt', 'gt', 'le', 'al', 'nv'] as const),
] as const;
export type Condition = (typeof CONDITIONS)[number];

/** Number 31 is the zero register, or the stack pointer where `sp` says so. */
export interface RegisterOperand {
  readonly kind: 'register';
  readonly index: number;
  readonly bits: Width;
  readonly sp: boolean;
}

export interface ShiftedOperand {
  readonly kind: 'shifted';
  readonly index: number;
  readonly bits: Width;
  readonly shift: Shift;
  readonly amount: number;
}

export interface ExtendedOperand {
  readonly kind: 'extended';
  readonly index: number;
  readonly bits: Width;
  readonly extend: Extend;
  /** Bits to the left, after extending. */
  readonly amount: number;
}

export interface ImmediateOperand {
  readonly kind: 'immediate';
  readonly value: bigint;
}

/** A distance in bytes: from the instruction, or for adrp from its page. */
export interface RelativeOperand {
  readonly kind: 'relative';
  readonly displacement: number;
}

/** `pre` adds the offset before the access and keeps the sum in the base, `post` does so after it. */
export type Indexing = 'offset' | 'pre' | 'post';

export interface MemoryOperand {
  readonly kind: 'memory';
  /** 31 is the stack pointer. */
  readonly base: number;
  /** Bytes; 0 when there is an index register. */
  readonly offset: number;
  readonly indexing: Indexing;
  readonly index: ExtendedOperand | undefined;
}

export interface ConditionOperand {
  readonly kind: 'condition';
  readonly condition: Condition;
}

/** op0, op1, CRn, CRm, op2 of a system register, as in KVM's register ids. */
export interface SystemOperand {
  readonly kind: 'system';
  readonly encoding: number;
}

export type Operand =
  | RegisterOperand
  | ShiftedOperand
  | ExtendedOperand
  | ImmediateOperand
  | RelativeOperand
  | MemoryOperand
  | ConditionOperand
  | SystemOperand;

export const ZERO_OR_SP = 31;

/** TypeError for what is no register. */
export function registerOperand(name: Register): RegisterOperand {
  if (name === 'sp' || name === 'wsp') {
    return { kind: 'register', index: ZERO_OR_SP, bits: name === 'sp' ? 64 : 32, sp: true };
  }
  if (name === 'xzr' || name === 'wzr') {
    return { kind: 'register', index: ZERO_OR_SP, bits: name === 'xzr' ? 64 : 32, sp: false };
  }
  const index = /^[xw](\d|[12]\d|30)$/.test(name) ? Number(name.slice(1)) : Number.NaN;
  if (Number.isNaN(index)) throw new TypeError(`'${name}' is no register of A64`);
  return { kind: 'register', index, bits: name[0] === 'x' ? 64 : 32, sp: false };
}

export function registerName(index: number, bits: Width, sp = false): string {
  if (index !== ZERO_OR_SP) return `${bits === 64 ? 'x' : 'w'}${index}`;
  if (sp) return bits === 64 ? 'sp' : 'wsp';
  return bits === 64 ? 'xzr' : 'wzr';
}
