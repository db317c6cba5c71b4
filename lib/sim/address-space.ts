/**
 * The address space of the simulated process: what is mapped where, and what an access finds there. Ranges are in pages. The system calls
 * with their checks are built on this (mmap.ts, protect.ts, advice.ts), and so is KVM's use of host memory.
 */
import { EBUSY, ENOMEM } from './errno.ts';
import { IntervalMap } from './interval-map.ts';
import type { Policy } from './mempolicy.ts';
import { PAGE_SIZE } from './page.ts';
import { PageStore } from './page-store.ts';
import type { Vma } from './vma.ts';

/** Why an access failed: the signal and si_code that it would raise. */
export interface AccessFault {
  readonly signal: number;
  readonly code: number;
}

const SIGBUS = 7;
const SIGSEGV = 11;
export const BUS_ADRERR: AccessFault = { signal: SIGBUS, code: 2 };
export const SEGV_MAPERR: AccessFault = { signal: SIGSEGV, code: 1 };
export const SEGV_ACCERR: AccessFault = { signal: SIGSEGV, code: 2 };
/** A non-canonical address on x86: a general protection fault, SI_KERNEL. */
export const NON_CANONICAL: AccessFault = { signal: SIGSEGV, code: 128 };

export const PROT_WRITE = 2;

export interface AddressSpaceOptions {
  /** First page number that no user address has. */
  readonly endPage: number;
  /** Mappings are placed below it, highest first. */
  readonly topPage: number;
}

/** vm.mmap_min_addr, in pages. */
export const MIN_PAGE = 16;

export class AddressSpace {
  readonly endPage: number;
  readonly vmas = new IntervalMap<Vma>();
  /** Anonymous pages and private copies, by page number of their address. */
  readonly private = new PageStore();
  /** Pages that MADV_GUARD_INSTALL took away. */
  readonly guards = new IntervalMap<true>();
  /** Memory policies of mbind. */
  readonly policies = new IntervalMap<Policy>();
  readonly #topPage: number;
  readonly #listeners = new Set<(from: number, to: number) => void>();
  readonly #subscriptions = new Map<Vma, () => void>();
  readonly #pinned = new Set<number>();
  /** Pages of locked mappings. */
  #locked = 0;
  /** Nothing was placed below yet. */
  #cursor: number;
  #generation = 0;
  #invalidated: IntervalMap<number> | undefined;

