/** Addition, subtraction, multiplication, division. */
import {
  compileRead,
  immediateAt,
  type Machine,
  NEXT,
  type Operation,
  operandAt,
  plain,
  type Site,
  source,
  target,
} from './machine.ts';
import { at, C, getPair, HIGH, N, setPair, V, Z } from './registers.ts';

/** a + b + carry in 64 bits, with flags or without. */
export function add64(
  r: Int32Array,
  low: number,
  high: number,
  otherLow: number,
  otherHigh: number,
  carry: number,
): number {
  const sum = (low >>> 0) + (otherLow >>> 0) + carry;
  r[HIGH] = (high + otherHigh + (sum > 0xffff_ffff ? 1 : 0)) | 0;
  return sum | 0;
}

export function add64Flags(
  r: Int32Array,
  low: number,
  high: number,
  otherLow: number,
  otherHigh: number,
  carry: number,
): number {
  const sum = (low >>> 0) + (otherLow >>> 0) + carry;
  const upper = (high >>> 0) + (otherHigh >>> 0) + (sum > 0xffff_ffff ? 1 : 0);
  const [resultLow, resultHigh] = [sum | 0, upper | 0];
  r[HIGH] = resultHigh;
  r[N] = resultHigh >>> 31;
  r[Z] = (resultLow | resultHigh) === 0 ? 1 : 0;
  r[C] = upper > 0xffff_ffff ? 1 : 0;
  r[V] = ((high ^ resultHigh) & (otherHigh ^ resultHigh)) >>> 31;
  return resultLow;
}

export function add32Flags(r: Int32Array, a: number, b: number, carry: number): number {
  const sum = (a >>> 0) + (b >>> 0) + carry;
  const result = sum | 0;
  r[N] = result >>> 31;
  r[Z] = result === 0 ? 1 : 0;
  r[C] = sum > 0xffff_ffff ? 1 : 0;
  r[V] = ((a ^ result) & (b ^ result)) >>> 31;
  return result;
}

/** add, adds, sub, subs: a subtraction adds the complement and one. */
export function compileAdd(site: Site, subtract: boolean, flags: boolean): Operation {
  const { r } = site.machine;
  const [to, from] = [target(site, 0), source(site, 1)];
  const [invert, carry] = subtract ? [-1, 1] : [0, 0];
  const wide = site.instruction.form.bits === 64;
  const fast = plain(site, 2);
  if (fast !== undefined) {
    const { words, at: other } = fast;
    if (!wide && flags) {
      return () => {
        r[to] = add32Flags(r, at(r, from), at(words, other) ^ invert, carry);
        r[to + 1] = 0;
        return NEXT;
      };
    }
    if (!wide) {
      return () => {
        r[to] = at(r, from) + (at(words, other) ^ invert) + carry;
        r[to + 1] = 0;
        return NEXT;
      };
    }
    if (flags) {
      return () => {
        const [low, high] = [at(words, other) ^ invert, at(words, other + 1) ^ invert];
        r[to] = add64Flags(r, at(r, from), at(r, from + 1), low, high, carry);
        r[to + 1] = at(r, HIGH);
        return NEXT;
      };
    }
    return () => {
      const sum = (at(r, from) >>> 0) + ((at(words, other) ^ invert) >>> 0) + carry;
      r[to + 1] = at(r, from + 1) + (at(words, other + 1) ^ invert) + (sum > 0xffff_ffff ? 1 : 0);
      r[to] = sum;
      return NEXT;
    };
  }
  const read = compileRead(site, 2);
  if (!wide) {
    return () => {
      const b = read() ^ invert;
      r[to] = flags ? add32Flags(r, at(r, from), b, carry) : at(r, from) + b + carry;
      r[to + 1] = 0;
      return NEXT;
    };
  }
  const sum = flags ? add64Flags : add64;
  return () => {
    const low = read() ^ invert;
    r[to] = sum(r, at(r, from), at(r, from + 1), low, at(r, HIGH) ^ invert, carry);
    r[to + 1] = at(r, HIGH);
    return NEXT;
  };
}

