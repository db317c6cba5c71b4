/** Bytes by page number, for the few pages of a huge range that have any. */

const CHUNK_SHIFT = 512;

export class SparsePages {
  /** By page number / 512: so that clearing a range costs the chunks in it, not every page that there is. */
  readonly #chunks = new Map<number, Map<number, Uint8Array>>();
  #lastKey = -1;
  #last: Map<number, Uint8Array> | undefined;

  get(page: number): Uint8Array | undefined {
    const key = Math.floor(page / CHUNK_SHIFT);
    if (key !== this.#lastKey) {
      const chunk = this.#chunks.get(key);
      if (chunk === undefined) return undefined;
      this.#last = chunk;
      this.#lastKey = key;
    }
    return this.#last?.get(page);
  }

  set(page: number, bytes: Uint8Array): void {
    const key = Math.floor(page / CHUNK_SHIFT);
    let chunk = this.#chunks.get(key);
    if (chunk === undefined) {
      chunk = new Map();
      this.#chunks.set(key, chunk);
    }
    chunk.set(page, bytes);
  }

  /** Visits every page of [from, to) that has bytes, in no order. Pages may be removed meanwhile. */
  forEach(from: number, to: number, visit: (page: number, bytes: Uint8Array) => void): void {
    const first = Math.floor(from / CHUNK_SHIFT);
    const last = Math.ceil(to / CHUNK_SHIFT);
    if (last - first > this.#chunks.size) {
      for (const [key, chunk] of this.#chunks) if (key >= first && key < last) visitChunk(chunk, from, to, visit);
      return;
    }
    for (let key = first; key < last; key++) {
      const chunk = this.#chunks.get(key);
      if (chunk !== undefined) visitChunk(chunk, from, to, visit);
    }
  }

  delete(page: number): void {
    const key = Math.floor(page / CHUNK_SHIFT);
    const chunk = this.#chunks.get(key);
    if (chunk === undefined) return;
    chunk.delete(page);
    if (chunk.size > 0) return;
    this.#chunks.delete(key);
    this.#lastKey = -1;
    this.#last = undefined;
  }
}

function visitChunk(
  chunk: Map<number, Uint8Array>,
  from: number,
  to: number,
  visit: (page: number, bytes: Uint8Array) => void,
): void {
  for (const [page, bytes] of chunk) if (page >= from && page < to) visit(page, bytes);
}
