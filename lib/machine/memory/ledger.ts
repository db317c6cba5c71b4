/** Which side each page is on, in ranges: costs what is fragmented, not what is large. */
import type { GuestRange, Side, SidedRange } from './words.ts';

/** What users see of it. */
export interface LedgerView {
  /** The side at `gpa`; undefined where there is no memory. */
  sideAt(gpa: number): Side | undefined;
  /** The parts of the range (default: everything) that have memory, in order, each as wide as it can be. */
  runs(range?: GuestRange): SidedRange[];
  /** Bytes on that side. */
  bytes(side: Side): number;
  /** Places at which the side changes: what the ledger costs. */
  readonly fragments: number;
}

export class Ledger implements LedgerView {
  /** Ascending; from `#starts[i]` to the next one the side is `#sides[i]`. Before the first there is nothing. */
  readonly #starts: number[] = [];
  readonly #sides: (Side | undefined)[] = [];

  get fragments(): number {
    return this.#starts.length;
  }

  /** Index of the last start that is not above `gpa`, or -1. */
  #indexAt(gpa: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= gpa) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  sideAt(gpa: number): Side | undefined {
    return this.#sides[this.#indexAt(gpa)];
  }

  /** Puts the range on a side; undefined means that it has no memory any more. */
  set({ gpa, size }: GuestRange, side: Side | undefined): void {
    if (size <= 0) return;
    const end = gpa + size;
    const before = this.sideAt(gpa - 1);
    const after = this.sideAt(end);
    // What starts within [gpa, end] goes; what is needed of it comes back.
    const from = this.#indexAt(gpa - 1) + 1;
    const to = this.#indexAt(end) + 1;
    const starts: number[] = [];
    const sides: (Side | undefined)[] = [];
    if (before !== side) {
      starts.push(gpa);
      sides.push(side);
    }
    if (after !== side) {
      starts.push(end);
      sides.push(after);
    }
    this.#starts.splice(from, to - from, ...starts);
    this.#sides.splice(from, to - from, ...sides);
  }

  runs(range?: GuestRange): SidedRange[] {
    const from = range?.gpa ?? 0;
    const end = range === undefined ? Number.POSITIVE_INFINITY : range.gpa + range.size;
    const found: SidedRange[] = [];
    for (let i = Math.max(0, this.#indexAt(from)); i < this.#starts.length; i++) {
      const start = Math.max(from, this.#starts[i] ?? 0);
      if (start >= end) break;
      const stop = Math.min(end, this.#starts[i + 1] ?? end);
      const side = this.#sides[i];
      if (side !== undefined && stop > start) found.push({ gpa: start, size: stop - start, side });
    }
    return found;
  }

  bytes(side: Side): number {
    let sum = 0;
    for (const run of this.runs()) if (run.side === side) sum += run.size;
    return sum;
  }
}
