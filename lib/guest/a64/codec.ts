/** How each kind of operand is put into an instruction's fields and read from them. */
import { decodeBitmask, encodeBitmask } from './bitmask.ts';
import { type Fields, Mismatch, signExtend, signedField } from './fields.ts';
import type { InstructionForm, OperandSpec } from './form.ts';
import { decodeMemory, encodeMemory } from './memory-codec.ts';
import { CONDITIONS, EXTENDS, type Operand, type RegisterOperand, SHIFTS, type Width, ZERO_OR_SP } from './operands.ts';

const REGISTER = /^([RWX])(d|n|m|a|t2|t|s)(\|SP)?$/;
const shape = (spec: string): Mismatch => new Mismatch('shape', `${spec} is needed`);

interface RegisterRule {
  readonly field: string;
  readonly bits: Width;
  readonly sp: boolean;
}

function registerRule(spec: OperandSpec, form: InstructionForm): RegisterRule | undefined {
  const match = REGISTER.exec(spec);
  if (match === null) return undefined;
  const bits = match[1] === 'R' ? form.bits : match[1] === 'X' ? 64 : 32;
  return { field: `R${match[2]}`, bits, sp: match[3] !== undefined };
}

function encodeRegister(operand: Operand, { field, bits, sp }: RegisterRule): Fields | Mismatch {
  if (operand.kind !== 'register' || operand.bits !== bits) return shape(`a register of ${bits} bits`);
  if (operand.index === ZERO_OR_SP && operand.sp !== sp) return shape(sp ? 'no zero register' : 'no stack pointer');
  return { [field]: operand.index };
}

interface NumberRule {
  readonly field: string;
  /** What the number is a multiple of. */
  readonly scale?: number;
}

const NUMBERS: Partial<Record<OperandSpec, NumberRule>> = {
  imm16: { field: 'imm16' },
  hw: { field: 'hw', scale: 16 },
  immr: { field: 'immr' },
  imms: { field: 'imms' },
  imm5: { field: 'imm5' },
  nzcv: { field: 'nzcv' },
  imm4: { field: 'CRm' },
};

const DISTANCES: Partial<Record<OperandSpec, string>> = { rel26: 'imm26', rel19: 'imm19', rel14: 'imm14' };

const widthOf = (form: InstructionForm, field: string): number => form.fields.get(field)?.width ?? 0;

function encodeNumber(operand: Operand, form: InstructionForm, { field, scale = 1 }: NumberRule): Fields | Mismatch {
  if (operand.kind !== 'immediate') return shape('a number');
  const { value } = operand;
  const most = (2 ** widthOf(form, field) - 1) * scale;
  if (value < 0n || value > BigInt(most) || value % BigInt(scale) !== 0n) {
    return new Mismatch('range', `${value} is not ${scale === 1 ? '' : `a multiple of ${scale} in `}0…${most}`);
  }
  return { [field]: Number(value) / scale };
}

function encodeDistance(operand: Operand, form: InstructionForm, field: string): Fields | Mismatch {
  if (operand.kind !== 'relative') return shape('a label');
  const value = signedField(operand.displacement / 4, widthOf(form, field));
  if (value === undefined) return new Mismatch('range', `a distance of ${operand.displacement} bytes is out of reach`);
  return { [field]: value };
}

function encodeAddress(operand: Operand, unit: 1 | 4096): Fields | Mismatch {
  if (operand.kind !== 'relative') return shape('a label');
  const value = signedField(operand.displacement / unit, 21);
  if (value === undefined) return new Mismatch('range', `a distance of ${operand.displacement} bytes is out of reach`);
  return { immlo: value & 3, immhi: value >>> 2 };
}

function encodeImm12(operand: Operand): Fields | Mismatch {
  if (operand.kind !== 'immediate') return shape('a number');
  const { value } = operand;
  if (value >= 0n && value < 4096n) return { sh: 0, imm12: Number(value) };
  if (value >= 0n && value < 1n << 24n && value % 4096n === 0n) return { sh: 1, imm12: Number(value >> 12n) };
  return new Mismatch('range', `${value} is neither 0…4095 nor that many times 4096`);
}

function encodeShifted(operand: Operand, form: InstructionForm, rotates: boolean): Fields | Mismatch {
  const { bits } = form;
  if (operand.kind === 'register') {
    const fields = encodeRegister(operand, { field: 'Rm', bits, sp: false });
    return fields instanceof Mismatch ? fields : { ...fields, shift: 0, imm6: 0 };
  }
  if (operand.kind !== 'shifted' || operand.bits !== bits) return shape(`a register of ${bits} bits, shifted or not`);
  const shift = SHIFTS.indexOf(operand.shift);
  if (shift === 3 && !rotates) return shape('a shift other than ror');
  if (operand.amount < 0 || operand.amount >= bits) return new Mismatch('range', `shift by ${operand.amount}`);
  return { Rm: operand.index, shift, imm6: operand.amount };
}

/** uxtx and sxtx take all 64 bits, the others come from 32. */
export const extendedBits = (option: number, bits: Width): Width => (bits === 64 && (option & 3) === 3 ? 64 : 32);

function encodeExtended(operand: Operand, { bits }: InstructionForm): Fields | Mismatch {
  // What the shifted form cannot say: with a stack pointer on the left, a plain register is uxtx (uxtw).
  if (operand.kind === 'register') {
    const fields = encodeRegister(operand, { field: 'Rm', bits, sp: false });
    return fields instanceof Mismatch ? fields : { ...fields, option: bits === 64 ? 3 : 2, imm3: 0 };
  }
  if (operand.kind !== 'extended') return shape('a register, extended or not');
  const option = EXTENDS.indexOf(operand.extend);
  if (operand.bits !== extendedBits(option, bits)) return shape(`${operand.extend} of the right width`);
  if (operand.amount < 0 || operand.amount > 4) return new Mismatch('range', `extend and shift by ${operand.amount}`);
  return { Rm: operand.index, option, imm3: operand.amount };
}

