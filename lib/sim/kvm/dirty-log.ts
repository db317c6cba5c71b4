/** The pages of a slot that the guest wrote since they were last asked for: in ranges, since a slot may have millions. */
import { IntervalMap } from '../interval-map.ts';

export class DirtyLog {
  readonly #pages: number;
  readonly #dirty = new IntervalMap<true>();

  constructor(pages: number) {
    this.#pages = pages;
  }

  mark(page: number): void {
    this.#dirty.set(page, page + 1, true);
  }

  /** As if every page had been written: KVM_DIRTY_LOG_INITIALLY_SET. */
  markAll(): void {
    this.#dirty.set(0, this.#pages, true);
  }

  /** One bit per page, lowest first, in words of 64 bits; the log stays as it is. */
  look(): Uint8Array {
    const bitmap = new Uint8Array(Math.ceil(this.#pages / 64) * 8);
    this.#dirty.forEach(0, this.#pages, (from, to) => {
      for (let page = from; page < to; page++) bitmap[page >>> 3] = (bitmap[page >>> 3] ?? 0) | (1 << (page & 7));
    });
    return bitmap;
  }

  /** The same; the log is empty afterwards. `any` says whether something was written. */
  take(): { readonly bitmap: Uint8Array; readonly any: boolean } {
    const bitmap = this.look();
    const any = this.#dirty.size > 1 || this.#dirty.get(0) === true;
    this.#dirty.clear(0, this.#pages);
    return { bitmap, any };
  }

  /** Takes out the pages that `bitmap` names, whose first bit is page `first`. Whether one of them was in it. */
  clear(first: number, bitmap: Uint8Array): boolean {
    let any = false;
    const end = Math.min(this.#pages, first + 8 * bitmap.length);
    for (const { from, to } of this.#dirty.within(first, end)) {
      for (let page = from; page < to; page++) {
        const bit = page - first;
        if (((bitmap[bit >>> 3] ?? 0) & (1 << (bit & 7))) === 0) continue;
        this.#dirty.clear(page, page + 1);
        any = true;
      }
    }
    return any;
  }
}
