/**
 * The state that nearly every instruction touches: one array of 32-bit words, because 64-bit numbers are either slow
 * (bigint) or inexact (number). General register n is the pair of words 2n (low) and 2n + 1 (high).
 *
 * Modules whose code runs for every instruction take these names into constants of their own: an imported name is a
 * live binding, looked up at every use, and that makes the vCPU half as fast (a tenth under some test runners).
 */
export const RSP = 8;
export const RCX = 2;
export const RAX = 0;
export const RDX = 4;
export const RBX = 6;
export const RSI = 12;
export const RDI = 14;
/** Always zero: what an address without a base or index adds. */
export const ZERO = 32;
export const RIP_LOW = 34;
export const RIP_HIGH = 35;
/** The upper half of whatever a function returned the lower half of. */
export const HIGH = 36;

// Flags are kept as the words that they are a property of: cheap to write, and few instructions read them.
/** Carry: 0 or 1. */
export const CF = 37;
/** Overflow: negative when set. */
export const OF = 38;
/** Auxiliary carry: bit 4. */
export const AF = 39;
/** Zero: zero when set. */
export const ZF = 40;
/** Sign: negative when set. */
export const SF = 41;
/** Parity: set when the lowest byte has an even number of ones. */
export const PF = 42;
/** All other bits of rflags, at their places. */
export const OTHER_FLAGS = 43;

/** EVENT_ bits that make the executor leave the block after the instruction. */
export const EVENT = 44;
/** The linear address that the first half of a read-modify-write found. */
export const PLACE_LOW = 45;
export const PLACE_HIGH = 46;
/** Base addresses of es, cs, ss, ds, fs, gs: pairs. */
export const SEGMENT_BASES = 48;
export const WORDS = 64;

/** Something was written to a page that holds decoded code. */
export const EVENT_CODE = 1;
/** The instruction is done and the vCPU stops. */
export const EVENT_STOP = 2;
/** A repeated string instruction has more to do: rip stays on it. */
export const EVENT_REPEAT = 4;

export const FLAG = {
  carry: 1,
  parity: 4,
  auxiliary: 0x10,
  zero: 0x40,
  sign: 0x80,
  trap: 0x100,
  interrupt: 0x200,
  direction: 0x400,
  overflow: 0x800,
  iopl: 0x3000,
  nested: 0x4000,
  resume: 0x1_0000,
  virtual8086: 0x2_0000,
  alignment: 0x4_0000,
  id: 0x20_0000,
} as const;

const STATUS = FLAG.carry | FLAG.parity | FLAG.auxiliary | FLAG.zero | FLAG.sign | FLAG.overflow;

/** A word of the array. Indices are fixed numbers or register numbers, so there always is one. */
export function at(words: Int32Array, index: number): number {
  return words[index] as number;
}

/** 1 where the byte has an even number of ones. */
export function evenParity(value: number): number {
  let byte = value & 0xff;
  byte ^= byte >> 4;
  // 0x9669: bit n is set where the nibble n has an even number of ones.
  return (0x9669 >> (byte & 15)) & 1;
}

export function getFlags(r: Int32Array): number {
  return (
    at(r, OTHER_FLAGS) |
    2 |
    at(r, CF) |
    (evenParity(at(r, PF)) << 2) |
    (at(r, AF) & FLAG.auxiliary) |
    (at(r, ZF) === 0 ? FLAG.zero : 0) |
    (at(r, SF) < 0 ? FLAG.sign : 0) |
    (at(r, OF) < 0 ? FLAG.overflow : 0)
  );
}

export function setFlags(r: Int32Array, flags: number): void {
  r[CF] = flags & 1;
  r[PF] = (flags & FLAG.parity) === 0 ? 1 : 0;
  r[AF] = flags & FLAG.auxiliary;
  r[ZF] = (flags & FLAG.zero) === 0 ? 1 : 0;
  r[SF] = (flags & FLAG.sign) === 0 ? 0 : -1;
  r[OF] = (flags & FLAG.overflow) === 0 ? 0 : -1;
  r[OTHER_FLAGS] = flags & ~STATUS & ~2;
}

export function getPair(r: Int32Array, index: number): bigint {
  return (BigInt(at(r, index + 1) >>> 0) << 32n) | BigInt(at(r, index) >>> 0);
}

export function setPair(r: Int32Array, index: number, value: bigint): void {
  r[index] = Number(value & 0xffff_ffffn);
  r[index + 1] = Number((value >> 32n) & 0xffff_ffffn);
}

/** Condition codes in the order of the encoding; odd codes are the negation of the even one before. */
export type Test = (r: Int32Array) => boolean;

const below: Test = (r) => at(r, CF) !== 0;
const equal: Test = (r) => at(r, ZF) === 0;
const belowOrEqual: Test = (r) => at(r, CF) !== 0 || at(r, ZF) === 0;
const less: Test = (r) => (at(r, SF) ^ at(r, OF)) < 0;
const lessOrEqual: Test = (r) => at(r, ZF) === 0 || (at(r, SF) ^ at(r, OF)) < 0;

export const TESTS: readonly Test[] = [
  (r) => at(r, OF) < 0,
  (r) => at(r, OF) >= 0,
  below,
  (r) => at(r, CF) === 0,
  equal,
  (r) => at(r, ZF) !== 0,
  belowOrEqual,
  (r) => at(r, CF) === 0 && at(r, ZF) !== 0,
  (r) => at(r, SF) < 0,
  (r) => at(r, SF) >= 0,
  (r) => evenParity(at(r, PF)) === 1,
  (r) => evenParity(at(r, PF)) === 0,
  less,
  (r) => (at(r, SF) ^ at(r, OF)) >= 0,
  lessOrEqual,
  (r) => at(r, ZF) !== 0 && (at(r, SF) ^ at(r, OF)) >= 0,
];

export function testOf(code: number | undefined): Test {
  const test = TESTS[code ?? -1];
  if (test === undefined) throw new RangeError(`no condition ${code}`);
  return test;
}
