/**
 * Where a guest-physical page is: attributes, slot, guest_memfd or the process's own memory, in the order of the page fault handler.
 * arch/x86/kvm/mmu/mmu.c, kvm_mmu_faultin_pfn; virt/kvm/kvm_main.c, hva_to_pfn
 */
import { type AddressSpace, isPage } from '../address-space.ts';
import { EFAULT, EPERM } from '../errno.ts';
import type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';
import type { MemoryAttributes } from './attributes.ts';
import type { MemslotTable } from './memslot-table.ts';
import type { Memslot } from './slot.ts';

const PROT_READ = 1;
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
  readonly attributes: MemoryAttributes;
  readonly space: AddressSpace;
  /** Whether the VM can have private memory at all. */
  readonly hasPrivate: boolean;
  /** See MachineOptions. */
  readonly emulated: boolean;
}

export class GuestMemory implements GuestBus {
  readonly #parts: GuestMemoryParts;
  #changes = 0;

  constructor(parts: GuestMemoryParts) {
    this.#parts = parts;
  }

  get generation(): number {
    return this.#changes + this.#parts.space.generation;
  }

  /** A slot, an attribute or a page of a bound file is no longer what it was. */
  changed(): void {
    this.#changes++;
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const { slots, attributes, hasPrivate, emulated } = this.#parts;
    const slot = slots.at(gfn);
    // A software-protected guest cannot say which side it means: the attribute decides for it. kvm_mmu_do_page_fault
    const isPrivate = hasPrivate && attributes.isPrivate(gfn);
    if (slot === undefined) return isPrivate ? PRIVATE_FAULT : MMIO;
    if (isPrivate && !slot.hasFile) return PRIVATE_FAULT;
    const write = access === 'write';
    if (emulated) return this.#emulated(slot, gfn, write);
    if (isPrivate || slot.gmemOnly) {
      const page = slot.file?.page(slot.filePage + gfn - slot.gfn, write);
      return page ?? (isPrivate ? PRIVATE_FAULT : SHARED_FAULT);
    }
    if (write && slot.readOnly) return MMIO;
    const hostPage = slot.hvaPage + gfn - slot.gfn;
    const page = this.#hostPage(hostPage, write);
    if (page === undefined) return this.#parts.space.isTaken(hostPage) ? NOT_OURS : UNREACHABLE;
    if (write) this.#log(slot, gfn);
    return page;
  }

  /** kvm_vcpu_read_guest and _write_guest: copies from and to the process's memory; what fails is taken for MMIO. */
  #emulated(slot: Memslot, gfn: number, write: boolean): Uint8Array | BusMiss {
    if (write && slot.readOnly) return MMIO;
    const found = this.#parts.space.resolve(slot.hvaPage + gfn - slot.gfn, write);
    if (!isPage(found)) return MMIO;
    if (write) this.#log(slot, gfn);
    return found;
  }

  #log(slot: Memslot, gfn: number): void {
    if (slot.logsDirty) this.#parts.slots.logOf(slot)?.mark(gfn - slot.gfn);
  }

  /** get_user_pages: asks the mapping for the right; secret memory is never given. */
  #hostPage(page: number, write: boolean): Uint8Array | undefined {
    const { space } = this.#parts;
    const vma = space.vmas.get(page);
    if (vma === undefined || (vma.prot & (write ? PROT_WRITE : PROT_READ)) === 0) return undefined;
    if (vma.file?.pinnable === false) return undefined;
    const found = space.fault(vma, page, write);
    return isPage(found) ? found : undefined;
  }
}
