/** Arithmetic with flags, for 8, 16, 32 and 64 bits. */
import type { Bits } from '../../guest/x64/operands.ts';
import * as registers from './registers.ts';

const { AF, at, CF, HIGH, OF, PF, SF, ZF } = registers;

/**
 * Takes two numbers as halves, answers the lower half of the result and leaves the upper one in HIGH. Numbers of 8 and
 * 16 bits are zero-extended, 32-bit ones signed; their upper halves are 0.
 */
export type Alu = (r: Int32Array, a: number, aHigh: number, b: number, bHigh: number) => number;
export type AluBySize = Readonly<Record<Bits, Alu>>;

/** Zero, sign and parity of a result; `signWord` has the result's sign as its own. */
function setResult(r: Int32Array, zero: number, signWord: number, low: number): void {
  r[ZF] = zero;
  r[SF] = signWord;
  r[PF] = low;
}

function add32(r: Int32Array, a: number, b: number, carry: number): number {
  const result = (a + b + carry) | 0;
  // Both inputs, or one of them and no result bit: a carry left the top.
  r[CF] = ((a & b) | ((a | b) & ~result)) >>> 31;
  r[OF] = (a ^ result) & (b ^ result);
  r[AF] = a ^ b ^ result;
  setResult(r, result, result, result);
  r[HIGH] = 0;
  return result;
}

function add64(r: Int32Array, a: number, aHigh: number, b: number, bHigh: number, carry: number): number {
  const low = (a + b + carry) | 0;
  const middle = ((a & b) | ((a | b) & ~low)) >>> 31;
  const high = (aHigh + bHigh + middle) | 0;
  r[CF] = ((aHigh & bHigh) | ((aHigh | bHigh) & ~high)) >>> 31;
  r[OF] = (aHigh ^ high) & (bHigh ^ high);
  r[AF] = a ^ b ^ low;
  setResult(r, low | high, high, low);
  r[HIGH] = high;
  return low;
}

function sub32(r: Int32Array, a: number, b: number, borrow: number): number {
  const result = (a - b - borrow) | 0;
  r[CF] = ((~a & b) | (~(a ^ b) & result)) >>> 31;
  r[OF] = (a ^ b) & (a ^ result);
  r[AF] = a ^ b ^ result;
  setResult(r, result, result, result);
  r[HIGH] = 0;
  return result;
}

function sub64(r: Int32Array, a: number, aHigh: number, b: number, bHigh: number, borrow: number): number {
  const low = (a - b - borrow) | 0;
  const middle = ((~a & b) | (~(a ^ b) & low)) >>> 31;
  const high = (aHigh - bHigh - middle) | 0;
  r[CF] = ((~aHigh & bHigh) | (~(aHigh ^ bHigh) & high)) >>> 31;
  r[OF] = (aHigh ^ bHigh) & (aHigh ^ high);
  r[AF] = a ^ b ^ low;
  setResult(r, low | high, high, low);
  r[HIGH] = high;
  return low;
}

/** Numbers of fewer than 32 bits, moved to the top of a word so that carry, sign and overflow come out there. */
function narrow(r: Int32Array, bits: 8 | 16, a: number, b: number, exact: number, overflow: number): number {
  const mask = (1 << bits) - 1;
  const result = exact & mask;
  const up = 32 - bits;
  r[CF] = (exact >> bits) & 1;
  r[OF] = overflow << up;
  r[AF] = a ^ b ^ result;
  setResult(r, result, result << up, result);
  r[HIGH] = 0;
  return result;
}

function addNarrow(r: Int32Array, bits: 8 | 16, a: number, b: number, carry: number): number {
  const exact = a + b + carry;
  return narrow(r, bits, a, b, exact, (a ^ exact) & (b ^ exact));
}

function subNarrow(r: Int32Array, bits: 8 | 16, a: number, b: number, borrow: number): number {
  const exact = a - b - borrow;
  return narrow(r, bits, a, b, exact, (a ^ b) & (a ^ exact));
}

