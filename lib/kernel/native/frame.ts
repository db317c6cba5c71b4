/**
 * The frame that this side shares with the addon (native/frame.h): the numbers of a call go in, its result comes out. Handing them over
 * one by one through Node-API would take as long as the cheapest system call.
 */
import * as take from '../arguments.ts';
import type { Int } from '../kernel.ts';

/** Places, in units of 8 bytes; the arguments begin at 0. */
const ROW = 6;
const RESULT = 7;
const WIDE = 8;
const FAULT = 9;
const HANDLERS_SEEN = 12;

const TWO_32 = 2 ** 32;

export class Frame {
  /** Halves of the places, the low one first: x86-64 and arm64 are little endian. */
  readonly #halves: Int32Array;
  readonly #longs: BigInt64Array;
  readonly #doubles: Float64Array;

  constructor(buffer: ArrayBuffer) {
    this.#halves = new Int32Array(buffer);
    this.#longs = new BigInt64Array(buffer);
    this.#doubles = new Float64Array(buffer);
  }

  #put(place: number, low: number, high: number): void {
    this.#halves[2 * place] = low;
    this.#halves[2 * place + 1] = high;
  }

  /** Argument `index`, a number that 32 bits hold with a sign. */
  int32(index: number, value: number, name: string): void {
    const checked = take.int32(value, name);
    this.#put(index, checked, checked >> 31);
  }

  /** 32 bits, given signed or unsigned, and the bits that are always set. */
  bits32(index: number, value: number, name: string, always = 0): void {
    this.#put(index, take.bits32(value, name) | always, 0);
  }

  u64(index: number, value: Int, name: string): void {
    if (Number.isSafeInteger(value) && value >= 0) this.number(index, value as number);
    else this.#longs[index] = BigInt.asIntN(64, take.u64(value, name));
  }

  s64(index: number, value: Int, name: string): void {
    if (Number.isSafeInteger(value)) this.number(index, value as number);
    else this.#longs[index] = take.s64(value, name);
  }

  /** A safe integer that needs no check. */
  number(index: number, value: number): void {
    this.#put(index, value | 0, Math.floor(value / TWO_32));
  }

  /** Argument `index`, where a call puts a result. */
  argument(index: number): bigint {
    return this.#longs[index] ?? 0n;
  }

  /** The system call to make. */
  row(row: number): void {
    this.#halves[2 * ROW] = row;
  }

  /** Zero or more, or a negated errno. */
  get result(): number {
    return this.#doubles[RESULT] ?? 0;
  }

  /** The result where a number may not hold it. */
  get wide(): bigint {
    return this.#longs[WIDE] ?? 0n;
  }

  /** Fills `fault` with what stopped a copy; zeros when nothing did. */
  readFault(fault: BigInt64Array): void {
    const stopped = this.#halves[2 * FAULT] !== 0;
    for (let i = 0; i < 3; i++) fault[i] = stopped ? (this.#longs[FAULT + i] ?? 0n) : 0n;
  }

  /** Whether a copy looked at the signal handlers since the last `forgetHandlers`. */
  get handlersSeen(): boolean {
    return this.#halves[2 * HANDLERS_SEEN] !== 0;
  }

  forgetHandlers(): void {
    this.#put(HANDLERS_SEEN, 0, 0);
  }
}
