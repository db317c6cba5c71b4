/** Multiplication and division. */
import type { Bits } from '../../guest/x64/operands.ts';
import { setSignFlags } from './alu.ts';
import type { Operation, Site } from './machine.ts';
import { compileRead, operandAt, writeRegister } from './operands.ts';
import { AF, at, CF, getPair, HIGH, OF, RAX, RDX, setPair } from './registers.ts';
import { VECTOR } from './stop.ts';

/** The upper word of the 64-bit product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = al * bl;
  const middle = ah * bl + (low >>> 16);
  const other = al * bh + (middle % 0x1_0000);
  return (ah * bh + Math.floor(middle / 0x1_0000) + Math.floor(other / 0x1_0000)) | 0;
}

function asBigint(low: number, high: number, bits: Bits, signed: boolean): bigint {
  const value = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  return signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
}

/** Sign, zero and parity are undefined: they follow the lower half, as on many processors. */
function setProductFlags(r: Int32Array, bits: Bits, low: number, high: number, lost: boolean): void {
  r[CF] = lost ? 1 : 0;
  r[OF] = lost ? -1 : 0;
  r[AF] = 0;
  setSignFlags(r, bits, low, high);
}

/** mul and one-operand imul: the product is twice as wide as the operands. */
export function compileWideMultiply(site: Site, signed: boolean): Operation {
  const { r } = site.machine;
  const { bits } = site.instruction;
  const source = compileRead(site, operandAt(site, 0));
  if (bits === 64) {
    return () => {
      const low = source();
      const high = at(r, HIGH);
      const product = asBigint(at(r, RAX), at(r, RAX + 1), 64, signed) * asBigint(low, high, 64, signed);
      setPair(r, RAX, product);
      setPair(r, RDX, product >> 64n);
      const half = signed ? BigInt.asIntN(64, product) : BigInt.asUintN(64, product);
      setProductFlags(r, 64, at(r, RAX), at(r, RAX + 1), half !== product);
    };
  }
  if (bits === 32) {
    return () => {
      const a = at(r, RAX);
      const b = source();
      const low = Math.imul(a, b);
      let high = multiplyHigh(a, b);
      if (signed) high = (high - (a < 0 ? b : 0) - (b < 0 ? a : 0)) | 0;
      r[RAX] = low;
      r[RDX] = high;
      r[RAX + 1] = r[RDX + 1] = 0;
      setProductFlags(r, 32, low, 0, high !== (signed ? low >> 31 : 0));
    };
  }
  const up = 32 - bits;
  const mask = (1 << bits) - 1;
  return () => {
    const a = at(r, RAX) & mask;
    const b = source();
    const product = signed ? ((a << up) >> up) * ((b << up) >> up) : a * b;
    const low = product & mask;
    const high = (product >> bits) & mask;
    if (bits === 8) r[RAX] = (at(r, RAX) & ~0xffff) | (product & 0xffff);
    else {
      r[RAX] = (at(r, RAX) & ~mask) | low;
      r[RDX] = (at(r, RDX) & ~mask) | high;
    }
    setProductFlags(r, bits, low, 0, signed ? (low << up) >> up !== product : high !== 0);
  };
}

/** imul with two or three operands: the product is cut to the operand size. */
export function compileMultiply(site: Site): Operation {
  const { r } = site.machine;
  const { bits, operands } = site.instruction;
  const to = operandAt(site, 0);
  if (to.kind !== 'register') throw new TypeError('imul writes registers');
  const write = writeRegister(site.machine, to);
  const left = compileRead(site, operandAt(site, operands.length === 3 ? 1 : 0));
  const right = compileRead(site, operandAt(site, operands.length === 3 ? 2 : 1));
  return () => {
    const a = left();
    const aHigh = at(r, HIGH);
    const b = right();
    const bHigh = at(r, HIGH);
    if (bits === 64) {
      const low = Math.imul(a, b);
      const high = (multiplyHigh(a, b) + Math.imul(a, bHigh) + Math.imul(aHigh, b)) | 0;
      setProductFlags(r, 64, low, high, losesBits(a, aHigh, b, bHigh, low, high));
      write(low, high);
    } else if (bits === 32) {
      const low = Math.imul(a, b);
      // The exact product as a double is close enough to tell whether it fits into 32 bits.
      setProductFlags(r, 32, low, 0, a * b !== low);
      write(low, 0);
    } else {
      const product = ((a << 16) >> 16) * ((b << 16) >> 16);
      const low = product & 0xffff;
      setProductFlags(r, 16, low, 0, (low << 16) >> 16 !== product);
      write(low, 0);
    }
  };
}