  constructor({ endPage, topPage }: AddressSpaceOptions) {
    this.endPage = endPage;
    this.#topPage = topPage;
    this.#cursor = topPage;
    this.private.onInvalidate((from, to) => this.#changed(from, to));
  }

  /** Changes whenever a page that `resolve` handed out may no longer be the one to use. */
  get generation(): number {
    return this.#generation;
  }

  get lockedPages(): number {
    return this.#locked;
  }

  /** Pages that somebody pins for long count as locked memory too: account_locked_vm. */
  chargeLocked(pages: number): void {
    this.#locked += pages;
  }

  /** What MMU notifiers are to KVM: calls `listener` for pages whose meaning changes, until the returned function is called. */
  onInvalidate(listener: (from: number, to: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** At which generation what a page is was last put in question; 0 before. Kept from the first question on. */
  invalidatedAt(page: number): number {
    this.#invalidated ??= new IntervalMap<number>();
    return this.#invalidated.get(page) ?? 0;
  }

  #changed(from: number, to: number): void {
    this.#generation++;
    this.#invalidated?.set(from, to, this.#generation);
    for (const listener of this.#listeners) listener(from, to);
  }

  /** What accesses find in [from, to) is no longer what it was. */
  touched(from: number, to: number): void {
    this.#changed(from, to);
  }

  /** The page at page number `page`, as an access by the process finds it; allocates what a fault would. */
  resolve(page: number, write: boolean): Uint8Array | AccessFault {
    const vma = this.vmas.get(page);
    if (vma === undefined) return SEGV_MAPERR;
    if (write ? (vma.prot & PROT_WRITE) === 0 : vma.prot === 0) return SEGV_ACCERR;
    return this.fault(vma, page, write);
  }

  /** A fault in a mapping, whatever its protection. */
  fault(vma: Vma, page: number, write: boolean): Uint8Array | AccessFault {
    if (this.guards.size > 1 && this.guards.get(page) !== undefined) return SEGV_MAPERR;
    const { file } = vma;
    if (file === undefined) return this.private.isTaken(page) ? SEGV_ACCERR : this.private.page(page, write);
    if (vma.shared) {
      if (file.pages?.isTaken(page + vma.delta)) return SEGV_ACCERR;
      const bytes = file.fault(page + vma.delta, write);
      return bytes === 'SIGBUS' ? BUS_ADRERR : bytes;
    }
    // A private copy was there before: nobody asks the file again.
    if (this.private.has(page)) return this.private.isTaken(page) ? SEGV_ACCERR : this.private.page(page, write);
    if (file.pages?.isTaken(page + vma.delta)) {
      if (!write) return SEGV_ACCERR;
      // The kernel makes the copy.
      file.pages.reclaim(page + vma.delta);
    }
    const original = file.fault(page + vma.delta, false);
    if (original === 'SIGBUS') return BUS_ADRERR;
    if (!write) return original;
    const copy = this.private.write(page);
    copy.set(original);
    return copy;
  }

  /** Whether a hypervisor took the page that is mapped at `page` away: page tables still lead there. */
  isTaken(page: number): boolean {
    const vma = this.vmas.get(page);
    if (vma === undefined) return false;
    const inFile = vma.shared && vma.file !== undefined;
    return inFile ? vma.file?.pages?.isTaken(page + vma.delta) === true : this.private.isTaken(page);
  }

  /** Before the kernel itself touches a page through its own mapping: one that a guest has is taken from it. */
  reclaim(page: number): void {
    const vma = this.vmas.get(page);
    if (vma === undefined) return;
    if (vma.shared && vma.file !== undefined) vma.file.pages?.reclaim(page + vma.delta);
    else this.private.reclaim(page);
  }

  /** Whether all of [from, to) is mapped. */
  isMapped(from: number, to: number): boolean {
    let mapped = 0;
    this.vmas.forEach(from, to, (start, end) => {
      mapped += end - start;
    });
    return mapped === to - from;
  }

  isFree(from: number, to: number): boolean {
    let free = true;
    this.vmas.forEach(from, to, () => {
      free = false;
    });
    return free;
  }

  /** A free place for `pages` pages, a multiple of `align` pages, or -ENOMEM. */
  place(pages: number, align = 1): number {
    const below = this.#fit(this.#cursor, pages, align);
    if (below >= MIN_PAGE && this.isFree(below, below + pages)) {
      this.#cursor = below;
      return below;
    }
    let top = this.#topPage;
    while (top > MIN_PAGE) {
      const at = this.#fit(top, pages, align);
      if (at < MIN_PAGE) break;
      const taken = this.#lowestIn(at, at + pages);
      if (taken === undefined) return at;
      top = taken;
    }
    return -ENOMEM;
  }

  #fit(top: number, pages: number, align: number): number {
    return Math.floor((top - pages) / align) * align;
  }

  /** Start of the lowest mapping that reaches into [from, to). */
  #lowestIn(from: number, to: number): number | undefined {
    let lowest: number | undefined;
    this.vmas.forEach(from, to, (start) => {
      lowest ??= start;
    });
    return lowest === from ? this.vmas.rangeAt(from).from : lowest;
  }

  /** Whether a mapping would be cut at `page` in the middle of a huge page: may_split. */
  splits(page: number): boolean {
    const vma = this.vmas.get(page);
    if (vma === undefined || vma.align === PAGE_SIZE || this.vmas.get(page - 1) !== vma) return false;
    return (page * PAGE_SIZE) % vma.align !== 0;
  }

  /** Maps [from, to), replacing what was there; `undefined` unmaps. */
  put(from: number, to: number, vma: Vma | undefined): void {
    this.private.punch(from, to);
    if (this.guards.size > 1) this.guards.clear(from, to);
    if (this.policies.size > 1) this.policies.clear(from, to);
    this.#replace(from, to, vma);
    this.#changed(from, to);
  }

  /** Changes the mapping of [from, to), all of one Vma, leaving its pages. */
  alter(from: number, to: number, vma: Vma): void {
    this.#replace(from, to, vma);
    this.#changed(from, to);
  }

  #replace(from: number, to: number, vma: Vma | undefined): void {
    const old = this.vmas.within(from, to);
    if (vma !== undefined) {
      if (vma.pages === 0) this.#open(vma);
      vma.pages += to - from;
      if (vma.locked) this.#locked += to - from;
    }
    this.vmas.set(from, to, vma);
    for (const part of old) {
      const pages = part.to - part.from;
      part.value.pages -= pages;
      if (part.value.locked) this.#locked -= pages;
      if (part.value.pages === 0) this.#close(part.value);
    }
  }

  #open(vma: Vma): void {
    const { file } = vma;
    if (file === undefined) return;
    file.retain();
    file.mapped(vma);
    const unsubscribe = file.pages?.onInvalidate((from, to, change) => {
      const low = Math.max(0, from - vma.delta);
      const high = Math.min(this.endPage, to - vma.delta);
      // A truncation takes private copies too, a hole does not: even_cows of unmap_mapping_range.
      const alsoCopies = change === 'truncate' && !vma.shared;
      if (change === 'unmap' && this.guards.size > 1) this.#dropGuards(vma, low, high);
      if (!alsoCopies && this.#listeners.size === 0 && this.#invalidated === undefined) {
        this.#generation++;
        return;
      }
      this.vmas.forEach(low, high, (start, end, value) => {
        if (value !== vma) return;
        if (alsoCopies) this.private.punch(start, end);
        this.#changed(start, end);
      });
    });
    if (unsubscribe !== undefined) this.#subscriptions.set(vma, unsubscribe);
  }

  #dropGuards(vma: Vma, from: number, to: number): void {
    this.vmas.forEach(from, to, (start, end, value) => {
      if (value === vma) this.guards.clear(start, end);
    });
  }

  #close(vma: Vma): void {
    this.#subscriptions.get(vma)?.();
    this.#subscriptions.delete(vma);
    vma.file?.unmapped(vma);
    vma.file?.drop();
  }

  /** Keeps a page from being unmapped: the run page of an attached vCPU. -EBUSY when it is pinned already. */
  pin(page: number): number {
    if (this.#pinned.has(page)) return -EBUSY;
    this.#pinned.add(page);
    return 0;
  }

  unpin(page: number): void {
    this.#pinned.delete(page);
  }

  hasPinned(from: number, to: number): boolean {
    for (const page of this.#pinned) if (page >= from && page < to) return true;
    return false;
  }
}

/** Whether `found` is a page. */
export const isPage = (found: Uint8Array | AccessFault): found is Uint8Array => found instanceof Uint8Array;

/** The address of a page. */
export const addressOf = (page: number): number => page * PAGE_SIZE;
