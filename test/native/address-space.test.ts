/** mmap and its family: the kernel's answers for memory of ours, a RangeError for memory of others. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import guest from './children/guest.cjs';
import { childScript, foreignMemory, kernel, must, withKvm } from './host.ts';

const { E, MAP, PAGE, PROT } = guest;
const ANONYMOUS = MAP.PRIVATE | MAP.ANONYMOUS;
const MADV = { DONTNEED: 4, BOGUS: 12345 };
const BEYOND = 2n ** 63n;

let area = 0;
const AREA = 8 * PAGE;
const foreign = foreignMemory();

beforeEach(() => {
  area = must(kernel.mmap(0, AREA, PROT.RW, ANONYMOUS, -1, 0));
});
afterEach(() => {
  kernel.munmap(area, AREA);
});

describe('mmap', () => {
  it('maps files and anonymous memory', () => {
    const fd = must(kernel.memfdCreate('map', 0));
    must(kernel.ftruncate(fd, 2 * PAGE));
    must(kernel.pwrite(fd, Uint8Array.of(7), PAGE));
    const at = must(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, fd, PAGE));
    expect(at % PAGE).toBe(0);
    const byte = new Uint8Array(1);
    expect(kernel.copyOut(at, byte)).toBe(1);
    expect(byte[0]).toBe(7);
    must(kernel.munmap(at, PAGE));
    kernel.close(fd);
  });

  it('passes on what the kernel says', () => {
    const fd = must(kernel.memfdCreate('map', 0));
    expect(kernel.mmap(0, 0, PROT.RW, ANONYMOUS, -1, 0)).toBe(-E.EINVAL);
    expect(kernel.mmap(0, PAGE, PROT.RW, 0, -1, 0)).toBe(-E.EBADF);
    expect(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, -1, 0)).toBe(-E.EBADF);
    expect(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, fd, 1)).toBe(-E.EINVAL);
    expect(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, fd, -PAGE)).toBeLessThan(0);
    expect(kernel.mmap(0, 2n ** 60n, PROT.RW, ANONYMOUS, -1, 0)).toBe(-E.ENOMEM);
    expect(kernel.mmap(0, 2n ** 64n - 1n, PROT.RW, ANONYMOUS, -1, 0)).toBe(-E.ENOMEM);
    expect(kernel.mmap(area + 1, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(-E.EINVAL);
    expect(kernel.mmap(BEYOND, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(-E.ENOMEM);
    expect(kernel.mmap(2n ** 64n - BigInt(PAGE), PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(-E.ENOMEM);
    expect(kernel.mmap(area, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED_NOREPLACE, -1, 0)).toBe(-E.EEXIST);
    kernel.close(fd);
  });

  it('MAP_FIXED replaces memory of ours', () => {
    kernel.fill(area, AREA, 1);
    expect(kernel.mmap(area + PAGE, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(area + PAGE);
    expect(kernel.compare(area + PAGE, new Uint8Array(PAGE))).toBe(PAGE);
    expect(kernel.compare(area, new Uint8Array(PAGE).fill(1))).toBe(PAGE);
  });

  it('MAP_FIXED is refused on memory of others, even in part', () => {
    for (const length of [1, PAGE, 3 * PAGE]) {
      expect(() => kernel.mmap(foreign, length, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toThrow(RangeError);
    }
    expect(() => kernel.mmap(area, 2n ** 46n, PROT.NONE, ANONYMOUS | MAP.FIXED, -1, 0)).toThrow(RangeError);
    expect(() => kernel.mmap(PAGE, 2n ** 47n - BigInt(2 * PAGE), PROT.NONE, ANONYMOUS | MAP.FIXED, -1, 0)).toThrow(
      RangeError,
    );
  });

  it('MAP_FIXED is allowed where nobody is', () => {
    must(kernel.munmap(area, AREA));
    expect(kernel.mmap(area, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(area);
  });

  it('MAP_FIXED takes what is ours and what nobody has in one piece, and gives back what it cannot have', () => {
    must(kernel.munmap(area + PAGE, 2 * PAGE));
    must(kernel.munmap(area + 5 * PAGE, PAGE));
    kernel.fill(area, PAGE, 7);
    expect(kernel.mmap(area, AREA, PROT.RW, MAP.SHARED | MAP.FIXED, -1, 0)).toBe(-E.EBADF);
    const free = [0, 1, 2, 3, 4, 5].map((page) => kernel.copyOut(area + page * PAGE, new Uint8Array(1)) === 0);
    expect(free).toEqual([false, true, true, false, false, true]);
    // What was taken for the time of the call is free again.
    expect(kernel.mmap(area + PAGE, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED_NOREPLACE, -1, 0)).toBe(area + PAGE);
    expect(kernel.mmap(area, AREA, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(area);
    expect(kernel.compare(area, new Uint8Array(AREA))).toBe(AREA);
  });

  it('MAP_FIXED never replaces what another thread maps at the same moment', async () => {
    const result = await runChild(childScript('taken.cjs'));
    expect(result).toMatchObject({ status: 0, signal: null, stderr: '' });
    expect(JSON.parse(result.stdout)).toEqual({ taken: true, refused: true, replaced: 0 });
  });

  it('a hint taken by others is only a hint', () => {
    const at = must(kernel.mmap(foreign, PAGE, PROT.RW, ANONYMOUS, -1, 0));
    expect(BigInt(at)).not.toBe(foreign);
    must(kernel.munmap(at, PAGE));
  });
});

describe('munmap', () => {
  it('takes away the whole, a part, a part again', () => {
    expect(kernel.munmap(area + PAGE, PAGE)).toBe(0);
    expect(kernel.munmap(area + PAGE, PAGE)).toBe(0);
    expect(kernel.munmap(area + 3 * PAGE, PAGE + 1)).toBe(0);
    const fault = new BigInt64Array(3);
    const bytes = new Uint8Array(PAGE);
    const reached = [0, 1, 2, 3, 4, 5].map((page) => kernel.copyOut(area + page * PAGE, bytes, fault) === PAGE);
    expect(reached).toEqual([true, false, true, false, false, true]);
    expect(kernel.munmap(area, AREA)).toBe(0);
  });

  it('passes on what the kernel says', () => {
    expect(kernel.munmap(area + 1, PAGE)).toBe(-E.EINVAL);
    expect(kernel.munmap(foreign + 1n, PAGE)).toBe(-E.EINVAL);
    expect(kernel.munmap(area, 0)).toBe(-E.EINVAL);
    expect(kernel.munmap(foreign, 0)).toBe(-E.EINVAL);
    expect(kernel.munmap(BEYOND, PAGE)).toBe(-E.EINVAL);
    expect(kernel.munmap(area, 2n ** 64n - 1n)).toBe(-E.EINVAL);
  });

  it('refuses memory of others, even in part', () => {
    expect(() => kernel.munmap(foreign, PAGE)).toThrow(RangeError);
    expect(() => kernel.munmap(area, 2n ** 46n)).toThrow(RangeError);
    expect(kernel.fill(area, AREA, 1)).toBe(AREA);
  });
});

describe('mprotect', () => {
  it('changes what the copies can reach', () => {
    const fault = new BigInt64Array(3);
    expect(kernel.mprotect(area, PAGE, PROT.READ)).toBe(0);
    expect(kernel.copyIn(area, Uint8Array.of(1), fault)).toBe(0);
    expect(kernel.copyOut(area, new Uint8Array(1))).toBe(1);
    expect(kernel.mprotect(area, PAGE, PROT.RW)).toBe(0);
    expect(kernel.copyIn(area, Uint8Array.of(1))).toBe(1);
  });

  it('passes on what the kernel says', () => {
    expect(kernel.mprotect(area + 1, PAGE, PROT.RW)).toBe(-E.EINVAL);
    expect(kernel.mprotect(area, PAGE, 0x7000_0000)).toBe(-E.EINVAL);
    expect(kernel.mprotect(area, 0, PROT.RW)).toBe(0);
    must(kernel.munmap(area, PAGE));
    expect(kernel.mprotect(area, PAGE, PROT.RW)).toBe(-E.ENOMEM);
    expect(kernel.mprotect(BEYOND, PAGE, PROT.RW)).toBe(-E.ENOMEM);
  });

  it('refuses memory of others', () => {
    expect(() => kernel.mprotect(foreign, PAGE, PROT.NONE)).toThrow(RangeError);
    expect(() => kernel.mprotect(area, 2n ** 46n, PROT.NONE)).toThrow(RangeError);
  });
});

describe('madvise', () => {
  it('throws pages away', () => {
    kernel.fill(area, AREA, 9);
    expect(kernel.madvise(area, PAGE, MADV.DONTNEED)).toBe(0);
    expect(kernel.compare(area, new Uint8Array(PAGE))).toBe(PAGE);
    expect(kernel.compare(area + PAGE, new Uint8Array(PAGE).fill(9))).toBe(PAGE);
  });

  it('passes on what the kernel says', () => {
    expect(kernel.madvise(area + 1, PAGE, MADV.DONTNEED)).toBe(-E.EINVAL);
    expect(kernel.madvise(area, PAGE, MADV.BOGUS)).toBe(-E.EINVAL);
    must(kernel.munmap(area, PAGE));
    expect(kernel.madvise(area, PAGE, MADV.DONTNEED)).toBe(-E.ENOMEM);
  });

  it('refuses memory of others', () => {
    expect(() => kernel.madvise(foreign, PAGE, MADV.DONTNEED)).toThrow(RangeError);
  });
});

describe('mincore', () => {
  it('tells which pages are there', () => {
    kernel.fill(area + PAGE, PAGE, 1);
    const vec = new Uint8Array(3).fill(0xff);
    expect(kernel.mincore(area, 2 * PAGE + 1, vec)).toBe(0);
    expect([...vec].map((byte) => byte & 1)).toEqual([0, 1, 0]);
  });

  it('wants room for each page', () => {
    expect(() => kernel.mincore(area, PAGE + 1, new Uint8Array(1))).toThrow(RangeError);
    expect(() => kernel.mincore(area, 2n ** 64n - 1n, new Uint8Array(1))).toThrow(RangeError);
  });

  it('passes on what the kernel says', () => {
    expect(kernel.mincore(area + 1, PAGE, new Uint8Array(1))).toBe(-E.EINVAL);
    must(kernel.munmap(area, PAGE));
    expect(kernel.mincore(area, PAGE, new Uint8Array(1))).toBe(-E.ENOMEM);
  });
});

withKvm('the run page of an attached vCPU', () => {
  it('cannot be taken away before the vCPU is detached', () => {
    const open = guest.openGuest(kernel, guest.CODE.out);
    const { runPage, runSize } = open;
    expect(() => kernel.munmap(runPage, runSize)).toThrow(/vCPU/);
    expect(() => kernel.mprotect(runPage, PAGE, PROT.NONE)).toThrow(RangeError);
    expect(() => kernel.madvise(runPage, PAGE, MADV.DONTNEED)).toThrow(RangeError);
    expect(() => kernel.mmap(runPage, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toThrow(RangeError);
    expect(kernel.vcpuRun(open.handle, 1000)).toBe(0);
    guest.closeGuest(kernel, open);
  });
});