/** The fields that an operand fills. */
export function encodeOperand(operand: Operand, spec: OperandSpec, form: InstructionForm): Fields | Mismatch {
  const register = registerRule(spec, form);
  if (register !== undefined) return encodeRegister(operand, register);
  const number = NUMBERS[spec];
  if (number !== undefined) return encodeNumber(operand, form, number);
  const distance = DISTANCES[spec];
  if (distance !== undefined) return encodeDistance(operand, form, distance);
  switch (spec) {
    case 'imm12':
      return encodeImm12(operand);
    case 'bitmask': {
      if (operand.kind !== 'immediate') return shape('a number');
      const { value } = operand;
      const fits = value >= -(1n << BigInt(form.bits - 1)) && value < 1n << BigInt(form.bits);
      const found = fits ? encodeBitmask(BigInt.asUintN(form.bits, value), form.bits) : undefined;
      if (found === undefined) {
        return new Mismatch('range', `${operand.value} is no rotated run of ones`);
      }
      return { N: found.n, immr: found.immr, imms: found.imms };
    }
    case 'Rm,shift':
    case 'Rm,shift|ror':
      return encodeShifted(operand, form, spec === 'Rm,shift|ror');
    case 'Rm,extend':
      return encodeExtended(operand, form);
    case 'bit':
      if (operand.kind !== 'immediate') return shape('a number');
      if (operand.value < 0n || operand.value > 63n) return new Mismatch('range', `there is no bit ${operand.value}`);
      return { b5: Number(operand.value >> 5n), b40: Number(operand.value & 31n) };
    case 'adr':
      return encodeAddress(operand, 1);
    case 'adrp':
      return encodeAddress(operand, 4096);
    case 'cond':
      return operand.kind === 'condition' ? { cond: CONDITIONS.indexOf(operand.condition) } : shape('a condition');
    case 'sysreg': {
      if (operand.kind !== 'system') return shape('a system register');
      const { encoding: id } = operand;
      if (id >> 15 !== 1) return new Mismatch('range', 'op0 of a system register is 2 or 3');
      return { o0: (id >> 14) & 1, op1: (id >> 11) & 7, CRn: (id >> 7) & 15, CRm: (id >> 3) & 15, op2: id & 7 };
    }
    case 'pstate':
      if (operand.kind !== 'immediate') return shape('a field of PSTATE');
      return { op1: Number(operand.value >> 3n), op2: Number(operand.value & 7n) };
    default:
      return encodeMemory(operand, spec, form);
  }
}

function register(index: number, { bits, sp }: RegisterRule): RegisterOperand {
  return { kind: 'register', index, bits, sp: sp && index === ZERO_OR_SP };
}

const immediate = (value: number | bigint): Operand => ({ kind: 'immediate', value: BigInt(value) });

/** Undefined where the fields are reserved. */
export function decodeOperand(fields: Fields, spec: OperandSpec, form: InstructionForm): Operand | undefined {
  const f = (name: string): number => fields[name] ?? 0;
  const rule = registerRule(spec, form);
  if (rule !== undefined) return register(f(rule.field), rule);
  const number = NUMBERS[spec];
  if (number !== undefined) return immediate(f(number.field) * (number.scale ?? 1));
  const distance = DISTANCES[spec];
  if (distance !== undefined) {
    return { kind: 'relative', displacement: 4 * signExtend(f(distance), widthOf(form, distance)) };
  }
  switch (spec) {
    case 'imm12':
      return immediate(f('imm12') * (f('sh') === 1 ? 4096 : 1));
    case 'bitmask': {
      const value = decodeBitmask({ n: f('N'), immr: f('immr'), imms: f('imms') }, form.bits);
      return value === undefined ? undefined : immediate(value);
    }
    case 'Rm,shift':
    case 'Rm,shift|ror': {
      const shift = SHIFTS[f('shift')] ?? 'lsl';
      if (f('imm6') >= form.bits || (shift === 'ror' && spec === 'Rm,shift')) return undefined;
      return { kind: 'shifted', index: f('Rm'), bits: form.bits, shift, amount: f('imm6') };
    }
    case 'Rm,extend': {
      if (f('imm3') > 4) return undefined;
      const extend = EXTENDS[f('option')] ?? 'uxtx';
      const bits = extendedBits(f('option'), form.bits);
      return { kind: 'extended', index: f('Rm'), bits, extend, amount: f('imm3') };
    }
    case 'bit':
      return immediate(f('b5') * 32 + f('b40'));
    case 'adr':
    case 'adrp': {
      const unit = spec === 'adr' ? 1 : 4096;
      return { kind: 'relative', displacement: unit * signExtend(f('immhi') * 4 + f('immlo'), 21) };
    }
    case 'cond':
      return { kind: 'condition', condition: CONDITIONS[f('cond')] ?? 'al' };
    case 'sysreg': {
      const id = (2 + f('o0')) * 0x4000 + f('op1') * 0x800 + f('CRn') * 0x80 + f('CRm') * 8 + f('op2');
      return { kind: 'system', encoding: id };
    }
    case 'pstate':
      return immediate(f('op1') * 8 + f('op2'));
    default:
      return decodeMemory(fields, spec, form);
  }
}
