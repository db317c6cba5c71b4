/**
 * The secure page table of a trust domain: which gpa has a page, and whether the guest has accepted it. A model of the TDX module's, with pages
 * of 4 KiB only.
 */
import type { PageStore } from '../page-store.ts';
import type { Frame } from '../physical.ts';

export interface SeptEntry {
  readonly frame: Frame;
  /** `pending`: added while the guest runs, not accepted yet. */
  state: 'mapped' | 'pending';
}

export class SecureEpt {
  readonly #entries = new Map<number, SeptEntry>();

  get(gfn: number): SeptEntry | undefined {
    return this.#entries.get(gfn);
  }

  set(gfn: number, entry: SeptEntry): SeptEntry {
    this.#entries.set(gfn, entry);
    return entry;
  }

  /** Removes the pages [from, to); true when there was one. What they held is lost. */
  removeRange(from: number, to: number): boolean {
    return this.#remove((gfn) => gfn >= from && gfn < to);
  }

  /** Removes pages whose memory was freed. */
  removeFrames(store: PageStore, from: number, to: number): boolean {
    return this.#remove((_, { frame }) => frame.store === store && frame.page >= from && frame.page < to);
  }

  #remove(wanted: (gfn: number, entry: SeptEntry) => boolean): boolean {
    let any = false;
    for (const [gfn, entry] of [...this.#entries]) {
      if (!wanted(gfn, entry)) continue;
      this.#entries.delete(gfn);
      any = true;
    }
    return any;
  }
}
