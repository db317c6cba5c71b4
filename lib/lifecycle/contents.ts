/** What memory must hold: computed on the host from what was really written, and compared with what the guest says. */
import { patternBytes } from '../guest/index.ts';
import { INITIAL, PAGE, PRIVATE_GPA, SEED, type Stage } from './stage.ts';
import { Unexpected } from './words.ts';

const MASK = (1n << 64n) - 1n;
/** Multiplier of Knuth's MMIX generator: makes a value that no host write contains. */
const MULTIPLIER = 6364136223846793005n;

export const REFILL = 0x5a;
/** What I/O brings into a shared page. */
export const IO_BYTE = 0x3c;
/** What the host writes where it can after the completion. */
export const TAMPER = 0xdd;

export const hex = (value: bigint): string => `0x${value.toString(16)}`;
export const pages = (bytes: number): string => `${bytes / PAGE} page${bytes === PAGE ? '' : 's'}`;

/** Eight bytes alike, as a word. */
export const word = (byte: number): bigint => BigInt(byte) * 0x0101_0101_0101_0101n;

export function checkContents(what: string, actual: bigint, expected: bigint): void {
  if (actual === expected) return;
  throw new Unexpected(`${what} is ${hex(actual)}, must be ${hex(expected)}`);
}

/** Bits of 64 that differ between a word and its encryption: 32 on average, and fewer than 9 once in ten thousand million. */
const FEW = 9;

/**
 * Something else than what the other side wrote: that is encryption's doing where there is any, and a mistake of the kernel elsewhere, or where only some
 * bits differ.
 */
export function mustBeCiphertext({ encrypts, technology }: Stage, what: string, actual: bigint, plain: bigint): void {
  const differing = [...(actual ^ plain).toString(2)].filter((bit) => bit === '1').length;
  if (encrypts && differing >= FEW) return;
  const why = encrypts ? `${differing} bits differ, too few for ciphertext` : `${technology.name} encrypts nothing`;
  throw new Unexpected(`${what} is ${hex(actual)}, not ${hex(plain)}: ${why}`);
}

export function sumWords(bytes: Uint8Array): bigint {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  let sum = 0n;
  for (const value of words) sum += value;
  return sum & MASK;
}

/** Sum of the initial contents of a range of the memfile. */
export const initialSum = (offset: number, length: number): bigint =>
  sumWords(patternBytes(PRIVATE_GPA + offset, length, INITIAL));

/** The initial contents of one word. */
export const initialWord = (offset: number): bigint => BigInt(PRIVATE_GPA + offset) ^ SEED;

/** What the guest computes from the first word. */
export const productOf = (value: bigint): bigint => (value * MULTIPLIER + 1n) & MASK;

/** Where the guest keeps its own value: the second page. */
export const OWN = PAGE;
/** A page that the host may spoil. */
export const SPOILT = 2 * PAGE;
/** A page that the guest does not need again: a read by the kernel may cost it the page (pKVM). */
export const LOOKED_AT = 3 * PAGE;

/** Sum of a range that the host filled. */
export const refillSum = (length: number): bigint => (word(REFILL) * BigInt(length / 8)) & MASK;

/** The same when the guest has put that sum into its first word, and I/O another byte into the first word of the second page. */
export const answeredSum = (length: number): bigint =>
  (refillSum(length) - word(REFILL) + refillSum(length) - word(REFILL) + word(IO_BYTE)) & MASK;

/** The last page, which the host writes to after the completion if nobody stops it. */
export const lastPage = ({ size }: Stage): number => size - PAGE;
