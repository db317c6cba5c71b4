/**
 * The pages of one file, or the private pages of one address space: allocated in ranges, with bytes only where something was written.
 * Everybody who reaches a page gets the same Uint8Array, so that a write through one mapping is seen by all.
 */
import { IntervalMap } from './interval-map.ts';
import { PAGE_SIZE, ZERO_PAGE } from './page.ts';
import { SparsePages } from './sparse-pages.ts';

/**
 * Why what was handed out for a range no longer holds: `fill`: a page got bytes of its own where the zero page stood; `move`: its bytes
 * lie elsewhere now; `punch`, `truncate`: the pages are gone (a truncation takes private copies with it);
 * `unmap`: a page that somebody has mapped is about to go, with all that page tables say of its place.
 */
export type Change = 'fill' | 'move' | 'punch' | 'truncate' | 'unmap';
export type ChangeListener = (from: number, to: number, change: Change) => void;

/** Whoever holds on to a page, whatever becomes of the file or the process that it came from. */
export interface PageOwner {
  /** Nobody else may touch the page. */
  readonly exclusive: boolean;
  /** The page's bytes lie elsewhere now. */
  moved(bytes: Uint8Array): void;
  /** The file or the process has forgotten the page: the bytes are the owner's alone. */
  detached(): void;
  /** The kernel touched the page itself, and so it was taken back and wiped. */
  reclaimed(): void;
}

export class PageStore {
  /** For allocated pages: whether they were ever filled. fallocate alone does not fill a page, and some calls can tell. */
  readonly #state = new IntervalMap<boolean>();
  /** Bytes of allocated pages. Those without are zero. */
  readonly #bytes = new SparsePages();
  /** Pages whose bytes lie in a view's buffer: they stay tied to it, allocated or not. */
  readonly #viewed = new Map<number, { bytes: Uint8Array; views: number }>();
  /** Pages that a hypervisor gave to a guest: an access by anybody else is a fault, unless the guest shares them. */
  readonly #owners = new Map<number, PageOwner>();
  readonly #listeners = new Set<ChangeListener>();
  #allocated = 0;
  #generation = 0;

  /** Number of allocated pages. */
  get allocated(): number {
    return this.#allocated;
  }

  /** Changes whenever a page that was handed out is no longer the one to use. */
  get generation(): number {
    return this.#generation;
  }

  /** Calls `listener` at every change until the function that it returns is called. */
  onInvalidate(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  has(page: number): boolean {
    return this.#state.get(page) !== undefined;
  }

  /** Whether the page was filled, by a write, a fault or a use: PG_uptodate. */
  isFilled(page: number): boolean {
    return this.#state.get(page) === true;
  }

  /** The page as a read sees it, without allocating it. Not to be written: it may be the zero page. */
  peek(page: number): Uint8Array {
    const bytes = this.#bytes.get(page) ?? this.#viewed.get(page)?.bytes;
    if (bytes === undefined) return ZERO_PAGE;
    if (bytes.length !== 0) return bytes;
    this.#lost(page);
    return ZERO_PAGE;
  }

  /** Somebody moved the view's buffer away (postMessage, transfer), and the contents with it. */
  #lost(page: number): void {
    this.#viewed.delete(page);
    this.#bytes.delete(page);
    this.#changed(page, page + 1, 'move');
  }

  /** The page as a read fault gets it: allocated. Not to be written: it may be the zero page. */
  touch(page: number): Uint8Array {
    const bytes = this.#bytes.get(page);
    if (bytes !== undefined && bytes.length !== 0) return bytes;
    this.#mark(page);
    return this.peek(page);
  }

  /** The page to write to: allocated, with bytes of its own. */
  write(page: number): Uint8Array {
    const bytes = this.#bytes.get(page);
    if (bytes !== undefined && bytes.length !== 0) return bytes;
    if (bytes !== undefined) this.#lost(page);
    this.#mark(page);
    const viewed = this.#viewed.get(page)?.bytes;
    const fresh = viewed ?? new Uint8Array(PAGE_SIZE);
    this.#bytes.set(page, fresh);
    if (viewed === undefined) this.#changed(page, page + 1, 'fill');
    return fresh;
  }

  /** `touch` or `write`. */
  page(page: number, write: boolean): Uint8Array {
    return write ? this.write(page) : this.touch(page);
  }

