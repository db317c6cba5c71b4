/** Two recordings side by side: what counts as the same, and that the sequence is found again after a difference. */
import { describe, expect, it } from 'vitest';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import { align } from '../../lib/trace/align.ts';
import { type DiffEntry, diffTraces } from '../../lib/trace/diff.ts';
import { Random } from '../differential/random.ts';
import { record } from './record.ts';
import { playVariety } from './variety.ts';

const PAGE = 4096;

describe('align', () => {
  const letters = (a: string, b: string): string[] =>
    align(
      [...a],
      [...b],
      (x) => x,
      (x) => x.toLowerCase(),
    ).map(([i, j]) => `${i === undefined ? '-' : a[i]}${j === undefined ? '-' : b[j]}`);

  it.each([
    ['abc', 'abc', 'aa bb cc'],
    ['abc', 'ac', 'aa b- cc'],
    ['ac', 'abc', 'aa -b cc'],
    ['abcd', 'aBcd', 'aa bB cc dd'],
    ['', 'ab', '-a -b'],
    ['ab', '', 'a- b-'],
    ['xabcabc', 'abcabcy', 'x- aa bb cc aa bb cc -y'],
    ['aXb', 'ayb', 'aa X- -y bb'],
  ])('%s and %s', (a, b, pairs) => {
    expect(letters(a, b).join(' ')).toBe(pairs);
  });

  it('keeps both sequences whole, and finds what was taken out of a copy', () => {
    const random = new Random(5);
    for (let round = 0; round < 200; round++) {
      const a = Array.from({ length: random.below(40) }, () => 'abcd'[random.below(4)] ?? '');
      const b = a.filter(() => !random.once(5));
      const pairs = align(
        a,
        b,
        (x) => x,
        (x) => x,
      );
      expect(pairs.flatMap(([i]) => (i === undefined ? [] : [i]))).toEqual(a.map((_, i) => i));
      expect(pairs.flatMap(([, j]) => (j === undefined ? [] : [j]))).toEqual(b.map((_, j) => j));
      expect(pairs.filter(([i]) => i === undefined)).toEqual([]);
      const c = Array.from({ length: random.below(40) }, () => 'abcd'[random.below(4)] ?? '');
      const other = align(
        a,
        c,
        (x) => x,
        (x) => x,
      );
      expect(other.flatMap(([i]) => (i === undefined ? [] : [i]))).toEqual(a.map((_, i) => i));
      expect(other.flatMap(([, j]) => (j === undefined ? [] : [j]))).toEqual(c.map((_, j) => j));
      expect(other.filter(([i, j]) => i !== undefined && j !== undefined && a[i] !== c[j])).toEqual([]);
    }
  });

  it('takes sequences that have nothing in common, and long ones', () => {
    const a = Array.from({ length: 5000 }, (_, i) => `a${i}`);
    const b = Array.from({ length: 5000 }, (_, i) => `b${i}`);
    expect(
      align(
        a,
        b,
        (x) => x,
        (x) => x,
      ),
    ).toHaveLength(10_000);
    const long = Array.from({ length: 200_000 }, (_, i) => `x${i % 7}`);
    expect(
      align(
        long,
        long.slice(1),
        (x) => x,
        (x) => x,
      ),
    ).toHaveLength(200_000);
  });
});

const fresh = (): Kernel => simulate({ release: '6.18', technologies: [] });
const brief = (entries: readonly DiffEntry[]): string[] =>
  entries.map((entry) => {
    const name = (text: string): string => /^\[?\w+/.exec(text)?.[0] ?? '';
    if (entry.kind === 'only-a') return `- ${name(entry.a.text)}`;
    if (entry.kind === 'only-b') return `+ ${name(entry.b.text)}`;
    return `${name(entry.a.text)}: ${entry.differences.map(({ what, expected, got }) => `${what} ${expected} ${got}`).join('; ')}`;
  });

describe('diffTraces', () => {
  it('takes two runs of one program for the same, whatever their descriptors and addresses', async () => {
    const kernel = fresh();
    for (let i = 0; i < 9; i++) kernel.eventfd(0, 0);
    kernel.mmap(0, 100 * PAGE, 3, 0x22, -1, 0);
    const [a, b] = [await record(fresh(), playVariety), await record(kernel, playVariety)];
    expect(a.calls[0]?.result).not.toBe(b.calls[0]?.result);
    expect(diffTraces(a, b)).toMatchObject({ entries: [], same: a.calls.length });
  });

  const program = (change: { size?: number; byte?: number; more?: boolean; other?: boolean }) =>
    record(fresh(), (kernel) => {
      const sys = new Sys(kernel);
      const [one, two] = [Memfd.create(sys, { size: PAGE }), Memfd.create(sys, { size: change.size ?? PAGE })];
      if (change.more) sys.close(sys.eventfd(0, 0));
      const mapping = (change.other ? one : two).map({ length: PAGE });
      mapping.fill(change.byte ?? 1);
      mapping.read(0, 16);
      mapping.close();
      two.close();
      one.close();
    });

  it.each<[string, Parameters<typeof program>[0], string[]]>([
    ['another argument, and what follows from it', { size: 2 * PAGE }, ['ftruncate: length 4096 8192']],
    [
      'another byte, and what is read then',
      { byte: 2 },
      [
        '[fill: byte 1 2',
        '[copyOut: bytes from byte 0x0 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 02 02 02 02 02 02 02 02 02 02 02 02 02 02 02 02',
      ],
    ],
    ['calls that only one has', { more: true }, ['+ eventfd2', '+ close']],
    ['another descriptor', { other: true }, ['mmap: fd 4 3']],
  ])('finds %s', async (_, change, expected) => {
    const [a, b] = [await program({}), await program(change)];
    expect(brief(diffTraces(a, b).entries)).toEqual(expected);
  });
});
