/** The fault-safe copies: exact to the byte, whatever stops them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FAULT, FAULT_LENGTH } from '../../lib/kernel/kernel.ts';
import guest from './children/guest.cjs';
import { foreignMemory, kernel, must, withGuestMemfd } from './host.ts';

const { MAP, PAGE, PROT } = guest;
const SIGBUS = 7;
const SIGSEGV = 11;
const BUS_ADRERR = 2n;
const PAGES = 4;
const AREA = PAGES * PAGE;

let area = 0;
const fault = new BigInt64Array(FAULT_LENGTH);

beforeEach(() => {
  fault.fill(-1n);
  area = must(kernel.mmap(0, AREA, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
});
afterEach(() => {
  must(kernel.munmap(area, AREA));
});

/** Bytes 1, 2, … 251, 1, …: no two neighbouring pages look alike. */
const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i % 251) + 1);

function expectFault(signal: number, page: number): void {
  expect(fault[FAULT.signal]).toBe(BigInt(signal));
  expect((fault[FAULT.address] ?? 0n) & ~0xfffn).toBe(BigInt(page));
}

/** All four copies, each as a function of address and length. */
const copies: Record<string, (at: number | bigint, length: number) => number> = {
  copyOut: (at, length) => kernel.copyOut(at, new Uint8Array(length), fault),
  copyIn: (at, length) => kernel.copyIn(at, new Uint8Array(length), fault),
  fill: (at, length) => kernel.fill(at, length, 0, fault),
  compare: (at, length) => kernel.compare(at, new Uint8Array(length), fault),
};

describe('copies that nothing stops', () => {
  it('move bytes at any alignment and clear the fault', () => {
    for (const [offset, length] of [
      [0, 1],
      [1, 7],
      [4095, 2],
      [13, 8191],
      [0, AREA],
      [3, AREA - 3],
    ] as const) {
      const bytes = pattern(length);
      expect(kernel.copyIn(area + offset, bytes, fault)).toBe(length);
      expect([...fault]).toEqual([0n, 0n, 0n]);
      const back = new Uint8Array(length);
      expect(kernel.copyOut(area + offset, back)).toBe(length);
      expect(Buffer.compare(back, bytes)).toBe(0);
      expect(kernel.compare(area + offset, bytes)).toBe(length);
    }
  });

  it('fill exactly the range', () => {
    expect(kernel.fill(area + 5, 10, 0xee)).toBe(10);
    const back = new Uint8Array(20);
    kernel.copyOut(area, back);
    expect([...back]).toEqual([...new Array(5).fill(0), ...new Array(10).fill(0xee), ...new Array(5).fill(0)]);
  });

  it('of nothing do nothing, wherever', () => {
    for (const [name, copy] of Object.entries(copies)) {
      for (const at of [0, area, foreignMemory(), 2n ** 64n - 1n]) expect(copy(at, 0), name).toBe(0);
    }
  });
});

