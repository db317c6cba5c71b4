/** Two-operand and one-operand arithmetic, shifts, comparisons. */
import { ADC, ADD, type Alu, type AluBySize, AND, DEC, INC, NEG, OR, SBB, SUB, XOR } from './alu.ts';
import type { Operation, Read, Site } from './machine.ts';
import { compileModify, compileRead, halves, operandAt } from './operands.ts';
import * as registers from './registers.ts';
import { SHIFTS, type ShiftKind } from './shifts.ts';

const { at, HIGH } = registers;

const BINARY = { add: ADD, or: OR, adc: ADC, sbb: SBB, and: AND, sub: SUB, xor: XOR } as const;

/** The word of a full-width register operand that needs no masking, or undefined. */
function plainWord(site: Site, index: number): number | undefined {
  const operand = operandAt(site, index);
  return operand.kind === 'register' && operand.bits >= 32 ? 2 * operand.index : undefined;
}

/** A source that is a register or a number, as two words somewhere: the fast case of nearly all arithmetic. */
function plainSource(site: Site, bits: 32 | 64): { words: Int32Array; at: number } | undefined {
  const operand = operandAt(site, 1);
  if (operand.kind === 'register' && operand.bits === bits) {
    return { words: site.machine.r, at: 2 * operand.index };
  }
  if (operand.kind === 'immediate') return { words: Int32Array.from(halves(operand.value, bits)), at: 0 };
  return undefined;
}

function plainBinary(site: Site, alu: Alu, keep: boolean): Operation | undefined {
  const { r } = site.machine;
  const { bits } = site.instruction;
  const to = plainWord(site, 0);
  if (to === undefined || bits < 32) return undefined;
  const wide = bits === 64;
  const source = plainSource(site, wide ? 64 : 32);
  if (source === undefined) return undefined;
  const { words, at: from } = source;
  if (!keep) return () => void alu(r, at(r, to), at(r, to + 1), at(words, from), at(words, from + 1));
  return () => {
    r[to] = alu(r, at(r, to), at(r, to + 1), at(words, from), at(words, from + 1));
    r[to + 1] = at(r, HIGH);
  };
}

export function compileBinary(site: Site, name: keyof typeof BINARY): Operation {
  const { r } = site.machine;
  const alu = BINARY[name][site.instruction.bits];
  const plain = plainBinary(site, alu, true);
  if (plain !== undefined) return plain;
  const to = compileModify(site, operandAt(site, 0));
  const from = compileRead(site, operandAt(site, 1));
  return () => {
    const a = to.read();
    const aHigh = at(r, HIGH);
    const b = from();
    const result = alu(r, a, aHigh, b, at(r, HIGH));
    to.write(result, at(r, HIGH));
  };
}

/** cmp and test: the result goes nowhere. */
export function compileCompare(site: Site, name: 'cmp' | 'test'): Operation {
  const { r } = site.machine;
  const alu = (name === 'cmp' ? SUB : AND)[site.instruction.bits];
  const plain = plainBinary(site, alu, false);
  if (plain !== undefined) return plain;
  const left = compileRead(site, operandAt(site, 0));
  const right = compileRead(site, operandAt(site, 1));
  return () => {
    const a = left();
    const aHigh = at(r, HIGH);
    const b = right();
    alu(r, a, aHigh, b, at(r, HIGH));
  };
}

const UNARY: Readonly<Record<'inc' | 'dec' | 'neg', AluBySize>> = { inc: INC, dec: DEC, neg: NEG };

export function compileUnary(site: Site, name: keyof typeof UNARY): Operation {
  const { r } = site.machine;
  const alu = UNARY[name][site.instruction.bits];
  const to = compileModify(site, operandAt(site, 0));
  return () => {
    const a = to.read();
    const result = alu(r, a, at(r, HIGH), 0, 0);
    to.write(result, at(r, HIGH));
  };
}

/** Inverts without touching flags. */
export function compileNot(site: Site): Operation {
  const { r } = site.machine;
  const { bits } = site.instruction;
  const mask = bits < 32 ? (1 << bits) - 1 : -1;
  const to = compileModify(site, operandAt(site, 0));
  return () => {
    const low = ~to.read() & mask;
    to.write(low, ~at(r, HIGH));
  };
}

export function compileShift(site: Site, kind: ShiftKind): Operation {
  const { r } = site.machine;
  const { bits } = site.instruction;
  const shift = SHIFTS[kind][bits];
  const mask = bits === 64 ? 63 : 31;
  const to = compileModify(site, operandAt(site, 0));
  const count: Read = compileRead(site, operandAt(site, 1));
  return () => {
    const by = count() & mask;
    const low = to.read();
    const high = at(r, HIGH);
    // Nothing but the destination's upper half (of a 32-bit register) changes.
    if (by === 0) to.write(low, high);
    else {
      const result = shift(r, low, high, by);
      to.write(result, at(r, HIGH));
    }
  };
}
