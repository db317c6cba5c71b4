import { formatHex } from '../numbers.ts';
import type { InstructionForm, OperandSpec, Semantics } from './form.ts';
import type { Bits, MemoryOperand, Mode, Operand, RegisterOperand } from './operands.ts';
import { controlExists } from './operands.ts';

/** Why a form cannot take the operands: a number too large, or anything else (text may be empty). */
export interface Mismatch {
  readonly mismatch: 'range' | 'shape';
  readonly text: string;
}

/** The operands of one instruction sorted into the places of its encoding. */
export interface Slots {
  reg?: RegisterOperand;
  rm?: RegisterOperand | MemoryOperand;
  opcodeRegister?: RegisterOperand;
  /** Two's complement, already cut to `immediateSize` bytes. */
  immediate: bigint;
  immediateSize: number;
  bits: Bits;
}

interface MatchOptions {
  readonly mode: Mode;
  readonly bits?: Bits;
  readonly condition?: string;
  readonly repeat?: string;
  readonly lock?: boolean;
}

export function isMismatch<T extends object>(result: T | Mismatch): result is Mismatch {
  return 'mismatch' in result;
}

const SHAPE: Mismatch = { mismatch: 'shape', text: '' };
const shape = (text: string): Mismatch => ({ mismatch: 'shape', text });

/** The operand size of branches, push and pop when nothing says otherwise. */
export function stackBits(mode: Mode): Bits {
  return mode;
}

/** They take the size that the mode says, or 64 bits by REX.W. */
export const FAR: readonly Semantics[] = ['jmp-far', 'call-far', 'ret-far', 'iret'];
const isFar = ({ semantics }: InstructionForm): boolean => FAR.includes(semantics);

const BRANCHES = new Set<Semantics>(['call', 'ret', 'jmp', 'jcc', 'loop', 'jcxz']);

export function isBranch(form: InstructionForm): boolean {
  return BRANCHES.has(form.semantics);
}

function operandBits(form: InstructionForm, operands: readonly Operand[], options: MatchOptions): Bits | undefined {
  if (form.width === 'byte') return options.bits === undefined || options.bits === 8 ? 8 : undefined;
  if (form.width === 'fixed') return options.mode;
  for (const [i, spec] of form.operands.entries()) {
    const operand = operands[i];
    if (spec !== 'rAX' && !spec.endsWith('v')) continue;
    if ((operand?.kind === 'register' || operand?.kind === 'memory') && operand.bits !== 0) return operand.bits;
  }
  if (options.bits !== undefined) return options.bits;
  if (isFar(form)) return options.mode === 64 ? 32 : options.mode;
  return form.width === 'stack' ? stackBits(options.mode) : undefined;
}

function allowedBits(form: InstructionForm, bits: Bits, mode: Mode): boolean {
  if (isFar(form)) return bits === mode || (mode === 64 && bits === 32);
  if (form.width === 'full') return bits !== 8 && (bits !== 64 || mode === 64);
  if (form.width === 'port') return bits === 16 || bits === 32;
  if (form.width !== 'stack') return true;
  // Branches keep the mode's size: a size prefix on them means different things on different processors.
  if (isBranch(form)) return bits === stackBits(mode);
  return mode === 64 ? bits === 64 || bits === 16 : bits === 32 || bits === 16;
}

/** Memory of unstated size is fine when a register beside it says the size. */
function sizeIsKnown(form: InstructionForm, spec: OperandSpec): boolean {
  const letter = spec.at(-1);
  if (form.width === 'stack' || form.semantics === 'nop') return true;
  return form.operands.some((o) => (letter === 'v' ? /^(Gv|Zv|rAX)$/ : /^(Gb|Zb|AL)$/).test(o)) && /[bv]$/.test(spec);
}

function general(operand: Operand, bits: Bits): operand is RegisterOperand {
  return operand.kind === 'register' && operand.file === 'general' && operand.bits === bits;
}

function specBits(spec: OperandSpec, bits: Bits, mode: Mode): Bits {
  const letter = spec.at(-1);
  if (letter === 'b') return 8;
  if (letter === 'w') return 16;
  if (letter === 'd') return 32;
  return letter === 'n' ? (mode === 64 ? 64 : 32) : bits;
}

/** Puts an immediate where it fits; `size` bits are stored and sign-extended to `bits` bits by the processor. */
function immediate(slots: Slots, value: bigint, size: Bits, bits: Bits, position: number): Mismatch | undefined {
  const unsigned = BigInt.asUintN(bits, value);
  const inRange = value >= -(1n << BigInt(bits - 1)) && value < 1n << BigInt(bits);
  if (!inRange || BigInt.asUintN(bits, BigInt.asIntN(size, unsigned)) !== unsigned) {
    const how = size === bits ? `${bits} bits` : `${size} bits sign-extended to ${bits}`;
    return { mismatch: 'range', text: `operand ${position}: ${formatHex(value)} does not fit in ${how}` };
  }
  slots.immediate = BigInt.asUintN(size, unsigned);
  slots.immediateSize = size / 8;
  return undefined;
}