describe('compare', () => {
  it('gives the index of the first byte that differs', () => {
    const bytes = pattern(AREA);
    kernel.copyIn(area, bytes);
    for (const index of [0, 1, 4095, 4096, 9999, AREA - 1]) {
      const other = bytes.slice();
      other[index] = 0;
      if (index + 1 < AREA) other[AREA - 1] = 0;
      expect(kernel.compare(area, other, fault)).toBe(index);
      expect(fault[FAULT.signal]).toBe(0n);
    }
  });

  it('is exact across its blocks', () => {
    const size = 64 * PAGE;
    const big = must(kernel.mmap(0, size, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
    for (const index of [65_535, 65_536, 131_071, 200_000]) {
      const other = new Uint8Array(size);
      other[index] = 1;
      expect(kernel.compare(big + 0, other)).toBe(index);
      expect(kernel.compare(big + 3, other.subarray(3))).toBe(index - 3);
    }
    must(kernel.munmap(big, size));
  });

  it('a difference before the fault settles it, one behind does not count', () => {
    must(kernel.mprotect(area + PAGE, PAGE, PROT.NONE));
    const other = new Uint8Array(2 * PAGE);
    other[PAGE - 1] = 1;
    expect(kernel.compare(area, other, fault)).toBe(PAGE - 1);
    expect(fault[FAULT.signal]).toBe(0n);
    other[PAGE - 1] = 0;
    other[PAGE] = 1;
    expect(kernel.compare(area, other, fault)).toBe(PAGE);
    expectFault(SIGSEGV, area + PAGE);
  });
});

describe('a page without access in the middle', () => {
  it.each(Object.entries(copies))('%s stops at its first byte', (_name, copy) => {
    must(kernel.mprotect(area + 2 * PAGE, PAGE, PROT.NONE));
    for (const offset of [0, 1, 100, PAGE - 1, PAGE, PAGE + 77, 2 * PAGE - 1]) {
      expect(copy(area + offset, AREA - offset)).toBe(2 * PAGE - offset);
      expectFault(SIGSEGV, area + 2 * PAGE);
    }
    expect(copy(area + 2 * PAGE, 1)).toBe(0);
    expect(copy(area + 3 * PAGE - 1, 2)).toBe(0);
    expect(copy(area + 3 * PAGE, PAGE)).toBe(PAGE);
    expect(fault[FAULT.signal]).toBe(0n);
  });

  it('the bytes before it really are copied', () => {
    kernel.fill(area, AREA, 0x11);
    must(kernel.mprotect(area + PAGE, PAGE, PROT.NONE));
    const into = new Uint8Array(AREA);
    expect(kernel.copyOut(area, into)).toBe(PAGE);
    expect(into.subarray(0, PAGE).every((byte) => byte === 0x11)).toBe(true);
    expect(kernel.copyIn(area + 5, pattern(AREA - 5))).toBe(PAGE - 5);
    expect(kernel.compare(area + 5, pattern(PAGE - 5))).toBe(PAGE - 5);
  });
});

describe('other things that stop a copy', () => {
  it.each(Object.entries(copies))('%s: the end of the file', (_name, copy) => {
    const fd = must(kernel.memfdCreate('short', 0));
    must(kernel.ftruncate(fd, PAGE + 1));
    const at = must(kernel.mmap(0, AREA, PROT.RW, MAP.SHARED, fd, 0));
    expect(copy(at + 9, AREA - 9)).toBe(2 * PAGE - 9);
    expectFault(SIGBUS, at + 2 * PAGE);
    expect(fault[FAULT.code]).toBe(BUS_ADRERR);
    must(kernel.ftruncate(fd, 0));
    expect(copy(at, PAGE)).toBe(0);
    must(kernel.munmap(at, AREA));
    kernel.close(fd);
  });

  it.each(Object.entries(copies))('%s: memory that is not mapped', (_name, copy) => {
    for (const at of [0, 1, PAGE - 1]) expect(copy(at, 10)).toBe(0);
    expect(fault[FAULT.signal]).toBe(BigInt(SIGSEGV));
  });

  it.each(Object.entries(copies))('%s: addresses that no user has', (_name, copy) => {
    for (const at of [0x8000_0000_0000n, 0x8000_0000_0000_0000n, 2n ** 64n - 8192n]) {
      fault.fill(0n);
      expect(copy(at, 100)).toBe(0);
      expect(fault[FAULT.signal]).toBe(BigInt(SIGSEGV));
      // Under a sanitizer the first to fault is its look at the shadow of the address.
      if (process.env.PRIVMEM_SANITIZED === undefined) expect(BigInt.asUintN(64, fault[FAULT.address] ?? 0n)).toBe(at);
    }
  });

  it.each(Object.entries(copies))('%s: memory of others is refused', (_name, copy) => {
    expect(() => copy(foreignMemory(), 16)).toThrow(RangeError);
    expect(() => copy(2n ** 64n - 8n, 16)).toThrow(RangeError);
  });

  it('copyIn and fill: memory that can only be read', () => {
    must(kernel.mprotect(area + PAGE, PAGE, PROT.READ));
    expect(kernel.copyIn(area, new Uint8Array(AREA), fault)).toBe(PAGE);
    expect(kernel.fill(area, AREA, 1, fault)).toBe(PAGE);
    expectFault(SIGSEGV, area + PAGE);
    expect(kernel.copyOut(area, new Uint8Array(AREA))).toBe(AREA);
  });
});

withGuestMemfd('private pages of guest_memfd', () => {
  it.each(Object.entries(copies))('%s stops with SIGBUS', (_name, copy) => {
    const { kvm, vm } = guest.openVm(kernel);
    const fd = must(guest.guestMemfd(kernel, vm, AREA, 1));
    const at = must(kernel.mmap(0, AREA, PROT.RW, MAP.SHARED, fd, 0));
    expect(copy(at + 100, 10)).toBe(0);
    expectFault(SIGBUS, at);
    must(kernel.munmap(at, AREA));
    for (const one of [fd, vm, kvm]) kernel.close(one);
  });

  it('shared ones are copied', () => {
    const { kvm, vm } = guest.openVm(kernel);
    const fd = guest.guestMemfd(kernel, vm, AREA, 3);
    if (fd >= 0) {
      const at = must(kernel.mmap(0, AREA, PROT.RW, MAP.SHARED, fd, 0));
      expect(kernel.copyIn(at, pattern(AREA))).toBe(AREA);
      expect(kernel.compare(at, pattern(AREA))).toBe(AREA);
      must(kernel.munmap(at, AREA));
      kernel.close(fd);
    } else {
      expect(fd).toBe(-guest.E.EINVAL);
    }
    for (const one of [vm, kvm]) kernel.close(one);
  });
});
