/**
 * Where a guest-physical page is: attributes, slot, guest_memfd or the process's own memory, in the order of the page fault handler.
 * arch/x86/kvm/mmu/mmu.c, kvm_mmu_faultin_pfn; virt/kvm/kvm_main.c, hva_to_pfn
 */
import { type AddressSpace, isPage } from '../address-space.ts';
import { EFAULT, EPERM } from '../errno.ts';
import { type Frame, frameAt, userPage } from '../physical.ts';
import type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';
import { MappedPages } from './mapped-pages.ts';
import type { MemslotTable } from './memslot-table.ts';
import type { Memslot } from './slot.ts';

const PROT_WRITE = 2;
const MMIO: BusMiss = { kind: 'mmio' };
/** The host address leads nowhere: KVM_RUN fails, and no exit says where. */
const UNREACHABLE: BusMiss = { kind: 'unreachable', errno: EFAULT };
/** Under pKVM: the page is there, and belongs to a protected guest. */
const NOT_OURS: BusMiss = { kind: 'unreachable', errno: EPERM };
const PRIVATE_FAULT: BusMiss = { kind: 'memory-fault', private: true, errno: EFAULT };
const SHARED_FAULT: BusMiss = { kind: 'memory-fault', private: false, errno: EFAULT };

export interface GuestMemoryParts {
  readonly slots: MemslotTable;
  /** kvm_mem_is_private. */
  readonly isPrivate: (gfn: number) => boolean;
  readonly space: AddressSpace;
  /** Whether the VM can have private memory at all. */
  readonly hasPrivate: boolean;
  /** See MachineOptions. */
  readonly emulated: boolean;
}

export class GuestMemory implements GuestBus {
  readonly #parts: GuestMemoryParts;
  #changes = 0;
  /** Pages that are known to be MMIO, each with the generation of the slots at which it was found to be. */
  readonly #mmio = new Map<number, number>();

  readonly #mapped: MappedPages;

  constructor(parts: GuestMemoryParts) {
    this.#parts = parts;
    this.#mapped = new MappedPages(parts.space);
  }

  /** The page tables lose what they have of [from, to). */
  zap(from?: number, to?: number): void {
    this.#mapped.zap(from, to);
  }

  get generation(): number {
    return this.#changes + this.#parts.space.generation;
  }

  /** A slot, an attribute or a page of a bound file is no longer what it was. */
  changed(): void {
    this.#changes++;
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const known = this.#parts.hasPrivate ? this.#knownMmio(gfn, this.isPrivate(gfn)) : undefined;
    return known ?? this.fault(gfn, access);
  }

  /** As `page` for a gpa that nothing is known of. */
  fault(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    // A software-protected guest cannot say which side it means: the attribute decides for it. kvm_mmu_do_page_fault
    return this.#find(gfn, access === 'write', this.isPrivate(gfn));
  }

  isPrivate(gfn: number): boolean {
    return this.#parts.hasPrivate && this.#parts.isPrivate(gfn);
  }

  slotAt(gfn: number): Memslot | undefined {
    return this.#parts.slots.at(gfn);
  }

  /** The page for a guest that says which side it means. */
  sided(gfn: number, write: boolean, isPrivate: boolean): Uint8Array | BusMiss {
    if (isPrivate !== this.isPrivate(gfn)) return isPrivate ? PRIVATE_FAULT : SHARED_FAULT;
    return this.#find(gfn, write, isPrivate);
  }

  /** Where a page lies that was just found on one side. */
  frameOf(gfn: number, isPrivate: boolean): Frame | undefined {
    const slot = this.slotAt(gfn);
    if (slot === undefined) return undefined;
    if (!isPrivate && !slot.gmemOnly) return frameAt(this.#parts.space, slot.hvaPage + gfn - slot.gfn);
    return slot.file === undefined ? undefined : { store: slot.file.pages, page: slot.filePage + gfn - slot.gfn };
  }

  /** The page as KVM itself maps it, through userspace_addr: kvm_vcpu_map. */
  hostPage(gfn: number, write: boolean): Uint8Array | undefined {
    const slot = this.slotAt(gfn);
    return slot === undefined ? undefined : userPage(this.#parts.space, slot.hvaPage + gfn - slot.gfn, write);
  }

  #find(gfn: number, write: boolean, isPrivate: boolean): Uint8Array | BusMiss {
    const { slots, hasPrivate } = this.#parts;
    const slot = slots.at(gfn);
    if (slot === undefined) {
      if (isPrivate) return PRIVATE_FAULT;
      if (hasPrivate) this.#mmio.set(gfn, slots.generation);
      return MMIO;
    }
    if (isPrivate && !slot.hasFile) return PRIVATE_FAULT;
    const page = this.#ofSlot(slot, gfn, write, isPrivate);
    if (page instanceof Uint8Array) this.#mmio.delete(gfn);
    return page;
  }

  #ofSlot(slot: Memslot, gfn: number, write: boolean, isPrivate: boolean): Uint8Array | BusMiss {
    const { emulated, space } = this.#parts;
    if (emulated) return this.#emulated(slot, gfn, write);
    if (isPrivate || slot.gmemOnly) {
      const page = slot.file?.page(slot.filePage + gfn - slot.gfn, write);
      return page ?? (isPrivate ? PRIVATE_FAULT : SHARED_FAULT);
    }
    if (write && slot.readOnly) return MMIO;
    const hvaPage = slot.hvaPage + gfn - slot.gfn;
    const page = userPage(space, hvaPage, write);
    if (page === undefined) return space.isTaken(hvaPage) ? NOT_OURS : UNREACHABLE;
    if (write || (!slot.readOnly && !this.#mapped.has(gfn, hvaPage) && this.#isWritable(hvaPage))) this.#log(slot, gfn);
    this.#mapped.add(gfn);
    return page;
  }

  /**
   * A gpa that was found to be MMIO is remembered, and a change of attributes is told to slots only: accesses go on as those to MMIO, which
   * is never private. Once slots have changed it is looked at again, still as shared. arch/x86/kvm/mmu/mmu.c, kvm_mmu_page_fault
   */
  #knownMmio(gfn: number, isPrivate: boolean): BusMiss | undefined {
    const since = this.#mmio.get(gfn);
    if (since === undefined) return undefined;
    if (since === this.#parts.slots.generation) return MMIO;
    return isPrivate ? SHARED_FAULT : undefined;
  }

  /** kvm_vcpu_read_guest and _write_guest: copies from and to the process's memory; what fails is taken for MMIO. */
  #emulated(slot: Memslot, gfn: number, write: boolean): Uint8Array | BusMiss {
    if (write && slot.readOnly) return MMIO;
    const found = this.#parts.space.resolve(slot.hvaPage + gfn - slot.gfn, write);
    if (!isPage(found)) return MMIO;
    if (write) this.#log(slot, gfn);
    return found;
  }

  /** A page that the process could write at once is mapped for writing also by a read, and counts as dirty. make_spte */
  #isWritable(page: number): boolean {
    const { space } = this.#parts;
    const vma = space.vmas.get(page);
    return vma !== undefined && (vma.prot & PROT_WRITE) !== 0 && (vma.shared || space.private.has(page));
  }

  #log(slot: Memslot, gfn: number): void {
    if (slot.logsDirty) this.#parts.slots.logOf(slot)?.mark(gfn - slot.gfn);
  }
}
