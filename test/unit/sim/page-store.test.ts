/** Pages: one Uint8Array for everybody, bytes only where something was written. */
import { expect, it } from 'vitest';
import { PAGE_SIZE, ZERO_PAGE } from '../../../lib/sim/page.ts';
import { type Change, PageStore } from '../../../lib/sim/page-store.ts';

it('allocates ranges without bytes', () => {
  const pages = new PageStore();
  pages.allocate(0, 2 ** 40);
  expect(pages.allocated).toBe(2 ** 40);
  pages.punch(10, 2 ** 39);
  expect(pages.allocated).toBe(2 ** 39 + 10);
  expect(pages.count(0, 20)).toBe(10);
  expect(pages.touch(3)).toBe(ZERO_PAGE);
});

it('gives the same page to everybody, and never lets the zero page be written', () => {
  const pages = new PageStore();
  expect(pages.touch(1)).toBe(ZERO_PAGE);
  const written = pages.write(1);
  expect(written).not.toBe(ZERO_PAGE);
  written[0] = 7;
  expect(pages.touch(1)).toBe(written);
  expect(pages.peek(1)).toBe(written);
  pages.zero(2, 0, PAGE_SIZE);
  expect(ZERO_PAGE.every((byte) => byte === 0)).toBe(true);
});

it('says when what it handed out no longer holds', () => {
  const pages = new PageStore();
  const seen: [number, number, Change][] = [];
  const stop = pages.onInvalidate((from, to, change) => seen.push([from, to, change]));
  pages.touch(5);
  expect(seen).toEqual([]);
  pages.write(5);
  pages.write(5);
  pages.punch(4, 8);
  pages.punch(9, Number.POSITIVE_INFINITY, 'truncate');
  expect(seen).toEqual([
    [5, 6, 'fill'],
    [4, 8, 'punch'],
    [9, Number.POSITIVE_INFINITY, 'truncate'],
  ]);
  const { generation } = pages;
  stop();
  pages.write(5);
  expect(seen).toHaveLength(3);
  expect(pages.generation).toBeGreaterThan(generation);
});

it('tells pages that were filled from those that were only allocated', () => {
  const pages = new PageStore();
  pages.allocate(0, 10);
  pages.write(4);
  expect(pages.nextFilled(0)).toBe(4);
  expect(pages.nextHole(4)).toBe(5);
  pages.allocate(2, 3, true);
  expect(pages.nextFilled(0)).toBe(2);
});

it('ties pages to a buffer and back', () => {
  const pages = new PageStore();
  pages.write(0)[1] = 5;
  const buffer = new ArrayBuffer(PAGE_SIZE);
  const place = new Uint8Array(buffer);
  pages.tie(0, place);
  expect(place[1]).toBe(5);
  expect(pages.write(0)).toBe(place);
  pages.punch(0, 1);
  expect(place[1]).toBe(0);
  // Still tied: who writes next finds it where the view looks.
  expect(pages.write(0)).toBe(place);
  place[2] = 6;
  pages.untie(0);
  expect(pages.write(0)).not.toBe(place);
  expect(pages.peek(0)[2]).toBe(6);
});

it('survives a view whose buffer was moved away', () => {
  const pages = new PageStore();
  const buffer = new ArrayBuffer(PAGE_SIZE);
  pages.tie(0, new Uint8Array(buffer));
  structuredClone(buffer, { transfer: [buffer] });
  expect(pages.write(0)).toHaveLength(PAGE_SIZE);
  pages.untie(0);
  expect(pages.peek(0)).toHaveLength(PAGE_SIZE);
});
