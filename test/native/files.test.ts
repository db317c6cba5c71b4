/** Calls on open files: results, errnos, and 64-bit offsets in both directions. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CACHESTAT, CACHESTAT_LENGTH, STAT, STAT_LENGTH } from '../../lib/kernel/kernel.ts';
import guest from './children/guest.cjs';
import { kernel, must } from './host.ts';

const { E, PAGE } = guest;
const TMPFS_MAGIC = 0x0102_1994n;
const SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 };
const HIGH = 2n ** 62n;

let fd = -1;
const position = new BigInt64Array(1);

beforeAll(() => {
  fd = must(kernel.memfdCreate('files', 0));
});
afterAll(() => {
  kernel.close(fd);
});
beforeEach(() => {
  must(kernel.ftruncate(fd, 0));
  must(kernel.lseek(fd, 0, SEEK.SET, position));
});

function sizeOf(file: number): bigint {
  const out = new BigInt64Array(STAT_LENGTH);
  must(kernel.fstat(file, out));
  return out[STAT.size] ?? -1n;
}

describe('ftruncate and fallocate', () => {
  it('change the size, given as number or bigint', () => {
    expect(kernel.ftruncate(fd, 5 * PAGE)).toBe(0);
    expect(sizeOf(fd)).toBe(BigInt(5 * PAGE));
    expect(kernel.ftruncate(fd, BigInt(PAGE))).toBe(0);
    expect(sizeOf(fd)).toBe(BigInt(PAGE));
    expect(kernel.fallocate(fd, 0, 0, 4 * PAGE)).toBe(0);
    expect(sizeOf(fd)).toBe(BigInt(4 * PAGE));
  });

  it('punch a hole', () => {
    const KEEP_SIZE = 1;
    const PUNCH_HOLE = 2;
    const out = new BigInt64Array(STAT_LENGTH);
    must(kernel.fallocate(fd, 0, 0, 4 * PAGE));
    expect(kernel.fallocate(fd, KEEP_SIZE | PUNCH_HOLE, PAGE, 2 * PAGE)).toBe(0);
    must(kernel.fstat(fd, out));
    expect(out[STAT.blocks]).toBe(BigInt((2 * PAGE) / 512));
    expect(out[STAT.size]).toBe(BigInt(4 * PAGE));
  });

  it('pass on what the kernel says', () => {
    expect(kernel.ftruncate(fd, -1)).toBe(-E.EINVAL);
    expect(kernel.ftruncate(fd, -HIGH)).toBe(-E.EINVAL);
    expect(kernel.ftruncate(-1, 0)).toBe(-E.EBADF);
    expect(kernel.fallocate(fd, 0, 0, 0)).toBe(-E.EINVAL);
    expect(kernel.fallocate(fd, 0, -1, 1)).toBe(-E.EINVAL);
    expect(kernel.fallocate(fd, 2, 0, PAGE)).toBe(-E.EOPNOTSUPP);
    expect(kernel.fallocate(-1, 0, 0, 1)).toBe(-E.EBADF);
  });
});

describe('fstat', () => {
  it('tells file and file system', () => {
    const out = new BigInt64Array(STAT_LENGTH + 2).fill(-7n);
    must(kernel.ftruncate(fd, 3));
    expect(kernel.fstat(fd, out)).toBe(0);
    expect(out[STAT.size]).toBe(3n);
    expect(out[STAT.fsType]).toBe(TMPFS_MAGIC);
    expect((out[STAT.mode] ?? 0n) & 0o170000n).toBe(0o100000n);
    expect(out[STAT_LENGTH]).toBe(-7n);
  });
  it('leaves the array alone when it fails', () => {
    const out = new BigInt64Array(STAT_LENGTH).fill(9n);
    expect(kernel.fstat(-1, out)).toBe(-E.EBADF);
    expect([...out]).toEqual(new Array(STAT_LENGTH).fill(9n));
  });
});

describe('lseek', () => {
  it('gives the offset in the array, also beyond 2^53', () => {
    expect(kernel.lseek(fd, 5, SEEK.SET, position)).toBe(0);
    expect(kernel.lseek(fd, 6, SEEK.CUR, position)).toBe(0);
    expect(position[0]).toBe(11n);
    expect(kernel.lseek(fd, HIGH, SEEK.SET, position)).toBe(0);
    expect(position[0]).toBe(HIGH);
    expect(kernel.lseek(fd, -1, SEEK.CUR, position)).toBe(0);
    expect(position[0]).toBe(HIGH - 1n);
  });

  it('finds data and holes', () => {
    must(kernel.ftruncate(fd, 4 * PAGE));
    must(kernel.pwrite(fd, new Uint8Array(1), 2 * PAGE));
    expect(kernel.lseek(fd, 0, SEEK.DATA, position)).toBe(0);
    expect(position[0]).toBe(BigInt(2 * PAGE));
    expect(kernel.lseek(fd, 2 * PAGE, SEEK.HOLE, position)).toBe(0);
    expect(position[0]).toBe(BigInt(3 * PAGE));
    expect(kernel.lseek(fd, 3 * PAGE, SEEK.DATA, position)).toBe(-E.ENXIO);
  });

  it('passes on what the kernel says', () => {
    expect(kernel.lseek(fd, -1, SEEK.SET, position)).toBe(-E.EINVAL);
    expect(kernel.lseek(fd, 0, 77, position)).toBe(-E.EINVAL);
    expect(kernel.lseek(-1, 0, SEEK.SET, position)).toBe(-E.EBADF);
    const event = must(kernel.eventfd(0, 0));
    expect([0, -E.ESPIPE]).toContain(kernel.lseek(event, 0, SEEK.SET, position));
    kernel.close(event);
  });
});

describe('read, write, pread, pwrite', () => {
  const text = Uint8Array.from([1, 2, 3, 4, 5]);

  it('move bytes and the position', () => {
    const into = new Uint8Array(10);
    expect(kernel.write(fd, text)).toBe(5);
    expect(kernel.read(fd, into)).toBe(0);
    must(kernel.lseek(fd, 1, SEEK.SET, position));
    expect(kernel.read(fd, into)).toBe(4);
    expect([...into.subarray(0, 5)]).toEqual([2, 3, 4, 5, 0]);
  });

  it('use the offset given and leave the position', () => {
    const into = new Uint8Array(3);
    expect(kernel.pwrite(fd, text, 100)).toBe(5);
    expect(kernel.pread(fd, into, 101n)).toBe(3);
    expect([...into]).toEqual([2, 3, 4]);
    must(kernel.lseek(fd, 0, SEEK.CUR, position));
    expect(position[0]).toBe(0n);
  });

  it('respect the part of the buffer that a Uint8Array covers', () => {
    const whole = new Uint8Array(8);
    must(kernel.pwrite(fd, text, 0));
    expect(kernel.pread(fd, whole.subarray(2, 4), 0)).toBe(2);
    expect([...whole]).toEqual([0, 0, 1, 2, 0, 0, 0, 0]);
    expect(kernel.pread(fd, Buffer.alloc(2), 0)).toBe(2);
    expect(kernel.pread(fd, new Uint8Array(new SharedArrayBuffer(2)), 0)).toBe(2);
    expect(kernel.pread(fd, new Uint8Array(0), 0)).toBe(0);
  });

  it('pass on what the kernel says', () => {
    expect(kernel.read(-1, new Uint8Array(1))).toBe(-E.EBADF);
    expect(kernel.write(-1, text)).toBe(-E.EBADF);
    expect(kernel.pread(fd, new Uint8Array(1), -1)).toBe(-E.EINVAL);
    expect(kernel.pwrite(fd, text, -1n)).toBe(-E.EINVAL);
    expect(kernel.pwrite(fd, text, 2n ** 63n - 1n)).toBe(-E.EINVAL);
    const event = must(kernel.eventfd(1, 0));
    expect(kernel.write(event, new Uint8Array(4))).toBe(-E.EINVAL);
    expect(kernel.pread(event, new Uint8Array(8), 0)).toBeLessThan(0);
    kernel.close(event);
  });

  it('an eventfd counts', () => {
    const event = must(kernel.eventfd(3, 0));
    const eight = new Uint8Array(8);
    new DataView(eight.buffer).setBigUint64(0, 39n, true);
    expect(kernel.write(event, eight)).toBe(8);
    expect(kernel.read(event, eight)).toBe(8);
    expect(new DataView(eight.buffer).getBigUint64(0, true)).toBe(42n);
    kernel.close(event);
  });
});

describe('cachestat', () => {
  it('counts pages in the cache', (context) => {
    const out = new BigUint64Array(CACHESTAT_LENGTH);
    must(kernel.fallocate(fd, 0, 0, 3 * PAGE));
    const result = kernel.cachestat(fd, 0, 3 * PAGE, out);
    if (result === -E.ENOSYS) return context.skip('this kernel has no cachestat');
    expect(result).toBe(0);
    expect(out[CACHESTAT.cache]).toBe(3n);
    expect(kernel.cachestat(fd, 2n ** 64n - 1n, 2n ** 64n - 1n, out)).toBeLessThanOrEqual(0);
    expect(kernel.cachestat(-1, 0, 1, out)).toBe(-E.EBADF);
  });
});
