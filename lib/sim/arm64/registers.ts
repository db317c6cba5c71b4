/**
 * Where registers lie in one Int32Array: 64 bits are two words, the lower first. One array for everything keeps the code made from
 * instructions the same for all of them.
 */

/** x0 … x30 at 2 × number. */
export const SP = 62;
/** Number 31 as a source: always 0. */
export const ZERO = 64;
/** Number 31 as a destination: never read. */
const SINK = 66;
/** Flags, 0 or 1 each. */
export const N = 68;
export const Z = 69;
export const C = 70;
export const V = 71;
export const PC = 72;
/** Upper half of the last 64-bit result. */
export const HIGH = 74;
export const WORDS = 76;

const NUMBER_31 = 31;

/** Typed arrays answer undefined out of bounds only. */
export const at = (words: Int32Array, index: number): number => words[index] as number;

export const sourceWord = (index: number, sp = false): number => (index === NUMBER_31 ? (sp ? SP : ZERO) : 2 * index);
export const targetWord = (index: number, sp = false): number => (index === NUMBER_31 ? (sp ? SP : SINK) : 2 * index);

export function getPair(r: Int32Array, index: number): bigint {
  return (BigInt(at(r, index + 1) >>> 0) << 32n) | BigInt(at(r, index) >>> 0);
}

export function setPair(r: Int32Array, index: number, value: bigint): void {
  r[index] = Number(BigInt.asIntN(32, value));
  r[index + 1] = Number(BigInt.asIntN(32, value >> 32n));
}

/** An address as a number; exact below 2^53, and never taken for a lower one above. */
export const addressOf = (low: number, high: number): number => (high >>> 0) * 2 ** 32 + (low >>> 0);
