/**
 * The reverse map table of SEV-SNP: which guest owns a page frame, at which gpa, and whether the guest has validated it. A model of the
 * processor's table, with pages of 4 KiB only. AMD64 manual volume 2, 15.36.
 */
import type { PageStore } from '../page-store.ts';
import type { Frame } from '../physical.ts';

export interface RmpEntry {
  readonly asid: number;
  readonly gfn: number;
  validated: boolean;
}

export class Rmp {
  readonly #entries = new Map<PageStore, Map<number, RmpEntry>>();

  get({ store, page }: Frame): RmpEntry | undefined {
    return this.#entries.get(store)?.get(page);
  }

  /** rmp_make_private. */
  assign({ store, page }: Frame, entry: RmpEntry): RmpEntry {
    const entries = this.#entries.get(store) ?? new Map<number, RmpEntry>();
    this.#entries.set(store, entries);
    entries.set(page, entry);
    return entry;
  }

  /** rmp_make_shared: the pages [from, to) belong to the hypervisor again. */
  release(store: PageStore, from: number, to: number): void {
    const entries = this.#entries.get(store);
    if (entries === undefined) return;
    for (const page of [...entries.keys()]) if (page >= from && page < to) entries.delete(page);
    if (entries.size === 0) this.#entries.delete(store);
  }
}