  #mark(page: number): void {
    const state = this.#state.get(page);
    if (state === true) return;
    if (state === undefined) this.#allocated++;
    this.#state.set(page, page + 1, true);
  }

  /** Allocates [from, to) without filling it. With `fills`, pages that were allocated so before are filled now. */
  allocate(from: number, to: number, fills = false): void {
    let at = from;
    while (at < to) {
      const { to: rangeEnd, value } = this.#state.rangeAt(at);
      const end = Math.min(rangeEnd, to);
      if (value === undefined) {
        this.#state.set(at, end, false);
        this.#allocated += end - at;
      } else if (!value && fills) {
        this.#state.set(at, end, true);
      }
      at = end;
    }
  }

  /** Frees [from, to): it reads as zeros again, for everybody. */
  punch(from: number, to: number, change: 'punch' | 'truncate' = 'punch'): void {
    if (from >= to) return;
    if (this.#owners.size > 0) this.#detach(from, to);
    this.#allocated -= this.count(from, to);
    this.#state.clear(from, to);
    this.#bytes.forEach(from, to, (page) => this.#bytes.delete(page));
    if (this.#viewed.size > 0) {
      for (const [page, { bytes }] of this.#viewed) if (page >= from && page < to) bytes.fill(0);
    }
    this.#changed(from, to, change);
  }

  isTaken(page: number): boolean {
    return this.#owners.size > 0 && this.#owners.get(page)?.exclusive === true;
  }

  hasOwner(page: number): boolean {
    return this.#owners.size > 0 && this.#owners.has(page);
  }

  /** Gives the page an owner, or none, or lets everybody know that `exclusive` is another; its contents stay. */
  setOwner(page: number, owner: PageOwner | undefined): void {
    if (owner === undefined) this.#owners.delete(page);
    else this.#owners.set(page, owner);
    this.#changed(page, page + 1, 'move');
  }

  /** Before the kernel itself touches a page: one that is taken is wiped and free again. pkvm_force_reclaim_guest_page */
  reclaim(page: number): void {
    if (!this.isTaken(page)) return;
    const owner = this.#owners.get(page);
    this.#owners.delete(page);
    this.write(page).fill(0);
    owner?.reclaimed();
  }

  #detach(from: number, to: number): void {
    for (const [page, owner] of this.#owners) {
      if (page < from || page >= to) continue;
      this.#owners.delete(page);
      // A view's buffer stays with the page number; the owner goes on with bytes of its own.
      const viewed = this.#viewed.get(page);
      if (viewed !== undefined) owner.moved(viewed.bytes.slice());
      owner.detached();
    }
  }

  /** Zeroes bytes [from, to) of a page, if there is anything in it. */
  zero(page: number, from: number, to: number): void {
    this.reclaim(page);
    const bytes = this.peek(page);
    if (bytes !== ZERO_PAGE) bytes.fill(0, from, to);
  }

  /** Zeroes whole pages, as far as there is anything in them. */
  zeroRange(from: number, to: number): void {
    this.#bytes.forEach(from, to, (_, bytes) => {
      bytes.fill(0);
    });
  }

  /** Allocated pages in [from, to). */
  count(from: number, to: number): number {
    let pages = 0;
    this.#state.forEach(from, to, (start, end) => {
      pages += end - start;
    });
    return pages;
  }

  /** The first page from `from` on that was filled; Infinity when there is none. What lseek(SEEK_DATA) looks for. */
  nextFilled(from: number): number {
    return this.#next(from, (state) => state === true);
  }

  /** The first page from `from` on that was not filled. */
  nextHole(from: number): number {
    return this.#next(from, (state) => state !== true);
  }

  #next(from: number, wanted: (state: boolean | undefined) => boolean): number {
    let at = from;
    while (at !== Number.POSITIVE_INFINITY) {
      const range = this.#state.rangeAt(at);
      if (wanted(range.value)) return at;
      at = range.to;
    }
    return at;
  }

  /** The buffer in which a viewed page lies. */
  viewOf(page: number): ArrayBufferLike | undefined {
    return this.#viewed.get(page)?.bytes.buffer;
  }

  /** Ties a page to a place in a view's buffer, which gets its bytes. Each call must be undone by `untie`. */
  tie(page: number, place: Uint8Array): void {
    const viewed = this.#viewed.get(page);
    if (viewed !== undefined) {
      viewed.views++;
      return;
    }
    place.set(this.touch(page));
    this.#viewed.set(page, { bytes: place, views: 1 });
    this.#bytes.set(page, place);
    this.#owners.get(page)?.moved(place);
    this.#changed(page, page + 1, 'move');
  }

  /** Gives a page bytes of its own again once its last view is gone. Must come before the buffer is detached. */
  untie(page: number): void {
    const viewed = this.#viewed.get(page);
    if (viewed === undefined) return;
    viewed.views--;
    if (viewed.views > 0) return;
    this.#viewed.delete(page);
    if (this.#bytes.get(page) !== undefined) {
      const own = viewed.bytes.slice();
      this.#bytes.set(page, own);
      this.#owners.get(page)?.moved(own);
    }
    this.#changed(page, page + 1, 'move');
  }

  /** The same bytes, but whoever holds them asks again: who may have them has changed. */
  moved(from = 0, to: number = Number.POSITIVE_INFINITY): void {
    this.#changed(from, to, 'move');
  }

  /** To be told before a page that is mapped goes, where a file does not take it from page tables beforehand. */
  announceUnmap(page: number): void {
    if (this.has(page)) this.#changed(page, page + 1, 'unmap');
  }

  #changed(from: number, to: number, change: Change): void {
    this.#generation++;
    for (const listener of this.#listeners) listener(from, to, change);
  }
}