/** Whether a signed 64-bit product was cut. */
function losesBits(a: number, aHigh: number, b: number, bHigh: number, low: number, high: number): boolean {
  const exact = (aHigh * 2 ** 32 + (a >>> 0)) * (bHigh * 2 ** 32 + (b >>> 0));
  // Far from the limits doubles decide; near them only an exact product does.
  if (Math.abs(exact) < 2 ** 62) return false;
  if (Math.abs(exact) > 2 ** 64) return true;
  return asBigint(a, aHigh, 64, true) * asBigint(b, bHigh, 64, true) !== asBigint(low, high, 64, true);
}

/** Unsigned division of rdx:rax (ax for bytes). #DE for a quotient that does not fit; no flag changes. */
export function compileDivide(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const { bits } = instruction;
  const source = compileRead(site, operandAt(site, 0));
  const divideError = () => state.exception(VECTOR.divide);
  if (bits >= 32) {
    const width = BigInt(bits);
    return () => {
      const low = source();
      const divisor = asBigint(low, at(r, HIGH), bits, false);
      if (divisor === 0n) throw divideError();
      const upper = BigInt.asUintN(bits, getPair(r, RDX));
      const dividend = (upper << width) | BigInt.asUintN(bits, getPair(r, RAX));
      const quotient = dividend / divisor;
      if (quotient >> width !== 0n) throw divideError();
      setPair(r, RAX, quotient);
      setPair(r, RDX, dividend % divisor);
    };
  }
  const mask = (1 << bits) - 1;
  return () => {
    const divisor = source();
    if (divisor === 0) throw divideError();
    const dividend = bits === 8 ? at(r, RAX) & 0xffff : (((at(r, RDX) & mask) << 16) | (at(r, RAX) & mask)) >>> 0;
    const quotient = Math.floor(dividend / divisor);
    if (quotient > mask) throw divideError();
    const rest = dividend % divisor;
    if (bits === 8) r[RAX] = (at(r, RAX) & ~0xffff) | (rest << 8) | quotient;
    else {
      r[RAX] = (at(r, RAX) & ~mask) | quotient;
      r[RDX] = (at(r, RDX) & ~mask) | rest;
    }
  };
}

/** Signed division, rounded towards zero; the remainder has the sign of the dividend. */
export function compileSignedDivide(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const { bits } = instruction;
  const source = compileRead(site, operandAt(site, 0));
  const width = BigInt(bits);
  const accumulator = writeRegister(machine, { kind: 'register', file: 'general', index: 0, bits, high: false });
  const rest = writeRegister(machine, {
    kind: 'register',
    file: 'general',
    index: bits === 8 ? 0 : 2,
    bits,
    high: bits === 8,
  });
  const halvesOf = (value: bigint): readonly [low: number, high: number] => {
    const unsigned = BigInt.asUintN(64, value);
    return [Number(unsigned & 0xffff_ffffn) | 0, Number(unsigned >> 32n) | 0];
  };
  return () => {
    const low = source();
    const divisor = BigInt.asIntN(bits, asBigint(low, at(r, HIGH), bits, true));
    if (divisor === 0n) throw state.exception(VECTOR.divide);
    const upper = bits === 8 ? getPair(r, RAX) >> 8n : getPair(r, RDX);
    const both = (BigInt.asUintN(bits, upper) << width) | BigInt.asUintN(bits, getPair(r, RAX));
    const dividend = BigInt.asIntN(2 * bits, both);
    const quotient = dividend / divisor;
    if (BigInt.asIntN(bits, quotient) !== quotient) throw state.exception(VECTOR.divide);
    accumulator(...halvesOf(quotient));
    rest(...halvesOf(dividend % divisor));
  };
}
