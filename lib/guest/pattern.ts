import type { Integer } from './numbers.ts';
import { formatHex, toRange, toUnsigned } from './numbers.ts';

/**
 * What `fill` writes and `check` expects:
 * - a number 0 ... 255: that byte, everywhere
 * - a bigint: that 64-bit word, little-endian, again and again
 * - `addressPattern(seed)`: each 64-bit word is its own gpa XOR the seed, so a page that turns up at a wrong address
 *   (aliasing, swapped offsets) is noticed, which no constant pattern can do
 */
export type Pattern = number | bigint | AddressPattern;

export interface AddressPattern {
  readonly kind: 'address';
  readonly seed: bigint;
}

export function addressPattern(seed: Integer = 0n): AddressPattern {
  return { kind: 'address', seed: toUnsigned(seed, 64, 'seed') };
}

/** A pattern broken down to what a program needs: units of 1 or 8 bytes, constant or derived from the address. */
export interface PatternUnits {
  readonly unit: 1 | 8;
  readonly byAddress: boolean;
  /** The unit's value, or the seed. */
  readonly value: bigint;
}

/**
 * Bytes are handled eight at a time where the length allows. Throws RangeError when a number is no byte or when the
 * length (undefined: known at run time only) is no multiple of 8 although the pattern consists of words.
 */
export function patternUnits(pattern: Pattern, length: number | undefined, what: string): PatternUnits {
  if (typeof pattern === 'number') {
    if (!Number.isInteger(pattern) || pattern < 0 || pattern > 0xff) {
      throw new RangeError(`${what}: pattern ${pattern} is no byte; write a 64-bit word as a bigint`);
    }
    const byte = BigInt(pattern);
    if (length !== undefined && length % 8 === 0)
      return { unit: 8, byAddress: false, value: byte * 0x0101010101010101n };
    return { unit: 1, byAddress: false, value: byte };
  }
  if (length !== undefined && length % 8 !== 0) {
    throw new RangeError(`${what}: length ${formatHex(length)} is no multiple of 8, as patterns of words need`);
  }
  if (typeof pattern === 'bigint')
    return { unit: 8, byAddress: false, value: toUnsigned(pattern, 64, `${what} pattern`) };
  return { unit: 8, byAddress: true, value: pattern.seed };
}

/** The bytes of a pattern as the host would read them at `gpa`: for filling and comparing from outside the guest. */
export function patternBytes(gpa: Integer, length: number, pattern: Pattern): Uint8Array {
  const range = toRange(gpa, length, 'pattern');
  const { unit, byAddress, value } = patternUnits(pattern, length, 'pattern');
  const bytes = new Uint8Array(length);
  if (unit === 1) return bytes.fill(Number(value));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < length; at += 8) {
    view.setBigUint64(at, byAddress ? BigInt(range.gpa + at) ^ value : value, true);
  }
  return bytes;
}
