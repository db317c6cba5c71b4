/**
 * The memslots of one VM: what KVM_SET_USER_MEMORY_REGION and its successor do once the request itself is in order, in the kernel's order,
 * and what covers a gpa. virt/kvm/kvm_main.c, kvm_set_memory_region; virt/kvm/guest_memfd.c, kvm_gmem_bind.
 */
import { EBADF, EEXIST, EINVAL } from '../errno.ts';
import { IntervalMap } from '../interval-map.ts';
import { PAGE_SHIFT } from '../page.ts';
import { DirtyLog } from './dirty-log.ts';
import type { SlotChange, SlotPlan } from './machine.ts';
import {
  type BindableFile,
  KVM_MEM_GUEST_MEMFD,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  Memslot,
  type RegionRequest,
} from './slot.ts';
import { checkRequest, type RequestRules } from './slot-checks.ts';

/** What differs between kernels and VM types. */
export interface SlotRules extends RequestRules {
  /** What the architecture says last: 0, or a negated errno. */
  readonly prepare: (change: SlotChange, plan: SlotPlan) => number;
  /** Since 7.2 EEXIST, tested after the architecture's checks; before EINVAL, tested with the file. */
  readonly boundIsExist: boolean;
  /** Up to 7.1 offset and size are compared as signed numbers, so an offset near 2^63 passes. */
  readonly signedFileCheck: boolean;
  /** Whether a log begins with all pages in it. */
  readonly logsBeginFull: () => boolean;
  /** Called before a slot's place is taken from it. */
  readonly zap: (from: number, to: number) => void;
  /**
   * Finds the file of a descriptor: undefined when it is not open, null when it is no guest_memfd of this VM, a negated errno when it is refused
   * for another reason.
   */
  readonly fileOf: (fd: number) => BindableFile | undefined | null | number;
}

const MAX_ID = 0xffff;

/** One address space: by id, and by gfn, where two slots never overlap. */
class Space {
  readonly byId = new Map<number, Memslot>();
  readonly byGfn = new IntervalMap<Memslot>();

  /** Whether a slot other than `except` reaches into the range. */
  isTaken(gfn: number, pages: number, except?: Memslot): boolean {
    const end = gfn + pages;
    for (let at = gfn; at < end; ) {
      const range = this.byGfn.rangeAt(at);
      if (range.value !== undefined && range.value !== except) return true;
      at = range.to;
    }
    return false;
  }

  place(slot: Memslot): void {
    this.byGfn.set(slot.gfn, slot.gfn + slot.pages, slot);
  }

  remove(slot: Memslot): void {
    this.byGfn.clear(slot.gfn, slot.gfn + slot.pages);
  }
}

export class MemslotTable {
  readonly #rules: SlotRules;
  readonly #spaces: readonly Space[];
  readonly #logs = new Map<Memslot, DirtyLog>();
  readonly #changed: (removed?: Memslot) => void;
  #generation = 0;

