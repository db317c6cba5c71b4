/** mlock2, munlock and msync. mm/mlock.c, mm/msync.c */
import { type AddressSpace, isPage } from './address-space.ts';
import { EBUSY, EINVAL, ENOMEM } from './errno.ts';
import { PAGE_SIZE } from './page.ts';
import type { Process } from './process.ts';
import type { Vma } from './vma.ts';

const PAGE = BigInt(PAGE_SIZE);
const MLOCK_ONFAULT = 1;
const PROT_WRITE = 2;

interface LockChange {
  readonly locked: boolean;
  readonly onFault: boolean;
}

/** The range in whole pages, as both calls round it: in 64 bits, where it may wrap. */
function rounded(address: bigint, length: bigint): { readonly start: bigint; readonly end: bigint } {
  const start = address & ~(PAGE - 1n);
  const bytes = BigInt.asUintN(64, length + (address & (PAGE - 1n)) + PAGE - 1n) & ~(PAGE - 1n);
  return { start, end: BigInt.asUintN(64, start + bytes) };
}

/** Mappings that are never locked: pages that the kernel does not reclaim anyway, or may drop. mlock_fixup. */
const isSpecial = (vma: Vma): boolean => vma.align !== PAGE_SIZE || vma.droppable || vma.file?.pinnable === false;

/** apply_vma_lock_flags: mapping by mapping, so that what lies before a hole is changed. */
function apply(space: AddressSpace, start: bigint, end: bigint, { locked, onFault }: LockChange): number {
  if (end < start) return -EINVAL;
  if (end === start) return 0;
  const from = Number(start / PAGE);
  const to = Number(end / PAGE);
  if (from >= space.endPage) return -ENOMEM;
  let at = from;
  for (const part of space.vmas.within(from, Math.min(to, space.endPage))) {
    if (part.from !== at) return -ENOMEM;
    const { value: vma } = part;
    if (!isSpecial(vma) && (vma.locked !== locked || vma.onFault !== onFault)) {
      space.alter(part.from, part.to, vma.altered({ locked, onFault }));
    }
    at = part.to;
  }
  return at < to ? -ENOMEM : 0;
}

/** Locked pages in the range, which a limit does not count twice. */
function lockedWithin(space: AddressSpace, start: bigint, end: bigint): number {
  let pages = 0;
  space.vmas.forEach(Number(start / PAGE), Number(end / PAGE), (from, to, vma) => {
    if (vma.locked) pages += to - from;
  });
  return pages;
}

export function mlock({ space, memlockLimit }: Process, address: bigint, length: bigint, flags: number): number {
  if ((flags & ~MLOCK_ONFAULT) !== 0) return -EINVAL;
  const { start, end } = rounded(address, length);
  const bytes = Number(BigInt.asUintN(64, end - start));
  const asked = bytes / PAGE_SIZE + space.lockedPages;
  const over = (pages: number): boolean => pages * PAGE_SIZE > memlockLimit;
  if (over(asked) && over(asked - (end > start ? lockedWithin(space, start, end) : 0))) return -ENOMEM;
  const result = apply(space, start, end, { locked: true, onFault: (flags & MLOCK_ONFAULT) !== 0 });
  return result < 0 ? result : populate(space, Number(start / PAGE), Number(end / PAGE));
}

/** __mm_populate, with the errors as mlock reports them. */
function populate(space: AddressSpace, from: number, to: number): number {
  for (const part of space.vmas.within(from, to)) {
    const { value: vma } = part;
    if (vma.onFault) continue;
    if (vma.prot === 0 || vma.file?.pinnable === false) return -ENOMEM;
    const write = !vma.shared && (vma.prot & PROT_WRITE) !== 0;
    for (let page = part.from; page < part.to; page++) if (!isPage(space.fault(vma, page, write))) return -ENOMEM;
  }
  return 0;
}

export function munlock({ space }: Process, address: bigint, length: bigint): number {
  const { start, end } = rounded(address, length);
  return apply(space, start, end, { locked: false, onFault: false });
}

const MS_ASYNC = 1;
const MS_INVALIDATE = 2;
const MS_SYNC = 4;

export function msync({ space }: Process, address: bigint, length: bigint, flags: number): number {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) !== 0 || (address & (PAGE - 1n)) !== 0n) return -EINVAL;
  if ((flags & MS_ASYNC) !== 0 && (flags & MS_SYNC) !== 0) return -EINVAL;
  const bytes = BigInt.asUintN(64, length + PAGE - 1n) & ~(PAGE - 1n);
  if (address + bytes >= 2n ** 64n) return -ENOMEM;
  if (bytes === 0n) return 0;
  const from = Number(address / PAGE);
  const to = Number((address + bytes) / PAGE);
  if (from >= space.endPage) return -ENOMEM;
  let at = from;
  let hole = false;
  for (const part of space.vmas.within(from, Math.min(to, space.endPage))) {
    if (part.from !== at) {
      if (flags === MS_ASYNC) return -ENOMEM;
      hole = true;
    }
    const { file, locked, shared } = part.value;
    if ((flags & MS_INVALIDATE) !== 0 && locked) return -EBUSY;
    if ((flags & MS_SYNC) !== 0 && file !== undefined && shared) {
      const synced = file.fsync();
      if (synced < 0) return synced;
    }
    at = part.to;
  }
  return at < to || hole ? -ENOMEM : 0;
}
