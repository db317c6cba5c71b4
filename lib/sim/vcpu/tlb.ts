/** What a linear page leads to, remembered for one kind of access. Direct-mapped: a lookup is three comparisons. */

const ENTRIES = 1024;
const INDEX = ENTRIES - 1;
/** No page address has this low bit. */
const EMPTY = 1;
const NOTHING = new DataView(new ArrayBuffer(0));

export class Tlb {
  readonly low: Int32Array = new Int32Array(ENTRIES).fill(EMPTY);
  readonly high: Int32Array = new Int32Array(ENTRIES);
  readonly views: DataView[] = Array.from({ length: ENTRIES }, () => NOTHING);
  #used = false;

  /** The page of the linear address, if all `size` bytes are in it. */
  find(low: number, high: number, size: number): DataView | undefined {
    const i = (low >>> 12) & INDEX;
    const hit = this.low[i] === (low & -4096) && this.high[i] === high && (low & 4095) + size <= 4096;
    return hit ? this.views[i] : undefined;
  }

  set(low: number, high: number, view: DataView): void {
    const i = (low >>> 12) & INDEX;
    this.low[i] = low & -4096;
    this.high[i] = high;
    this.views[i] = view;
    this.#used = true;
  }

  flush(): void {
    if (!this.#used) return;
    this.low.fill(EMPTY);
    // Views keep whole buffers alive.
    this.views.fill(NOTHING);
    this.#used = false;
  }
}
