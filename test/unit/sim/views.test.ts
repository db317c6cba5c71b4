/** Views of simulated memory: true aliases of what every other way to the memory sees. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Kernel } from '../../../lib/kernel/kernel.ts';
import { profileOf } from '../../../lib/sim/profile.ts';
import { simKernel } from '../../../lib/sim/sim-kernel.ts';

const PAGE = 4096;
const RW = 3;
const SHARED = 1;
const ANONYMOUS = 0x22;
const MAP_FIXED = 0x10;
const EOPNOTSUPP = 95;

let kernel: Kernel;
let fd = -1;

beforeEach(() => {
  kernel = simKernel({ profile: profileOf('7.3') });
  fd = kernel.memfdCreate('view', 0);
  kernel.ftruncate(fd, 4 * PAGE);
});

function viewOf(address: number, length: number): Uint8Array {
  const view = kernel.view(address, length);
  if (typeof view === 'number') throw new Error(`errno ${-view}`);
  return new Uint8Array(view);
}

describe('a view', () => {
  it('is what reads, writes, mappings and copies see', () => {
    const one = kernel.mmap(0, 4 * PAGE, RW, SHARED, fd, 0);
    const other = kernel.mmap(0, 2 * PAGE, RW, SHARED, fd, PAGE);
    kernel.fill(other, 1, 9);
    const view = viewOf(one, 4 * PAGE);
    expect(view[PAGE]).toBe(9);
    view[PAGE + 1] = 8;
    expect(kernel.compare(other, Uint8Array.of(9, 8, 0))).toBe(3);
    kernel.pwrite(fd, Uint8Array.of(7), 2 * PAGE);
    expect(view[2 * PAGE]).toBe(7);
    kernel.fallocate(fd, 3, 0, 2 * PAGE);
    expect(view[PAGE + 1]).toBe(0);
    view[5] = 3;
    expect(kernel.compare(one + 5, Uint8Array.of(3))).toBe(1);
  });

  it('of anonymous memory keeps what was there, and the mapping keeps what the view wrote', () => {
    const at = kernel.mmap(0, 2 * PAGE, RW, ANONYMOUS, -1, 0);
    kernel.fill(at + PAGE - 1, 2, 1);
    const view = viewOf(at, 2 * PAGE);
    expect([view[PAGE - 1], view[PAGE]]).toEqual([1, 1]);
    view[0] = 2;
    // A part of the range goes: the view is detached, the rest of the memory stays.
    expect(kernel.munmap(at + PAGE, PAGE)).toBe(0);
    expect(view.length).toBe(0);
    expect(kernel.compare(at, Uint8Array.of(2))).toBe(1);
  });

  it('of the same range is the same buffer, also through another mapping of the same pages', () => {
    const one = kernel.mmap(0, 2 * PAGE, RW, SHARED, fd, 0);
    const other = kernel.mmap(0, 2 * PAGE, RW, SHARED, fd, 0);
    const buffer = kernel.view(one, 2 * PAGE);
    expect(kernel.view(one, 2 * PAGE)).toBe(buffer);
    expect(kernel.view(other, 2 * PAGE)).toBe(buffer);
    kernel.munmap(one, 2 * PAGE);
    expect((buffer as ArrayBuffer).byteLength).toBe(2 * PAGE);
    kernel.munmap(other, 2 * PAGE);
    expect((buffer as ArrayBuffer).byteLength).toBe(0);
  });

  it('begins at a page, and cannot share some pages with another', () => {
    const at = kernel.mmap(0, 4 * PAGE, RW, SHARED, fd, 0);
    expect(kernel.view(at + 1, 4)).toBe(-EOPNOTSUPP);
    viewOf(at, 2 * PAGE);
    expect(kernel.view(at + PAGE, 2 * PAGE)).toBe(-EOPNOTSUPP);
    expect(viewOf(at + 2 * PAGE, 100)).toHaveLength(PAGE);
  });

  it('is of mapped memory only, and is not replaced by MAP_FIXED', () => {
    const at = kernel.mmap(0, PAGE, RW, ANONYMOUS, -1, 0);
    expect(() => kernel.view(at, 2 * PAGE)).toThrow(RangeError);
    expect(() => kernel.view(at, 0)).toThrow(RangeError);
    viewOf(at, PAGE);
    expect(() => kernel.mmap(at, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0)).toThrow(/view/);
  });

  it('that was moved away leaves memory that works, and can be made again', () => {
    const at = kernel.mmap(0, PAGE, RW, ANONYMOUS, -1, 0);
    const view = viewOf(at, PAGE);
    structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
    expect(kernel.fill(at, PAGE, 4)).toBe(PAGE);
    expect(viewOf(at, PAGE)[9]).toBe(4);
    expect(kernel.munmap(at, PAGE)).toBe(0);
  });
});
