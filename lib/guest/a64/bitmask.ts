/** Immediates of logical instructions: a run of ones, rotated, repeated in elements of 2 to 64 bits. Arm ARM, DecodeBitMasks. */
import type { Width } from './operands.ts';

export interface BitmaskFields {
  readonly n: number;
  readonly immr: number;
  readonly imms: number;
}

function rotateRight(value: bigint, by: number, size: number): bigint {
  const mask = (1n << BigInt(size)) - 1n;
  return ((value >> BigInt(by)) | (value << BigInt(size - by))) & mask;
}

function repeat(element: bigint, size: number, bits: Width): bigint {
  let value = 0n;
  for (let at = 0; at < bits; at += size) value |= element << BigInt(at);
  return value;
}

/** Undefined for fields that mean nothing. */
export function decodeBitmask({ n, immr, imms }: BitmaskFields, bits: Width): bigint | undefined {
  const length = 31 - Math.clz32((n << 6) | (~imms & 0x3f));
  if (length < 1) return undefined;
  const size = 2 ** length;
  if (size > bits) return undefined;
  const ones = (imms & (size - 1)) + 1;
  if (ones === size) return undefined;
  return repeat(rotateRight((1n << BigInt(ones)) - 1n, immr & (size - 1), size), size, bits);
}

function countOnes(value: bigint): number {
  let ones = 0;
  for (let rest = value; rest !== 0n; rest &= rest - 1n) ones++;
  return ones;
}

/** Undefined for a value that no fields give: 0, all ones, and most others. */
export function encodeBitmask(value: bigint, bits: Width): BitmaskFields | undefined {
  for (let size = 2; size <= bits; size *= 2) {
    const element = value & ((1n << BigInt(size)) - 1n);
    if (repeat(element, size, bits) !== value) continue;
    const ones = countOnes(element);
    if (ones === 0 || ones === size) return undefined;
    const run = (1n << BigInt(ones)) - 1n;
    for (let immr = 0; immr < size; immr++) {
      if (rotateRight(run, immr, size) !== element) continue;
      const n = size === 64 ? 1 : 0;
      return { n, immr, imms: n === 1 ? ones - 1 : (~(2 * size - 1) & 0x3f) | (ones - 1) };
    }
    return undefined;
  }
  return undefined;
}
