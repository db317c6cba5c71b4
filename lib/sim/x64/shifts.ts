/** Shifts and rotations. The count is masked by the caller and never 0: a count of 0 changes no flag. */
import type { Bits } from '../../guest/x64/operands.ts';
import { setSignFlags } from './alu.ts';
import * as registers from './registers.ts';

const { AF, at, CF, HIGH, OF } = registers;

export type Shift = (r: Int32Array, low: number, high: number, count: number) => number;
export type ShiftKind = 'shl' | 'shr' | 'sar' | 'rol' | 'ror';

/**
 * Overflow is defined for a count of 1 only, auxiliary carry never. Processors compute overflow from the last step
 * or from the whole shift; here it is the rule for a count of 1 applied to result and carry.
 */
function finish(r: Int32Array, bits: Bits, low: number, high: number, carry: number, overflow: number): number {
  r[CF] = carry;
  r[OF] = -overflow;
  r[AF] = 0;
  setSignFlags(r, bits, low, high);
  r[HIGH] = high;
  return low;
}

function shortShl(bits: 8 | 16 | 32): Shift {
  const mask = bits === 32 ? -1 : (1 << bits) - 1;
  return (r, low, _, count) => {
    const carry = count > bits ? 0 : (low >>> (bits - count)) & 1;
    const result = (low << count) & mask;
    return finish(r, bits, result, 0, carry, ((result >>> (bits - 1)) & 1) ^ carry);
  };
}

function shortShr(bits: 8 | 16 | 32): Shift {
  return (r, low, _, count) => {
    const carry = (low >>> (count - 1)) & 1;
    const result = low >>> count;
    return finish(r, bits, result | 0, 0, carry, count === 1 ? (low >>> (bits - 1)) & 1 : 0);
  };
}

function shortSar(bits: 8 | 16 | 32): Shift {
  const up = 32 - bits;
  const mask = bits === 32 ? -1 : (1 << bits) - 1;
  return (r, low, _, count) => {
    const signed = (low << up) >> up;
    const carry = (signed >> (count - 1)) & 1;
    return finish(r, bits, (signed >> count) & mask, 0, carry, 0);
  };
}

/** Rotations touch carry and overflow only. */
function rotated(r: Int32Array, low: number, high: number, carry: number, overflow: number): number {
  r[CF] = carry;
  r[OF] = -overflow;
  r[HIGH] = high;
  return low;
}

function rotateLeft(bits: 8 | 16 | 32, low: number, count: number): number {
  const by = count & (bits - 1);
  if (by === 0) return low;
  if (bits === 32) return (low << by) | (low >>> (32 - by));
  return ((low << by) | (low >>> (bits - by))) & ((1 << bits) - 1);
}

function shortRol(bits: 8 | 16 | 32): Shift {
  return (r, low, _, count) => {
    const result = rotateLeft(bits, low, count);
    return rotated(r, result, 0, result & 1, ((result >>> (bits - 1)) ^ result) & 1);
  };
}

function shortRor(bits: 8 | 16 | 32): Shift {
  return (r, low, _, count) => {
    const result = rotateLeft(bits, low, bits - (count & (bits - 1)));
    const carry = (result >>> (bits - 1)) & 1;
    return rotated(r, result, 0, carry, carry ^ ((result >>> (bits - 2)) & 1));
  };
}

function shl64(r: Int32Array, low: number, high: number, count: number): number {
  const up = count > 31 ? low << (count - 32) : (high << count) | ((low >>> 1) >>> (31 - count));
  const carry = count > 32 ? (low >>> (64 - count)) & 1 : count === 32 ? low & 1 : (high >>> (32 - count)) & 1;
  return finish(r, 64, count > 31 ? 0 : low << count, up, carry, (up >>> 31) ^ carry);
}

function carryRight(low: number, high: number, count: number): number {
  return count > 32 ? (high >>> (count - 33)) & 1 : (low >>> (count - 1)) & 1;
}

function shr64(r: Int32Array, low: number, high: number, count: number): number {
  const down = count > 31 ? high >>> (count - 32) : (low >>> count) | ((high << 1) << (31 - count));
  const overflow = count === 1 ? high >>> 31 : 0;
  return finish(r, 64, down | 0, count > 31 ? 0 : (high >>> count) | 0, carryRight(low, high, count), overflow);
}

function sar64(r: Int32Array, low: number, high: number, count: number): number {
  const down = count > 31 ? high >> (count - 32) : (low >>> count) | ((high << 1) << (31 - count));
  return finish(r, 64, down | 0, count > 31 ? high >> 31 : high >> count, carryRight(low, high, count), 0);
}

/** Rotates left by 0 to 63; the upper half goes to HIGH. */
function rotate64(r: Int32Array, low: number, high: number, count: number): number {
  const [a, b] = count > 31 ? [high, low] : [low, high];
  const by = count & 31;
  r[HIGH] = by === 0 ? b : (b << by) | (a >>> (32 - by));
  return by === 0 ? a : (a << by) | (b >>> (32 - by));
}

function rol64(r: Int32Array, low: number, high: number, count: number): number {
  const result = rotate64(r, low, high, count);
  const up = at(r, HIGH);
  return rotated(r, result, up, result & 1, (up >>> 31) ^ (result & 1));
}

function ror64(r: Int32Array, low: number, high: number, count: number): number {
  const result = rotate64(r, low, high, (64 - count) & 63);
  const up = at(r, HIGH);
  return rotated(r, result, up, up >>> 31, (up >>> 31) ^ ((up >>> 30) & 1));
}

export const SHIFTS: Readonly<Record<ShiftKind, Readonly<Record<Bits, Shift>>>> = {
  shl: { 8: shortShl(8), 16: shortShl(16), 32: shortShl(32), 64: shl64 },
  shr: { 8: shortShr(8), 16: shortShr(16), 32: shortShr(32), 64: shr64 },
  sar: { 8: shortSar(8), 16: shortSar(16), 32: shortSar(32), 64: sar64 },
  rol: { 8: shortRol(8), 16: shortRol(16), 32: shortRol(32), 64: rol64 },
  ror: { 8: shortRor(8), 16: shortRor(16), 32: shortRor(32), 64: ror64 },
};
