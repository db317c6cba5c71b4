/** Which slots are bound to which pages of one guest_memfd. virt/kvm/guest_memfd.c */
import type { GuestMemfdFile } from '../files/guest-memfd.ts';
import { IntervalMap } from '../interval-map.ts';
import type { PageStore } from '../page-store.ts';
import type { BindableFile, Memslot } from './slot.ts';

export class GmemBindings implements BindableFile {
  readonly #file: GuestMemfdFile;
  readonly #slots = new IntervalMap<Memslot>();
  readonly #changed: () => void;
  #unsubscribe: (() => void) | undefined;

  /** @param changed called when pages that the guest may have are no longer what they were. */
  constructor(file: GuestMemfdFile, changed: () => void) {
    this.#file = file;
    this.#changed = changed;
  }

  get size(): bigint {
    return this.#file.size;
  }

  get mappable(): boolean {
    return this.#file.inode.mappable;
  }

  get pages(): PageStore {
    return this.#file.pages;
  }

  isBound(from: number, to: number): boolean {
    const range = this.#slots.rangeAt(from);
    return range.value !== undefined || range.to < to;
  }

  bind(from: number, to: number, slot: Memslot): void {
    this.#slots.set(from, to, slot);
    this.#unsubscribe ??= this.#file.pages.onInvalidate(this.#changed);
  }

  unbind(from: number, to: number): void {
    this.#slots.clear(from, to);
    if (this.#slots.size > 1 || this.#slots.get(0) !== undefined) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  isShared(page: number): boolean {
    return this.#file.inode.isShared(page);
  }

  page(filePage: number, write: boolean): Uint8Array | undefined {
    return this.#file.inode.guestPage(filePage, write);
  }

  /** kvm_gmem_release: the file is gone, the slots stay and point nowhere. */
  release(): void {
    const bound = this.#slots.within(0, Number.POSITIVE_INFINITY);
    for (const { value: slot } of bound) slot.file = undefined;
    this.#slots.clear(0, Number.POSITIVE_INFINITY);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    if (bound.length > 0) this.#changed();
  }
}
