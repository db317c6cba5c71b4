/**
 * Which pages of host memory a VM's page tables have: what is there is not looked up again by a read, which shows in the dirty log. Of pages
 * that go, those of the address space are noticed by its generations.
 */
import type { AddressSpace } from '../address-space.ts';
import { IntervalMap } from '../interval-map.ts';

export class MappedPages {
  readonly #space: AddressSpace;
  /** The address space's generation at which a gfn was mapped. */
  readonly #since = new IntervalMap<number>();

  constructor(space: AddressSpace) {
    this.#space = space;
  }

  has(gfn: number, hvaPage: number): boolean {
    const since = this.#since.get(gfn);
    return since !== undefined && since >= this.#space.invalidatedAt(hvaPage);
  }

  add(gfn: number): void {
    this.#since.set(gfn, gfn + 1, this.#space.generation);
  }

  zap(from = 0, to = Number.POSITIVE_INFINITY): void {
    this.#since.clear(from, to);
  }
}
