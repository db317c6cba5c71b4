/** Ranges of an address space, each with a value: the newest one covers what was there. Few at a time, so a sorted list does. */

export interface Interval<T> {
  readonly from: number;
  /** First byte after it. */
  readonly to: number;
  /** What `from` of the range that this is a part of was when it was set. */
  readonly origin: number;
  readonly value: T;
}

export class Intervals<T> {
  #list: Interval<T>[] = [];

  /** Index of the first interval that ends after `address`. */
  #search(address: number): number {
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#list[middle]?.to ?? 0) > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  set(from: number, to: number, value: T): void {
    this.delete(from, to);
    this.#list.splice(this.#search(from), 0, { from, to, origin: from, value });
  }

  /** Returns the parts that were there. */
  delete(from: number, to: number): Interval<T>[] {
    const start = this.#search(from);
    let end = start;
    const removed: Interval<T>[] = [];
    const kept: Interval<T>[] = [];
    for (let at = this.#list[end]; at !== undefined && at.from < to; at = this.#list[++end]) {
      removed.push({ ...at, from: Math.max(at.from, from), to: Math.min(at.to, to) });
      if (at.from < from) kept.push({ ...at, to: from });
      if (at.to > to) kept.push({ ...at, from: to });
    }
    this.#list.splice(start, end - start, ...kept);
    return removed;
  }

  at(address: number): Interval<T> | undefined {
    const found = this.#list[this.#search(address)];
    return found !== undefined && found.from <= address ? found : undefined;
  }

  /** Whether every byte of the range is in some interval. */
  covers(from: number, to: number): boolean {
    let reached = from;
    for (let i = this.#search(from); reached < to; i++) {
      const next = this.#list[i];
      if (next === undefined || next.from > reached) return false;
      reached = next.to;
    }
    return true;
  }

  overlaps(from: number, to: number): boolean {
    const found = this.#list[this.#search(from)];
    return found !== undefined && found.from < to;
  }

  all(): readonly Interval<T>[] {
    return this.#list;
  }
}