  /** @param changed called after every change of what a gpa means, with the slot that was deleted, if one was. */
  constructor(rules: SlotRules, changed: (removed?: Memslot) => void) {
    this.#rules = rules;
    this.#changed = (removed) => {
      this.#generation++;
      changed(removed);
    };
    this.#spaces = Array.from({ length: rules.addressSpaces }, () => new Space());
  }

  /** Counts changes. */
  get generation(): number {
    return this.#generation;
  }

  /** `slot` as requests have it: id in the low 16 bits, address space in the high ones. */
  byId(slot: number): Memslot | undefined {
    return this.#spaces[slot >>> 16]?.byId.get(slot & MAX_ID);
  }

  forEach(visit: (slot: Memslot) => void): void {
    for (const { byId } of this.#spaces) for (const slot of byId.values()) visit(slot);
  }

  at(gfn: number): Memslot | undefined {
    return this.#spaces[0]?.byGfn.get(gfn);
  }

  /** The log of a slot, while one is kept. */
  logOf(slot: Memslot): DirtyLog | undefined {
    return this.#logs.get(slot);
  }

  /** 0 or a negated errno. */
  set(request: RegionRequest): number {
    const refused = checkRequest(request, this.#rules);
    const space = this.#spaces[request.slot >>> 16];
    if (refused !== 0 || space === undefined) return refused === 0 ? -EINVAL : refused;
    const old = space.byId.get(request.slot & MAX_ID);
    if (request.size === 0n) return old === undefined ? -EINVAL : this.#delete(old, space);
    return old === undefined ? this.#create(request, space) : this.#change(request, old, space);
  }

  #delete(slot: Memslot, space: Space): number {
    const unfit = this.#rules.prepare('delete', planOf(slot, slot.gfn, slot.flags));
    if (unfit !== 0) return unfit;
    this.#rules.zap(slot.gfn, slot.gfn + slot.pages);
    space.remove(slot);
    space.byId.delete(slot.id);
    this.#logs.delete(slot);
    slot.file?.unbind(slot.filePage, slot.filePage + slot.pages);
    this.#changed(slot);
    return 0;
  }

  #create(request: RegionRequest, space: Space): number {
    const gfn = Number(request.gpa >> PAGE_SHIFT);
    const pages = Number(request.size >> PAGE_SHIFT);
    if (space.isTaken(gfn, pages)) return -EEXIST;
    const filePage = Number((request.file?.offset ?? 0n) >> PAGE_SHIFT);
    const file = this.#fileFor(request, filePage, pages);
    if (typeof file === 'number') return file;
    const { flags, hva } = request;
    const unfit = this.#rules.prepare('create', { gfn, pages, flags, mappable: file?.mappable });
    if (unfit !== 0) return unfit;
    if (file?.isBound(filePage, filePage + pages)) return -EEXIST;
    const id = request.slot & MAX_ID;
    const slot = new Memslot({ id, space: request.slot >>> 16, gfn, pages, hva, flags, filePage, file });
    file?.bind(filePage, filePage + pages, slot);
    if (slot.logsDirty) this.#beginLog(slot);
    space.byId.set(id, slot);
    space.place(slot);
    this.#changed();
    return 0;
  }

  #beginLog(slot: Memslot): void {
    const log = new DirtyLog(slot.pages);
    if (this.#rules.logsBeginFull()) log.markAll();
    this.#logs.set(slot, log);
  }

  /** The file to bind, undefined when none is asked for, or a negated errno. */
  #fileFor({ flags, file, size }: RegionRequest, filePage: number, pages: number): BindableFile | undefined | number {
    if ((flags & KVM_MEM_GUEST_MEMFD) === 0 || file === undefined) return undefined;
    const found = this.#rules.fileOf(file.fd);
    if (typeof found === 'number') return found;
    if (found === undefined) return -EBADF;
    if (found === null || this.#isBeyond(file.offset, size, found.size)) return -EINVAL;
    return !this.#rules.boundIsExist && found.isBound(filePage, filePage + pages) ? -EINVAL : found;
  }

  #isBeyond(offset: bigint, size: bigint, fileSize: bigint): boolean {
    if (!this.#rules.signedFileCheck) return offset + size > fileSize;
    return BigInt.asIntN(64, offset) < 0n || BigInt.asIntN(64, offset + size) > fileSize;
  }

  #change(request: RegionRequest, old: Memslot, space: Space): number {
    const { flags, hva } = request;
    if ((flags & KVM_MEM_GUEST_MEMFD) !== 0) return -EINVAL;
    const pages = Number(request.size >> PAGE_SHIFT);
    const fixed = KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD;
    if (hva !== old.hva || pages !== old.pages || ((flags ^ old.flags) & fixed) !== 0) return -EINVAL;
    const gfn = Number(request.gpa >> PAGE_SHIFT);
    if (gfn === old.gfn && flags === old.flags) return 0;
    if (gfn !== old.gfn) {
      if (space.isTaken(gfn, pages, old)) return -EEXIST;
    }
    const unfit = this.#rules.prepare(gfn === old.gfn ? 'flags' : 'move', planOf(old, gfn, flags));
    if (unfit !== 0) return unfit;
    if (gfn !== old.gfn) {
      this.#rules.zap(old.gfn, old.gfn + pages);
      space.remove(old);
      old.gfn = gfn;
      space.place(old);
    }
    // A log that goes on keeps what it has, also when the slot moves.
    if ((flags & KVM_MEM_LOG_DIRTY_PAGES) === 0) this.#logs.delete(old);
    else if (!this.#logs.has(old)) this.#beginLog(old);
    old.flags = flags;
    this.#changed();
    return 0;
  }
}

/** The slot with another place or other flags. */
const planOf = (slot: Memslot, gfn: number, flags: number): SlotPlan => ({
  gfn,
  pages: slot.pages,
  flags,
  mappable: slot.hasFile ? slot.gmemOnly : undefined,
});