export const ADD: AluBySize = {
  8: (r, a, _, b) => addNarrow(r, 8, a, b, 0),
  16: (r, a, _, b) => addNarrow(r, 16, a, b, 0),
  32: (r, a, _, b) => add32(r, a, b, 0),
  64: (r, a, aHigh, b, bHigh) => add64(r, a, aHigh, b, bHigh, 0),
};
export const ADC: AluBySize = {
  8: (r, a, _, b) => addNarrow(r, 8, a, b, at(r, CF)),
  16: (r, a, _, b) => addNarrow(r, 16, a, b, at(r, CF)),
  32: (r, a, _, b) => add32(r, a, b, at(r, CF)),
  64: (r, a, aHigh, b, bHigh) => add64(r, a, aHigh, b, bHigh, at(r, CF)),
};
export const SUB: AluBySize = {
  8: (r, a, _, b) => subNarrow(r, 8, a, b, 0),
  16: (r, a, _, b) => subNarrow(r, 16, a, b, 0),
  32: (r, a, _, b) => sub32(r, a, b, 0),
  64: (r, a, aHigh, b, bHigh) => sub64(r, a, aHigh, b, bHigh, 0),
};
export const SBB: AluBySize = {
  8: (r, a, _, b) => subNarrow(r, 8, a, b, at(r, CF)),
  16: (r, a, _, b) => subNarrow(r, 16, a, b, at(r, CF)),
  32: (r, a, _, b) => sub32(r, a, b, at(r, CF)),
  64: (r, a, aHigh, b, bHigh) => sub64(r, a, aHigh, b, bHigh, at(r, CF)),
};

/** The auxiliary carry is undefined after a logical operation; processors clear it. */
export function setLogicFlags(r: Int32Array, bits: Bits, low: number, high: number): void {
  r[CF] = 0;
  r[OF] = 0;
  r[AF] = 0;
  setSignFlags(r, bits, low, high);
}

export function setSignFlags(r: Int32Array, bits: Bits, low: number, high: number): void {
  if (bits === 64) setResult(r, low | high, high, low);
  else setResult(r, low, low << (32 - bits), low);
}

function logic(operation: (a: number, b: number) => number): AluBySize {
  const short =
    (bits: 8 | 16 | 32): Alu =>
    (r, a, _, b) => {
      const result = operation(a, b);
      setLogicFlags(r, bits, result, 0);
      r[HIGH] = 0;
      return result;
    };
  return {
    8: short(8),
    16: short(16),
    32: short(32),
    64: (r, a, aHigh, b, bHigh) => {
      const low = operation(a, b);
      const high = operation(aHigh, bHigh);
      setLogicFlags(r, 64, low, high);
      r[HIGH] = high;
      return low;
    },
  };
}

export const AND = logic((a, b) => a & b);
export const OR = logic((a, b) => a | b);
export const XOR = logic((a, b) => a ^ b);

/** inc and dec keep the carry. */
function keepingCarry(operation: AluBySize): AluBySize {
  const keeping =
    (alu: Alu): Alu =>
    (r, a, aHigh) => {
      const carry = at(r, CF);
      const result = alu(r, a, aHigh, 1, 0);
      r[CF] = carry;
      return result;
    };
  return {
    8: keeping(operation[8]),
    16: keeping(operation[16]),
    32: keeping(operation[32]),
    64: keeping(operation[64]),
  };
}
export const INC = keepingCarry(ADD);
export const DEC = keepingCarry(SUB);

function reversed(alu: Alu): Alu {
  return (r, a, aHigh) => alu(r, 0, 0, a, aHigh);
}
export const NEG: AluBySize = {
  8: reversed(SUB[8]),
  16: reversed(SUB[16]),
  32: reversed(SUB[32]),
  64: reversed(SUB[64]),
};
