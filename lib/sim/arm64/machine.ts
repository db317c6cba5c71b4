/** What instructions work on, and what their code is made from. */
import type { Instruction } from '../../guest/a64/decode.ts';
import type { Operand, RegisterOperand } from '../../guest/a64/operands.ts';
import type { Mmu } from './mmu.ts';
import { at, HIGH, sourceWord, targetWord } from './registers.ts';
import { shiftLeft, shiftRight, shiftRightSigned } from './shifts.ts';
import type { State } from './state.ts';

export interface Machine {
  readonly state: State;
  /** The same array as `state.r`. */
  readonly r: Int32Array;
  readonly mmu: Mmu;
}

/** One instruction at its place. */
export interface Site {
  readonly machine: Machine;
  readonly instruction: Instruction;
  /** The word itself. */
  readonly word: number;
  /** The instruction's address. */
  readonly low: number;
  readonly high: number;
}

/** What an operation leaves to do: go on behind it, go on at the pc that it set, or stop there (behind it, or where the pc is). */
export const NEXT = 0;
export const JUMPED = 1;
export const STOP_BEHIND = 2;

/** An instruction made executable. It changes nothing before the last thing in it that can throw. */
export type Operation = () => number;
/** Answers the lower half of a number and leaves the upper one in HIGH. */
export type Read = () => number;

/** A number in two words somewhere. */
export interface Words {
  readonly words: Int32Array;
  readonly at: number;
}

export function operandAt(site: Site, index: number): Operand {
  const operand = site.instruction.operands[index];
  if (operand === undefined) throw new TypeError(`${site.instruction.form.mnemonic} has no operand ${index}`);
  return operand;
}

export function registerAt(site: Site, index: number): RegisterOperand {
  const operand = operandAt(site, index);
  if (operand.kind !== 'register') throw new TypeError(`operand ${index} is no register`);
  return operand;
}

export function source(site: Site, index: number): number {
  const { index: number, sp } = registerAt(site, index);
  return sourceWord(number, sp);
}

export function target(site: Site, index: number): number {
  const { index: number, sp } = registerAt(site, index);
  return targetWord(number, sp);
}

export function immediateAt(site: Site, index: number): bigint {
  const operand = operandAt(site, index);
  if (operand.kind !== 'immediate') throw new TypeError(`operand ${index} is no number`);
  return operand.value;
}

export function constant(value: bigint): Words {
  return { words: Int32Array.of(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))), at: 0 };
}

/** An operand that is a number or a register as it is: the fast case of nearly all arithmetic. */
export function plain(site: Site, index: number): Words | undefined {
  const operand = operandAt(site, index);
  const { r } = site.machine;
  if (operand.kind === 'immediate') return constant(BigInt.asUintN(site.instruction.form.bits, operand.value));
  if (operand.kind === 'register') return { words: r, at: sourceWord(operand.index, operand.sp) };
  const unchanged = operand.kind === 'shifted' && operand.amount === 0 && operand.shift !== 'ror';
  return unchanged ? { words: r, at: sourceWord(operand.index) } : undefined;
}

/** Any second operand of arithmetic and logic; of 32-bit forms only the lower half counts. */
export function compileRead(site: Site, index: number): Read {
  const { r } = site.machine;
  const found = plain(site, index);
  if (found !== undefined) {
    const { words, at: from } = found;
    return () => {
      r[HIGH] = at(words, from + 1);
      return at(words, from);
    };
  }
  const operand = operandAt(site, index);
  if (operand.kind === 'shifted')
    return site.instruction.form.bits === 64 ? shifted64(r, operand) : shifted32(r, operand);
  if (operand.kind === 'extended') return extended(r, operand);
  throw new TypeError(`operand ${index} is no number`);
}

function shifted64(r: Int32Array, operand: Extract<Operand, { kind: 'shifted' }>): Read {
  const { shift, amount } = operand;
  const from = sourceWord(operand.index);
  switch (shift) {
    case 'lsl':
      return () => shiftLeft(r, at(r, from), at(r, from + 1), amount);
    case 'lsr':
      return () => shiftRight(r, at(r, from), at(r, from + 1), amount);
    case 'asr':
      return () => shiftRightSigned(r, at(r, from), at(r, from + 1), amount);
    case 'ror':
      return () => {
        const low = shiftRight(r, at(r, from), at(r, from + 1), amount);
        const high = at(r, HIGH);
        if (amount === 0) return low;
        const back = shiftLeft(r, at(r, from), at(r, from + 1), 64 - amount);
        r[HIGH] = high | at(r, HIGH);
        return low | back;
      };
  }
}

function shifted32(r: Int32Array, { shift, amount, index }: Extract<Operand, { kind: 'shifted' }>): Read {
  const from = sourceWord(index);
  switch (shift) {
    case 'lsl':
      return () => at(r, from) << amount;
    case 'lsr':
      return () => (at(r, from) >>> amount) | 0;
    case 'asr':
      return () => at(r, from) >> amount;
    case 'ror':
      return () => (at(r, from) >>> amount) | (amount === 0 ? 0 : at(r, from) << (32 - amount));
  }
}

export function extended(r: Int32Array, operand: Extract<Operand, { kind: 'extended' }>): Read {
  const { extend, amount } = operand;
  const from = sourceWord(operand.index);
  const size = { b: 8, h: 16, w: 32, x: 64 }[extend[3] as 'b' | 'h' | 'w' | 'x'];
  if (size === 64) return () => shiftLeft(r, at(r, from), at(r, from + 1), amount);
  const unused = 32 - size;
  if (extend[0] === 'u') return () => shiftLeft(r, (at(r, from) << unused) >>> unused, 0, amount);
  return () => {
    const low = (at(r, from) << unused) >> unused;
    return shiftLeft(r, low, low >> 31, amount);
  };
}
