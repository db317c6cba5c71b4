/** Buffers as C: what follows a rule (zeros, patterns, page tables) as the rule, the rest as bytes. */
import { viewOf } from '../../uapi/layout.ts';
import { hex } from './c-text.ts';

/** Words of 64 bits that go up by `step`. */
interface Progression {
  readonly offset: number;
  readonly first: bigint;
  readonly step: bigint;
  readonly count: number;
}

interface Literal {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Fewer words than this are not worth a rule. */
const LEAST_WORDS = 6;
/** Shorter buffers are written out. */
const SHORT = 64;
const WORD = 8;
const U64 = (1n << 64n) - 1n;

function progressionAt(words: BigUint64Array, from: number): Omit<Progression, 'offset'> {
  const first = words[from] ?? 0n;
  const step = ((words[from + 1] ?? 0n) - first) & U64;
  let count = 1;
  for (let value = first; from + count < words.length; count++) {
    value = (value + step) & U64;
    if (words[from + count] !== value) break;
  }
  return { first, step, count };
}

function split(bytes: Uint8Array): { rules: Progression[]; literals: Literal[] } {
  const whole = Math.floor(bytes.length / WORD);
  const view = viewOf(bytes);
  const words = BigUint64Array.from({ length: whole }, (_, i) => view.getBigUint64(i * WORD, true));
  const rules: Progression[] = [];
  const literals: Literal[] = [];
  let literalFrom = 0;
  const endLiteral = (to: number): void => {
    if (to > literalFrom) literals.push({ offset: literalFrom, bytes: bytes.subarray(literalFrom, to) });
  };
  for (let at = 0; at < whole; ) {
    const found = progressionAt(words, at);
    if (found.count < LEAST_WORDS) {
      at++;
      continue;
    }
    endLiteral(at * WORD);
    rules.push({ offset: at * WORD, ...found });
    at += found.count;
    literalFrom = at * WORD;
  }
  endLiteral(bytes.length);
  return { rules, literals };
}

const list = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => `0x${byte.toString(16).padStart(2, '0')}`).join(', ');

const PER_LINE = 16;

/** Lines between the braces of an array. */
export function byteLines(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += PER_LINE) lines.push(`\t${list(bytes.subarray(at, at + PER_LINE))},`);
  return lines;
}

/** Declarations come before statements that fill. */
export interface CBuffer {
  readonly declare: readonly string[];
  readonly fill: readonly string[];
}

/** A buffer called `name`; `code` are lines for its bytes that say more than {@link byteLines}. */
export function buffer(name: string, bytes: Uint8Array, code?: readonly string[]): CBuffer {
  const size = Math.max(bytes.length, 1);
  if (code !== undefined) return { declare: [`static unsigned char ${name}[] = {`, ...code, '};'], fill: [] };
  if (bytes.length <= SHORT) {
    const contents = bytes.every((byte) => byte === 0) ? '0' : list(bytes);
    return { declare: [`static unsigned char ${name}[${size}] = { ${contents} };`], fill: [] };
  }
  const { rules, literals } = split(bytes);
  const declare = [`static unsigned char ${name}[${size}];`];
  const fill: string[] = [];
  for (const { offset, first, step, count } of rules) {
    if (first !== 0n || step !== 0n)
      fill.push(`words(${name} + ${hex(offset)}, ${hex(first)}, ${hex(step)}, ${count});`);
  }
  literals.forEach(({ offset, bytes: part }, i) => {
    if (part.every((byte) => byte === 0)) return;
    declare.push(`static const unsigned char ${name}_${i}[] = {`, ...byteLines(part), '};');
    fill.push(`memcpy(${name} + ${hex(offset)}, ${name}_${i}, sizeof ${name}_${i});`);
  });
  return { declare, fill };
}
