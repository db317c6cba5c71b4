/** A whole number as callers may write it: a safe integer or a bigint. */
export type Integer = number | bigint;

/** KVM's guest physical addresses have at most 52 bits, so every gpa is exact as a JavaScript number. */
export const GPA_LIMIT = 2 ** 52;

/** A half-open range of guest physical addresses, in bytes. */
export interface GpaRange {
  readonly gpa: number;
  readonly size: number;
}

function toBigInt(value: Integer, what: string): bigint {
  if (typeof value === 'bigint') return value;
  // An unsafe number has already lost bits; taking it would silently test another value than the caller wrote.
  if (!Number.isSafeInteger(value)) throw new RangeError(`${what}: ${value} is not a safe integer; use a bigint`);
  return BigInt(value);
}

/**
 * The two's complement form of `value` in `bits` bits.
 * Throws RangeError when the value needs more bits, counting both signed and unsigned spellings as valid.
 */
export function toUnsigned(value: Integer, bits: number, what: string): bigint {
  const big = toBigInt(value, what);
  if (big < -(1n << BigInt(bits - 1)) || big >= 1n << BigInt(bits)) {
    throw new RangeError(`${what}: ${formatHex(big)} does not fit in ${bits} bits`);
  }
  return BigInt.asUintN(bits, big);
}

/** A guest physical address as a number. Throws RangeError outside 0 ... 2^52 - 1. */
export function toGpa(value: Integer, what: string): number {
  const big = toBigInt(value, what);
  if (big < 0n || big >= BigInt(GPA_LIMIT)) throw new RangeError(`${what}: ${formatHex(big)} is not a 52-bit gpa`);
  return Number(big);
}

/** A positive byte count whose end stays inside the 52-bit space. Throws RangeError otherwise. */
export function toRange(gpa: Integer, size: Integer, what: string): GpaRange {
  const start = toGpa(gpa, `${what} gpa`);
  const length = toBigInt(size, `${what} length`);
  if (length <= 0n || BigInt(start) + length > BigInt(GPA_LIMIT)) {
    throw new RangeError(`${what}: ${formatHex(length)} bytes at ${formatHex(start)} is not a valid range`);
  }
  return { gpa: start, size: Number(length) };
}

export function formatHex(value: Integer): string {
  return value < 0 ? `-0x${(-BigInt(value)).toString(16)}` : `0x${value.toString(16)}`;
}

/** Sorted, with overlapping and adjacent ranges joined. */
export function mergeRanges(ranges: Iterable<GpaRange>): GpaRange[] {
  const sorted = [...ranges].sort((a, b) => a.gpa - b.gpa);
  const merged: GpaRange[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && range.gpa <= last.gpa + last.size) {
      const end = Math.max(last.gpa + last.size, range.gpa + range.size);
      merged[merged.length - 1] = { gpa: last.gpa, size: end - last.gpa };
    } else {
      merged.push(range);
    }
  }
  return merged;
}
