/** Arguments as the waist takes them: TypeError for a wrong type, RangeError for a number out of range, both naming the argument. */
import type { PointerPatch } from './kernel.ts';

const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const U64_END = 2n ** 64n;
const S64_END = 2n ** 63n;

/** Any argument, as a caller without types may pass it. */
export type Raw = unknown;

function number(value: Raw, name: string): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number`);
  return value;
}

export function int32(value: Raw, name: string): number {
  const n = number(value, name);
  if (n !== (n | 0)) throw new RangeError(`${name} must be an integer between -2^31 and 2^31-1`);
  return n | 0;
}

/** 32 bits, signed or unsigned; the result is unsigned. */
export function bits32(value: Raw, name: string): number {
  const n = number(value, name);
  if (n !== (n | 0) && n !== n >>> 0) throw new RangeError(`${name} must be an integer of 32 bits`);
  return n >>> 0;
}

export function bits16(value: Raw, name: string): number {
  const bits = bits32(value, name);
  if (bits > 0xffff) throw new RangeError(`${name} must be an integer of 16 bits`);
  return bits;
}

export function u64(value: Raw, name: string): bigint {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new RangeError(`${name} must be an integer between 0 and 2^64-1 (above 2^53-1 as a bigint)`);
    }
    return BigInt(value);
  }
  if (typeof value !== 'bigint') throw new TypeError(`${name} must be a number or a bigint`);
  if (value < 0n || value >= U64_END) throw new RangeError(`${name} must be an integer between 0 and 2^64-1`);
  return value;
}

/** As u64, but a number where it can be one: for the calls that must be fast. */
export function hva(value: Raw, name: string): number | bigint {
  if (typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)) return value;
  const wide = u64(value, name);
  return wide <= BigInt(MAX_SAFE) ? Number(wide) : wide;
}

export function s64(value: Raw, name: string): bigint {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) {
      throw new RangeError(`${name} must be an integer between -2^63 and 2^63-1 (beyond 2^53 as a bigint)`);
    }
    return BigInt(value);
  }
  if (typeof value !== 'bigint') throw new TypeError(`${name} must be a number or a bigint`);
  if (value < -S64_END || value >= S64_END) throw new RangeError(`${name} must be an integer between -2^63 and 2^63-1`);
  return value;
}

/** F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_SETLEASE, F_GETLEASE, F_ADD_SEALS, F_GET_SEALS. */
const FCNTL_COMMANDS: readonly number[] = [1030, 1, 2, 3, 4, 1024, 1025, 1033, 1034];

/** A command of fcntl(2) whose argument is no pointer. */
export function fcntlCommand(value: Raw, name: string): number {
  const command = int32(value, name);
  if (FCNTL_COMMANDS.includes(command)) return command;
  throw new RangeError(
    `${name} must be F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_SETLEASE, F_GETLEASE, F_ADD_SEALS or F_GET_SEALS`,
  );
}

export function text(value: Raw, name: string): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string`);
  if (value.includes('\0')) throw new RangeError(`${name} must not contain NUL`);
  return value;
}

/** Also of arrays from another realm. */
const hasTag = (value: ArrayBufferView, tag: string): boolean => Reflect.get(value, Symbol.toStringTag) === tag;

// isView is false for proxies and for objects that only inherit.
export function isBytes(value: Raw): value is Uint8Array {
  return ArrayBuffer.isView(value) && (value instanceof Uint8Array || hasTag(value, 'Uint8Array'));
}

export function bytes(value: Raw, name: string): Uint8Array {
  if (!isBytes(value)) throw new TypeError(`${name} must be a Uint8Array`);
  return value;
}

const tooShort = (name: string, need: number, holds: number): RangeError =>
  new RangeError(`${name} must hold ${need} values, it holds ${holds}`);

export function outS64(value: Raw, name: string, need: number): BigInt64Array {
  if (!ArrayBuffer.isView(value) || !(value instanceof BigInt64Array || hasTag(value, 'BigInt64Array')))
    throw new TypeError(`${name} must be a BigInt64Array`);
  const array = value as BigInt64Array;
  if (array.length < need) throw tooShort(name, need, array.length);
  return array;
}

export function outU64(value: Raw, name: string, need: number): BigUint64Array {
  if (!ArrayBuffer.isView(value) || !(value instanceof BigUint64Array || hasTag(value, 'BigUint64Array')))
    throw new TypeError(`${name} must be a BigUint64Array`);
  const array = value as BigUint64Array;
  if (array.length < need) throw tooShort(name, need, array.length);
  return array;
}

export function byte(value: Raw, name: string): number {
  const bits = bits32(value, name);
  if (bits > 0xff) throw new RangeError(`${name} must be an integer between 0 and 255`);
  return bits;
}

/** The array of mincore(2): one byte for each page of `length` bytes. */
export function pageVec(value: Raw, length: number | bigint): Uint8Array {
  const vec = bytes(value, 'vec');
  const pages = (BigInt(length) + 4095n) >> 12n;
  if (BigInt(vec.length) >= pages) return vec;
  throw new RangeError(`vec must hold one byte for each of ${pages} pages, it holds ${vec.length}`);
}

export function callback<T>(value: T, name: string): T {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function`);
  return value;
}

const MAX_POINTERS = 8;

/** Pairs of an offset and a buffer, each read once: a getter may do what it likes. That an offset fits is for the kernel to say. */
export function pointers(value: Raw): PointerPatch[] {
  if (!Array.isArray(value)) throw new TypeError('pointers must be an array');
  const count = value.length;
  if (count > MAX_POINTERS) throw new RangeError(`pointers must have at most ${MAX_POINTERS} entries`);
  const pairs: PointerPatch[] = [];
  for (let i = 0; i < count; i++) {
    const entry: unknown = value[i];
    const [offset, view]: unknown[] = Array.isArray(entry) ? entry : [];
    if (typeof offset !== 'number' || !isBytes(view)) {
      throw new TypeError('pointers must be pairs of an offset and a Uint8Array');
    }
    pairs.push([offset, view]);
  }
  return pairs;
}
