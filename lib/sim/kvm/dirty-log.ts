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

  /** One bit per page, lowest first, in words of 64 bits; the log is empty afterwards. `any` says whether something was written. */
  take(): { readonly bitmap: Uint8Array; readonly any: boolean } {
    const bitmap = new Uint8Array(Math.ceil(this.#pages / 64) * 8);
    const any = this.#dirty.size > 1 || this.#dirty.get(0) === true;
    this.#dirty.forEach(0, this.#pages, (from, to) => {
      for (let page = from; page < to; page++) bitmap[page >>> 3] = (bitmap[page >>> 3] ?? 0) | (1 << (page & 7));
    });
    this.#dirty.clear(0, this.#pages);
    return { bitmap, any };
  }
}
