/** madvise(2). mm/madvise.c */
import { type AddressSpace, isPage } from './address-space.ts';
import { EACCES, EBADF, EFAULT, EINVAL, ENOMEM, EPERM } from './errno.ts';
import { fallocate } from './file-calls.ts';
import { isAligned, PAGE_SIZE } from './page.ts';
import type { Process } from './process.ts';
import { pageAlign } from './protect.ts';
import type { Vma } from './vma.ts';

const WORD = 2n ** 64n;
const PAGE = BigInt(PAGE_SIZE);
const PUNCH = 3;
const PROT_READ = 1;
const PROT_WRITE = 2;

const MADV = {
  NORMAL: 0,
  RANDOM: 1,
  SEQUENTIAL: 2,
  WILLNEED: 3,
  DONTNEED: 4,
  FREE: 8,
  REMOVE: 9,
  DONTFORK: 10,
  DOFORK: 11,
  MERGEABLE: 12,
  UNMERGEABLE: 13,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  DONTDUMP: 16,
  DODUMP: 17,
  WIPEONFORK: 18,
  KEEPONFORK: 19,
  COLD: 20,
  PAGEOUT: 21,
  POPULATE_READ: 22,
  POPULATE_WRITE: 23,
  DONTNEED_LOCKED: 24,
  COLLAPSE: 25,
  HWPOISON: 100,
  SOFT_OFFLINE: 101,
  GUARD_INSTALL: 102,
  GUARD_REMOVE: 103,
} as const;

const isKnown = (advice: number, process: Process): boolean => {
  if (advice === MADV.GUARD_INSTALL || advice === MADV.GUARD_REMOVE) return process.profile.guards !== 'none';
  if (advice === MADV.MERGEABLE || advice === MADV.UNMERGEABLE) return process.profile.ksm;
  return (Object.values(MADV) as number[]).includes(advice);
};

export function madvise(process: Process, address: bigint, length: bigint, advice: number): number {
  const { space } = process;
  if (advice === MADV.HWPOISON || advice === MADV.SOFT_OFFLINE) return -EPERM;
  if (!isKnown(advice, process) || !isAligned(address)) return -EINVAL;
  const aligned = pageAlign(length);
  if ((length !== 0n && aligned === 0n) || address + aligned >= WORD) return -EINVAL;
  if (aligned === 0n) return 0;
  const from = Math.min(Number(address / PAGE), space.endPage);
  const to = Math.min(Number((address + aligned) / PAGE), space.endPage);
  if (advice === MADV.POPULATE_READ || advice === MADV.POPULATE_WRITE) {
    return populate(space, from, Number((address + aligned) / PAGE), advice === MADV.POPULATE_WRITE);
  }
  let at = from;
  let hole = Number((address + aligned) / PAGE) > space.endPage;
  for (const part of space.vmas.within(from, to)) {
    if (part.from !== at) hole = true;
    const result = advise(process, part.value, part.from, part.to, advice);
    if (result < 0) return result;
    at = part.to;
  }
  return hole || at < to ? -ENOMEM : 0;
}

/** faultin_page_range: unlike an access, it takes PROT_READ to read. */
function populate(space: AddressSpace, from: number, to: number, write: boolean): number {
  for (let page = from; page < to; page++) {
    const vma = space.vmas.get(page);
    if (vma === undefined) return -ENOMEM;
    if ((vma.prot & (write ? PROT_WRITE : PROT_READ)) === 0 || vma.file?.pinnable === false) return -EINVAL;
    if (!isPage(space.fault(vma, page, write))) return -EFAULT;
  }
  return 0;
}

/** Bits of VM_RAND_READ and VM_SEQ_READ, VM_DONTCOPY, VM_DONTDUMP: the new ones after an advice; undefined when it changes none. */
function flagsAfter(advice: number, flags: number): number | undefined {
  switch (advice) {
    case MADV.NORMAL:
      return flags & ~3;
    case MADV.RANDOM:
      return (flags & ~3) | 1;
    case MADV.SEQUENTIAL:
      return (flags & ~3) | 2;
    case MADV.DONTFORK:
      return flags | 4;
    case MADV.DOFORK:
      return flags & ~4;
    case MADV.DONTDUMP:
      return flags | 8;
    case MADV.DODUMP:
      return flags & ~8;
    default:
      return undefined;
  }
}

/** What is different with huge pages: they are not split, and DONTNEED takes whole ones only. Undefined: nothing. */
function adviseHuge({ space }: Process, vma: Vma, from: number, to: number, advice: number): number | undefined {
  const step = vma.align / PAGE_SIZE;
  if (advice === MADV.DONTNEED || advice === MADV.DONTNEED_LOCKED) {
    if (from % step !== 0) return -EINVAL;
    space.private.punch(from, Math.floor(to / step) * step);
    return 0;
  }
  const flags = flagsAfter(advice, vma.advice);
  if (flags === undefined || flags === vma.advice) return undefined;
  if (space.splits(from) || space.splits(to)) return -EINVAL;
  space.alter(from, to, vma.altered({ advice: flags }));
  return 0;
}

function advise(process: Process, vma: Vma, from: number, to: number, advice: number): number {
  const { space, profile } = process;
  const huge = vma.align !== PAGE_SIZE;
  const special = huge ? adviseHuge(process, vma, from, to, advice) : undefined;
  if (special !== undefined) return special;
  switch (advice) {
    case MADV.DONTNEED:
    case MADV.DONTNEED_LOCKED:
      if (vma.locked && advice === MADV.DONTNEED) return -EINVAL;
      space.private.punch(from, to);
      space.touched(from, to);
      return 0;
    case MADV.WILLNEED:
      return vma.file === undefined && !profile.swap ? -EBADF : 0;
    case MADV.FREE:
      // Freed only when memory gets short, which it does not here.
      return vma.file === undefined && !vma.locked ? 0 : -EINVAL;
    case MADV.REMOVE:
      if (vma.locked || vma.file === undefined) return -EINVAL;
      if (!vma.sharedWritable) return -EACCES;
      return fallocate(vma.file, PUNCH, BigInt(from + vma.delta) * PAGE, BigInt(to - from) * PAGE, profile);
    case MADV.WIPEONFORK:
      return vma.file === undefined ? 0 : -EINVAL;
    case MADV.DODUMP:
    case MADV.KEEPONFORK:
      return vma.droppable ? -EINVAL : 0;
    case MADV.COLD:
    case MADV.PAGEOUT:
      return vma.locked || huge ? -EINVAL : 0;
    case MADV.HUGEPAGE:
    case MADV.NOHUGEPAGE:
      return huge ? -EINVAL : 0;
    case MADV.COLLAPSE:
      return collapse(vma);
    case MADV.GUARD_INSTALL:
      if (vma.locked || !canGuard(process, vma)) return -EINVAL;
      space.private.punch(from, to);
      space.guards.set(from, to, true);
      space.touched(from, to);
      return 0;
    case MADV.GUARD_REMOVE:
      if (!canGuard(process, vma)) return -EINVAL;
      space.guards.clear(from, to);
      return 0;
    default:
      return 0;
  }
}

/** Files in memory other than anonymous memory are not collapsed here; a range without a whole huge page has nothing to collapse. */
function collapse(vma: Vma): number {
  return vma.file === undefined ? 0 : -EINVAL;
}

function canGuard({ profile }: Process, vma: Vma): boolean {
  if (vma.align !== PAGE_SIZE) return false;
  if (profile.guards === 'all') return true;
  return vma.file === undefined && (vma.prot & PROT_WRITE) !== 0;
}