export function compileAddCarry(site: Site, subtract: boolean, flags: boolean): Operation {
  const { r } = site.machine;
  const [to, from, other] = [target(site, 0), source(site, 1), source(site, 2)];
  const invert = subtract ? -1 : 0;
  if (site.instruction.form.bits === 32) {
    return () => {
      const b = at(r, other) ^ invert;
      r[to] = flags ? add32Flags(r, at(r, from), b, at(r, C)) : at(r, from) + b + at(r, C);
      r[to + 1] = 0;
      return NEXT;
    };
  }
  const sum = flags ? add64Flags : add64;
  return () => {
    const [low, high] = [at(r, other) ^ invert, at(r, other + 1) ^ invert];
    r[to] = sum(r, at(r, from), at(r, from + 1), low, high, at(r, C));
    r[to + 1] = at(r, HIGH);
    return NEXT;
  };
}

/** Bits 63:32 of the product of two unsigned 32-bit numbers. */
function upperProduct(a: number, b: number): number {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = a0 * b0;
  const middle = a1 * b0 + (low >>> 16);
  const other = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(other / 65536)) | 0;
}

/** madd, msub. */
export function compileMultiplyAdd(site: Site, subtract: boolean): Operation {
  const { r } = site.machine;
  const [to, n, m, a] = [target(site, 0), source(site, 1), source(site, 2), source(site, 3)];
  if (site.instruction.form.bits === 32) {
    return () => {
      const product = Math.imul(at(r, n), at(r, m));
      r[to] = subtract ? at(r, a) - product : at(r, a) + product;
      r[to + 1] = 0;
      return NEXT;
    };
  }
  const [invert, carry] = subtract ? [-1, 1] : [0, 0];
  return () => {
    const [nLow, mLow] = [at(r, n), at(r, m)];
    const low = Math.imul(nLow, mLow);
    const high = upperProduct(nLow, mLow) + Math.imul(at(r, n + 1), mLow) + Math.imul(nLow, at(r, m + 1));
    r[to] = add64(r, at(r, a), at(r, a + 1), low ^ invert, high ^ invert, carry);
    r[to + 1] = at(r, HIGH);
    return NEXT;
  };
}

type Wide = (n: bigint, m: bigint, a: bigint) => bigint;

/** What is rare enough to be computed with big numbers. `read` says how sources are seen. */
function compileWide(site: Site, read: (r: Int32Array, word: number) => bigint, compute: Wide): Operation {
  const { r } = site.machine;
  const [to, n, m] = [target(site, 0), source(site, 1), source(site, 2)];
  const a = site.instruction.operands.length > 3 ? source(site, 3) : undefined;
  const { bits } = site.instruction.form;
  return () => {
    const value = compute(read(r, n), read(r, m), a === undefined ? 0n : getPair(r, a));
    setPair(r, to, BigInt.asUintN(bits, value));
    return NEXT;
  };
}

const signed64 = (r: Int32Array, word: number): bigint => BigInt.asIntN(64, getPair(r, word));
const signed32 = (r: Int32Array, word: number): bigint => BigInt(at(r, word));
const unsigned32 = (r: Int32Array, word: number): bigint => BigInt(at(r, word) >>> 0);

export const compileMultiplyLong = (site: Site, signed: boolean, subtract: boolean): Operation =>
  compileWide(site, signed ? signed32 : unsigned32, (n, m, a) => (subtract ? a - n * m : a + n * m));

export const compileMultiplyHigh = (site: Site, signed: boolean): Operation =>
  compileWide(site, signed ? signed64 : getPair, (n, m) => (n * m) >> 64n);

/** By zero it is 0; the one quotient that does not fit wraps. */
export function compileDivide(site: Site, signed: boolean): Operation {
  const narrow = signed ? signed32 : unsigned32;
  const wide = signed ? signed64 : getPair;
  const read = site.instruction.form.bits === 64 ? wide : narrow;
  return compileWide(site, read, (n, m) => (m === 0n ? 0n : n / m));
}

/** adr, adrp: known when the instruction is. */
export function compileAddress(site: Site, pages: boolean): Operation {
  const { r }: Machine = site.machine;
  const to = target(site, 0);
  const operand = operandAt(site, 1);
  const by = operand.kind === 'relative' ? BigInt(operand.displacement) : immediateAt(site, 1);
  const pc = (BigInt(site.high >>> 0) << 32n) | BigInt(site.low >>> 0);
  const value = (pages ? pc & ~0xfffn : pc) + by;
  const [low, high] = [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))];
  return () => {
    r[to] = low;
    r[to + 1] = high;
    return NEXT;
  };
}
