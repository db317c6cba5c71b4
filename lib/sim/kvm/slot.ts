/** A memslot, and what it may be bound to. */
import type { PageStore } from '../page-store.ts';

export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;
export const KVM_MEM_GUEST_MEMFD = 4;

/** The request, as the struct has it: nothing is rounded before it is checked. */
export interface RegionRequest {
  readonly slot: number;
  readonly flags: number;
  readonly gpa: bigint;
  readonly size: bigint;
  readonly hva: bigint;
  /** Only for KVM_SET_USER_MEMORY_REGION2; the older request has none of it and accepts fewer flags. */
  readonly file?: { readonly fd: number; readonly offset: bigint };
}

/** What a guest_memfd says of a range that a slot wants to bind. */
export interface BindableFile {
  /** Bytes. */
  readonly size: bigint;
  /** Created with GUEST_MEMFD_FLAG_MMAP: every guest access is served from the file. */
  readonly mappable: boolean;
  readonly pages: PageStore;
  /** Whether the host has the page too. Only files that convert in place say so page by page. */
  isShared?(page: number): boolean;
  /** True when a part of the pages [from, to) is bound already. */
  isBound(from: number, to: number): boolean;
  bind(from: number, to: number, slot: Memslot): void;
  unbind(from: number, to: number): void;
  /** The page as the guest gets it; undefined when the file has no such page. */
  page(filePage: number, write: boolean): Uint8Array | undefined;
}

/** Whether a slot serves shared accesses from a file in which the page is the guest's alone. */
export function servesNoShared(slot: Memslot | undefined, gfn: number): boolean {
  return slot?.gmemOnly === true && slot.file?.isShared?.(slot.filePage + gfn - slot.gfn) !== true;
}

/** What a slot is from its creation on. */
export interface MemslotOrigin {
  readonly id: number;
  readonly space: number;
  readonly gfn: number;
  readonly pages: number;
  readonly hva: bigint;
  readonly flags: number;
  readonly filePage: number;
  readonly file: BindableFile | undefined;
}

export class Memslot {
  readonly id: number;
  readonly space: number;
  readonly pages: number;
  readonly hva: bigint;
  /** The page number of hva. */
  readonly hvaPage: number;
  /** First page of the file; the file itself may be gone (closed) while the slot lives. */
  readonly filePage: number;
  /** KVM_MEMSLOT_GMEM_ONLY: shared accesses are served from the file as well. */
  readonly gmemOnly: boolean;
  gfn: number;
  flags: number;
  file: BindableFile | undefined;

  constructor(origin: MemslotOrigin) {
    this.id = origin.id;
    this.space = origin.space;
    this.gfn = origin.gfn;
    this.pages = origin.pages;
    this.hva = origin.hva;
    this.hvaPage = Number(origin.hva >> 12n);
    this.flags = origin.flags;
    this.filePage = origin.filePage;
    this.file = origin.file;
    this.gmemOnly = origin.file?.mappable ?? false;
  }

  /** Created with KVM_MEM_GUEST_MEMFD, whatever became of the file. */
  get hasFile(): boolean {
    return (this.flags & KVM_MEM_GUEST_MEMFD) !== 0;
  }

  get readOnly(): boolean {
    return (this.flags & KVM_MEM_READONLY) !== 0;
  }

  get logsDirty(): boolean {
    return (this.flags & KVM_MEM_LOG_DIRTY_PAGES) !== 0;
  }
}
