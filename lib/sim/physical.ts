/**
 * Page frames: which place in the machine's memory a page has, and who keeps it there. Nothing but encryption depends on the number itself;
 * what a technology ties to it (keys, owners) is lost or freed with the frame.
 */
import { type AddressSpace, isPage } from './address-space.ts';
import type { PageStore } from './page-store.ts';

/** A page of a file or of private memory, which has a frame while it is allocated. */
export interface Frame {
  readonly store: PageStore;
  /** Page number in the store. */
  readonly page: number;
}

const PROT_READ = 1;
const PROT_WRITE = 2;

/** The page of the process at page number `page`, as get_user_pages finds it; undefined where that fails (EFAULT). */
export function userPage(space: AddressSpace, page: number, write: boolean): Uint8Array | undefined {
  const vma = space.vmas.get(page);
  if (vma === undefined || (vma.prot & (write ? PROT_WRITE : PROT_READ)) === 0) return undefined;
  if (vma.file?.pinnable === false) return undefined;
  const found = space.fault(vma, page, write);
  return isPage(found) ? found : undefined;
}

/** Where the page of the process lies, once it was touched; undefined where nothing is mapped. */
export function frameAt(space: AddressSpace, page: number): Frame | undefined {
  const vma = space.vmas.get(page);
  if (vma === undefined) return undefined;
  const store = vma.file?.pages;
  if (store === undefined || (!vma.shared && space.private.has(page))) return { store: space.private, page };
  return { store, page: page + vma.delta };
}

export class PhysicalMemory {
  readonly #numbers = new Map<PageStore, Map<number, number>>();
  readonly #pins = new Map<PageStore, Map<number, Set<object>>>();
  #last = 0;

  /** The number of the frame, which it has from its first use until the page is freed or moved. */
  number({ store, page }: Frame): number {
    const known = this.#of(store).get(page);
    if (known !== undefined) return known;
    this.#last++;
    this.#of(store).set(page, this.#last);
    return this.#last;
  }

  #of(store: PageStore): Map<number, number> {
    const known = this.#numbers.get(store);
    if (known !== undefined) return known;
    const numbers = new Map<number, number>();
    this.#numbers.set(store, numbers);
    store.onInvalidate((from, to, change) => {
      if (change !== 'punch' && change !== 'truncate') return;
      for (const page of [...numbers.keys()]) if (page >= from && page < to) numbers.delete(page);
    });
    return numbers;
  }

  /** One more who needs the page where it is: FOLL_LONGTERM, vmsplice, I/O under way. Undone by the returned function. */
  pin({ store, page }: Frame): () => void {
    const pins = this.#pinsOf(store);
    const holders = pins.get(page) ?? new Set();
    pins.set(page, holders);
    const holder = {};
    holders.add(holder);
    return () => {
      holders.delete(holder);
      // Another frame may be the page by now.
      if (holders.size === 0 && pins.get(page) === holders) pins.delete(page);
    };
  }

  #pinsOf(store: PageStore): Map<number, Set<object>> {
    const known = this.#pins.get(store);
    if (known !== undefined) return known;
    const pins = new Map<number, Set<object>>();
    this.#pins.set(store, pins);
    // A page that is freed leaves its store, whoever holds the frame.
    store.onInvalidate((from, to, change) => {
      if (change !== 'punch' && change !== 'truncate') return;
      for (const page of [...pins.keys()]) if (page >= from && page < to) pins.delete(page);
    });
    return pins;
  }

  isPinned({ store, page }: Frame): boolean {
    return this.#pins.get(store)?.has(page) === true;
  }

  /** Whether any page of the store is pinned. */
  holdsAny(store: PageStore | undefined): boolean {
    return store !== undefined && (this.#pins.get(store)?.size ?? 0) > 0;
  }

  /** The first pinned page of [from, to), or undefined. */
  pinnedIn(store: PageStore, from: number, to: number): number | undefined {
    let first: number | undefined;
    for (const page of this.#pins.get(store)?.keys() ?? []) {
      if (page >= from && page < to && (first === undefined || page < first)) first = page;
    }
    return first;
  }

  /** Another frame gets the page's bytes, as compaction does. False where the page must stay. */
  move(frame: Frame): boolean {
    if (this.isPinned(frame) || !frame.store.has(frame.page)) return false;
    this.#of(frame.store).delete(frame.page);
    return true;
  }
}
