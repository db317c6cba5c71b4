/** The interval map against an array of single values, and its cost. */
import { describe, expect, it } from 'vitest';
import { IntervalMap } from '../../../lib/sim/interval-map.ts';
import { Random } from '../../differential/random.ts';

const SPAN = 3000;

function valuesOf(map: IntervalMap<number>): (number | undefined)[] {
  const values: (number | undefined)[] = new Array(SPAN).fill(undefined);
  map.forEach(0, SPAN, (from, to, value) => values.fill(value, from, to));
  return values;
}

describe('IntervalMap', () => {
  it('is what an array of every value would be', () => {
    const random = new Random(7);
    const map = new IntervalMap<number>();
    const plain: (number | undefined)[] = new Array(SPAN).fill(undefined);
    for (let turn = 0; turn < 6000; turn++) {
      // Short ranges make many leaves, long ones clear many at once.
      const from = random.below(SPAN);
      const to = Math.min(SPAN, from + random.below(random.once(50) ? SPAN : 4));
      const value = random.pick([undefined, 1, 2, 3]);
      map.set(from, to, value);
      plain.fill(value, from, to);
      const at = random.below(SPAN);
      expect(map.get(at)).toBe(plain[at]);
      const range = map.rangeAt(at);
      expect(range.value).toBe(plain[at]);
      expect(plain.slice(range.from, range.to).every((one) => one === plain[at])).toBe(true);
      if (turn % 50 === 0) expect(valuesOf(map)).toEqual(plain);
    }
    const changes = plain.filter((value, i) => i > 0 && value !== plain[i - 1]).length;
    expect(map.size).toBeLessThanOrEqual(changes + 2);
  });

  it('reaches to infinity', () => {
    const map = new IntervalMap<string>();
    map.set(10, Number.POSITIVE_INFINITY, 'a');
    expect(map.get(2 ** 52)).toBe('a');
    expect(map.rangeAt(11)).toEqual({ from: 10, to: Number.POSITIVE_INFINITY, value: 'a' });
    map.clear(20, Number.POSITIVE_INFINITY);
    expect(map.within(0, Number.POSITIVE_INFINITY)).toEqual([{ from: 10, to: 20, value: 'a' }]);
    map.set(5, 5, 'b');
    expect(map.get(5)).toBeUndefined();
  });

  it('grows equal neighbours together', () => {
    const map = new IntervalMap<number>();
    for (let i = 0; i < 10_000; i++) map.set(i, i + 1, 1);
    expect(map.size).toBe(2);
    for (let i = 0; i < 10_000; i += 2) map.clear(i, i + 1);
    expect(map.size).toBe(10_001);
    map.set(0, 10_000, 1);
    expect(map.size).toBe(2);
  });

  it('takes a million random ranges over 2^28 pages', { timeout: 60_000 }, () => {
    const random = new Random(11);
    const map = new IntervalMap<true>();
    let most = 0;
    for (let turn = 0; turn < 1_000_000; turn++) {
      const from = random.below(2 ** 28);
      map.set(from, from + 1 + random.below(512), turn % 2 === 0 ? true : undefined);
      most = Math.max(most, map.size);
    }
    expect(most).toBeLessThan(1_500_000);
  });
});
