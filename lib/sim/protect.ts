/** munmap, mprotect and mincore. mm/mmap.c, mm/mprotect.c, mm/mincore.c */
import type { AddressSpace } from './address-space.ts';
import { EACCES, EINVAL, ENOMEM } from './errno.ts';
import { populate } from './mmap.ts';
import { isAligned, PAGE_SIZE } from './page.ts';
import type { Process } from './process.ts';
import type { Vma } from './vma.ts';

const WORD = 2n ** 64n;
const PAGE = BigInt(PAGE_SIZE);

/** Rounded up to whole pages in 64 bits: nearly 2^64 becomes 0, as in the kernel. */
export const pageAlign = (length: bigint): bigint => BigInt.asUintN(64, length + PAGE - 1n) & ~(PAGE - 1n);

export interface PageRange {
  readonly from: number;
  readonly to: number;
}

/** The pages that munmap would take, or -EINVAL. */
export function unmapRange({ space }: Process, address: bigint, length: bigint): PageRange | number {
  const end = BigInt(space.endPage) * PAGE;
  if (!isAligned(address) || address > end || length > end - address || length === 0n) return -EINVAL;
  const from = Number(address / PAGE);
  return { from, to: from + Number(pageAlign(length) / PAGE) };
}

export function munmap(process: Process, { from, to }: PageRange): number {
  const { space } = process;
  if (space.splits(from) || space.splits(to)) return -EINVAL;
  space.put(from, to, undefined);
  return 0;
}

const PROT_WRITE = 2;
const PROT_ALL = 7;
const PROT_SEM = 8;
const PROT_GROWSDOWN = 0x0100_0000;
const PROT_GROWSUP = 0x0200_0000;

export function mprotect(process: Process, address: bigint, length: bigint, prot: number): number {
  const { space } = process;
  const grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
  if (grows === (PROT_GROWSDOWN | PROT_GROWSUP) || !isAligned(address)) return -EINVAL;
  if (length === 0n) return 0;
  const aligned = pageAlign(length);
  if (aligned === 0n || address + aligned >= WORD) return -ENOMEM;
  if ((prot & ~(PROT_ALL | PROT_SEM | grows)) !== 0) return -EINVAL;
  const from = Number(address / PAGE);
  const to = Number((address + aligned) / PAGE);
  if (from >= space.endPage) return -ENOMEM;
  const parts = space.vmas.within(from, Math.min(to, space.endPage));
  const first = parts[0];
  if (first === undefined || (grows !== PROT_GROWSDOWN && first.from > from)) return -ENOMEM;
  // No mapping here was made to grow.
  if (grows !== 0) return -EINVAL;
  const wanted = prot & PROT_ALL;
  let at = from;
  for (const part of parts) {
    if (part.from !== at) return -ENOMEM;
    if ((wanted & ~part.value.mayProt) !== 0) return -EACCES;
    if (part.value.prot === wanted) {
      at = part.to;
      continue;
    }
    if (space.splits(part.from) || space.splits(part.to)) return -EINVAL;
    if (isTooMuch(process, part.value, wanted, part.to - part.from)) return -ENOMEM;
    change(space, part.value, part.from, part.to, wanted);
    at = part.to;
  }
  return at < to ? -ENOMEM : 0;
}

/** mprotect_fixup: locked private memory that becomes writable gets its copies at once. */
function change(space: AddressSpace, vma: Vma, from: number, to: number, prot: number): void {
  const next = vma.altered({ prot });
  space.alter(from, to, next);
  const wasWritable = (vma.prot & PROT_WRITE) !== 0;
  if (vma.locked && !vma.shared && !wasWritable && (prot & PROT_WRITE) !== 0) populate(space, next, from, to);
}

/** A private mapping that becomes writable is charged like a new one. */
function isTooMuch({ ram }: Process, vma: Vma, prot: number, pages: number): boolean {
  const becomes = !vma.shared && (prot & PROT_WRITE) !== 0 && (vma.prot & PROT_WRITE) === 0;
  return becomes && vma.align === PAGE_SIZE && pages * PAGE_SIZE > ram;
}

export function mincore({ space }: Process, address: bigint, length: bigint, into: Uint8Array): number {
  if (!isAligned(address)) return -EINVAL;
  const end = BigInt(space.endPage) * PAGE;
  if (address > end || length > end - address) return -ENOMEM;
  const from = Number(address / PAGE);
  const to = from + Number((length + PAGE - 1n) / PAGE);
  let at = from;
  for (const part of space.vmas.within(from, to)) {
    if (part.from !== at) return -ENOMEM;
    for (; at < part.to; at++) into[at - from] = isResident(space, part.value, at) ? 1 : 0;
  }
  return at < to ? -ENOMEM : 0;
}

/** In the page tables, or else in the page cache and filled. */
function isResident(space: AddressSpace, vma: Vma, page: number): boolean {
  if (space.private.has(page)) return true;
  return vma.file?.pages?.isFilled(page + vma.delta) === true;
}
