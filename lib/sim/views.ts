/**
 * Views: ArrayBuffers that alias mapped memory. The pages of the range move into one buffer, where everybody else finds them from then
 * on: mappings, read and write, the guest. A page can lie in one buffer only, and there at the offset of a whole page; so a view starts at
 * a page, ends at one (its buffer may be longer than asked for), and another view of the same pages is either the same buffer or refused.
 */
import { walk } from './access.ts';
import { type AddressSpace, addressOf, isPage } from './address-space.ts';
import { ENOMEM, EOPNOTSUPP } from './errno.ts';
import { PAGE_SIZE } from './page.ts';
import type { PageStore } from './page-store.ts';

interface View {
  readonly from: number;
  readonly to: number;
  readonly length: number;
  readonly buffer: ArrayBuffer;
  /** Where the pages are at home. */
  readonly homes: readonly Home[];
}

interface Home {
  readonly store: PageStore;
  readonly page: number;
  /** Place in the view, in pages. */
  readonly index: number;
}

export class Views {
  readonly #space: AddressSpace;
  #views: View[] = [];

  constructor(space: AddressSpace) {
    this.#space = space;
  }

  overlaps(from: number, to: number): boolean {
    return this.#views.some((view) => view.from < to && from < view.to);
  }

  /** The hva of bytes that lie in a view. Of mappings that share a view's buffer, the one that was viewed first. */
  addressOf({ buffer, byteOffset }: Uint8Array): number | undefined {
    const view = this.#views.length === 0 ? undefined : this.#views.find((one) => one.buffer === buffer);
    return view === undefined ? undefined : addressOf(view.from) + byteOffset;
  }

  /** How many of `bytes`, from the first on, the kernel can read (or write): less than all only where they lie in a view. */
  reach(bytes: Uint8Array, write: boolean): number {
    const address = this.addressOf(bytes);
    return address === undefined ? bytes.length : walk(this.#space, address, bytes.length, write, () => true).done;
  }

  /** RangeError when the range is not all mapped. */
  make(address: bigint, length: number): ArrayBuffer | number {
    const pages = Math.ceil((Number(address & 4095n) + length) / PAGE_SIZE);
    const first = address >> 12n;
    if (length === 0 || first + BigInt(pages) > BigInt(this.#space.endPage)) {
      throw new RangeError('view must have a length of at least 1 byte and lie inside the address space');
    }
    const from = Number(first);
    const to = from + pages;
    if (!this.#space.isMapped(from, to)) throw new RangeError('view is memory that is not mapped');
    this.#forgetMoved();
    const same = this.#views.find((view) => view.from === from && view.length === length);
    if (same !== undefined) return same.buffer;
    if (from === 0 || addressOf(from) !== Number(address)) return -EOPNOTSUPP;
    const homes = this.#homesOf(from, to);
    const buffer = sharedBuffer(homes, pages) ?? freshBuffer(homes, pages);
    if (typeof buffer === 'number') return buffer;
    for (const { store, page, index } of homes) store.tie(page, new Uint8Array(buffer, index * PAGE_SIZE, PAGE_SIZE));
    this.#views.push({ from, to, length, buffer, homes });
    return buffer;
  }

  /** Buffers that were moved away are nobody's view any more; reading a page of theirs makes the store notice. */
  #forgetMoved(): void {
    const moved = this.#views.filter(({ buffer }) => buffer.byteLength === 0);
    if (moved.length === 0) return;
    this.#views = this.#views.filter((view) => !moved.includes(view));
    for (const { homes } of moved) for (const { store, page } of homes) store.peek(page);
  }

  /** Pages that cannot be reached have no home: a view of them is memory that nobody else sees. */
  #homesOf(from: number, to: number): Home[] {
    const homes: Home[] = [];
    const space = this.#space;
    space.vmas.forEach(from, to, (start, end, vma) => {
      for (let page = start; page < end; page++) {
        if (!isPage(space.fault(vma, page, true))) continue;
        const index = page - from;
        if (!vma.shared) homes.push({ store: space.private, page, index });
        else if (vma.file?.pages !== undefined) homes.push({ store: vma.file.pages, page: page + vma.delta, index });
      }
    });
    return homes;
  }

  /** Detaches the buffers that [from, to) has a part in. */
  detach(from: number, to: number): void {
    const gone = this.#views.filter((view) => view.from < to && from < view.to);
    if (gone.length === 0) return;
    this.#views = this.#views.filter((view) => !gone.includes(view));
    for (const { homes, buffer } of gone) {
      for (const { store, page } of homes) store.untie(page);
      if (buffer.byteLength > 0 && !this.#views.some((view) => view.buffer === buffer)) detachBuffer(buffer);
    }
  }
}

/** The buffer in which the pages lie already, when it is just this one. */
function sharedBuffer(homes: readonly Home[], pages: number): ArrayBuffer | undefined {
  const first = homes[0];
  const buffer = first?.store.viewOf(first.page);
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== pages * PAGE_SIZE) return undefined;
  const same = homes.every(({ store, page, index }) => {
    const bytes = store.peek(page);
    return bytes.buffer === buffer && bytes.byteOffset === index * PAGE_SIZE;
  });
  return same ? buffer : undefined;
}

function freshBuffer(homes: readonly Home[], pages: number): ArrayBuffer | number {
  if (homes.some(({ store, page }) => store.viewOf(page) !== undefined)) return -EOPNOTSUPP;
  try {
    return new ArrayBuffer(pages * PAGE_SIZE);
  } catch {
    return -ENOMEM;
  }
}

function detachBuffer(buffer: ArrayBuffer): void {
  const transfer: unknown = Reflect.get(buffer, 'transfer');
  if (typeof transfer === 'function') Reflect.apply(transfer, buffer, [0]);
  else structuredClone(buffer, { transfer: [buffer] });
}