const FIXED = new Set<OperandSpec>(['AL', 'rAX', 'DX', 'CL', '1']);

function fixedOperand(spec: OperandSpec, operand: Operand, bits: Bits): boolean {
  if (spec === '1') return operand.kind === 'immediate' && operand.value === 1n;
  const [index, width] =
    spec === 'AL' ? [0, 8 as const] : spec === 'CL' ? [1, 8 as const] : spec === 'DX' ? [2, 16 as const] : [0, bits];
  return general(operand, width) && operand.index === index && !operand.high;
}

function place(
  form: InstructionForm,
  slots: Slots,
  spec: OperandSpec,
  operand: Operand,
  position: number,
  mode: Mode,
): Mismatch | undefined {
  if (FIXED.has(spec)) return fixedOperand(spec, operand, slots.bits) ? undefined : SHAPE;
  const bits = specBits(spec, slots.bits, mode);
  switch (spec[0]) {
    case 'E':
    case 'R':
    case 'M':
      if (operand.kind === 'memory' && spec[0] !== 'R') {
        if (spec[0] === 'E' && operand.bits === 0 && !sizeIsKnown(form, spec))
          return shape('say the size of the memory operand');
        if (spec[0] === 'E' && operand.bits !== 0 && operand.bits !== bits) return SHAPE;
        slots.rm = operand;
        return undefined;
      }
      if (spec[0] === 'M' || !general(operand, bits)) return SHAPE;
      slots.rm = operand;
      return undefined;
    case 'G':
      if (!general(operand, bits)) return SHAPE;
      slots.reg = operand;
      return undefined;
    case 'Z':
      if (!general(operand, bits)) return SHAPE;
      slots.opcodeRegister = operand;
      return undefined;
    case 'C':
    case 'S':
      if (operand.kind !== 'register' || operand.file !== (spec[0] === 'C' ? 'control' : 'segment')) return SHAPE;
      if (form.operands[0] === 'Sw' && operand.index === 1) return shape('cs is loaded by far branches only');
      if (operand.file === 'control' && !controlExists(operand.index, mode)) return shape('no such control register');
      slots.reg = operand;
      return undefined;
    case 'I': {
      if (operand.kind !== 'immediate') return SHAPE;
      const size = spec === 'Iz' && slots.bits === 64 ? 32 : spec === 'Iz' || spec === 'Iv' ? slots.bits : 8;
      if (spec === 'Iw') return immediate(slots, operand.value, 16, 16, position);
      return immediate(slots, operand.value, size, spec === 'Ib' ? 8 : slots.bits, position);
    }
    case 'J': {
      if (operand.kind !== 'relative') return SHAPE;
      const size = spec === 'Jb' ? 8 : mode === 16 ? 16 : 32;
      const value = BigInt(operand.displacement);
      if (BigInt.asIntN(size, value) === value) return immediate(slots, value, size, size, position);
      return {
        mismatch: 'range',
        text: `operand ${position}: a branch of ${operand.displacement} bytes does not fit in ${size} bits`,
      };
    }
    default:
      return SHAPE;
  }
}

/** Sorts operands into a form's places, or says why they do not fit. */
export function matchOperands(
  form: InstructionForm,
  operands: readonly Operand[],
  options: MatchOptions,
): Slots | Mismatch {
  const { mode } = options;
  if (form.operands.length !== operands.length) return SHAPE;
  if (form.only === 'long' && mode !== 64) return shape('it exists in 64-bit code only');
  if (form.only === 'legacy' && mode === 64) return SHAPE;
  if ((form.conditional === true) !== (options.condition !== undefined))
    return shape('a condition is missing or too many');
  if (options.repeat !== undefined && form.repeat === undefined) return shape('it cannot be repeated');
  const bits = operandBits(form, operands, options);
  if (bits === undefined) return form.width === 'byte' ? SHAPE : shape('say the operand size');
  if (!allowedBits(form, bits, mode)) return SHAPE;
  const slots: Slots = { immediate: 0n, immediateSize: 0, bits };
  for (const [i, spec] of form.operands.entries()) {
    const operand = operands[i];
    const mismatch = operand === undefined ? SHAPE : place(form, slots, spec, operand, i + 1, mode);
    if (mismatch !== undefined) return mismatch;
  }
  if (options.lock && !(form.lock && slots.rm?.kind === 'memory')) return shape('it cannot be locked');
  return slots;
}
