/**
 * The memory of a protected VM under pKVM: a page of the host is donated to the guest at its first access and stays pinned until the VM is
 * gone; the guest may share it with the host. arch/arm64/kvm/mmu.c, pkvm_mem_abort; arch/arm64/kvm/hyp/nvhe/mem_protect.c
 */
import type { AddressSpace } from '../../address-space.ts';
import { EFAULT, EIO, ENOMEM, EPERM } from '../../errno.ts';
import { PAGE_SIZE } from '../../page.ts';
import type { PageOwner, PageStore } from '../../page-store.ts';
import type { Process } from '../../process.ts';
import type { BusMiss } from '../../vcpu/bus.ts';
import type { MemslotTable } from '../memslot-table.ts';
import type { VmMemory } from '../vm.ts';

const PROT_WRITE = 2;
const MMIO: BusMiss = { kind: 'mmio' };
const unreachable = (errno: number): BusMiss => ({ kind: 'unreachable', errno });

class Donated implements PageOwner {
  readonly #store: PageStore;
  readonly #page: number;
  readonly #changed: () => void;
  bytes: Uint8Array;
  exclusive = true;
  /** The kernel took it back: the guest cannot have this place any more. */
  poisoned = false;
  #detached = false;

  constructor(store: PageStore, page: number, changed: () => void) {
    this.#store = store;
    this.#page = page;
    this.#changed = changed;
    this.bytes = store.write(page);
    store.setOwner(page, this);
  }

  /** With `exclusive` changed, or for the last time. */
  announce(owned: boolean): void {
    if (!this.#detached && !this.poisoned) this.#store.setOwner(this.#page, owned ? this : undefined);
  }

  moved(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.#changed();
  }

  detached(): void {
    this.#detached = true;
  }

  reclaimed(): void {
    this.poisoned = true;
    this.bytes = new Uint8Array(PAGE_SIZE);
    this.#changed();
  }
}

export class ProtectedMemory implements VmMemory {
  readonly #slots: MemslotTable;
  readonly #process: Process;
  readonly #donated = new Map<number, Donated>();
  #changes = 0;

  constructor(slots: MemslotTable, process: Process) {
    this.#slots = slots;
    this.#process = process;
  }

  get generation(): number {
    // The host's mappings do not matter to what the guest has: there are no MMU notifiers for it.
    return this.#changes;
  }

  changed(): void {
    this.#changes++;
  }

  /** What the guest was given stays its own: there are no MMU notifiers for it. */
  zap(): void {}

  /** Whether the guest was given this place, or lost it. */
  has(gfn: number): boolean {
    return this.#donated.has(gfn);
  }

  page(gfn: number): Uint8Array | BusMiss {
    const donated = this.#donated.get(gfn);
    if (donated !== undefined) return donated.poisoned ? unreachable(EFAULT) : donated.bytes;
    const slot = this.#slots.at(gfn);
    return slot === undefined ? MMIO : this.#donate(gfn, slot.hvaPage + gfn - slot.gfn);
  }

  #donate(gfn: number, hostPage: number): Uint8Array | BusMiss {
    const { space, memlockLimit } = this.#process;
    if ((space.lockedPages + 1) * PAGE_SIZE > memlockLimit) return unreachable(ENOMEM);
    const home = findHome(space, hostPage);
    if (typeof home === 'number') return unreachable(home);
    const { store, page } = home;
    if (store.isTaken(page) || store.hasOwner(page)) return unreachable(EPERM);
    const donated = new Donated(store, page, () => this.changed());
    this.#donated.set(gfn, donated);
    space.chargeLocked(1);
    return donated.bytes;
  }

  /** MEM_SHARE of a page that the guest has: whether it was its own alone. */
  share(gfn: number): boolean {
    return this.#setExclusive(gfn, false);
  }

  unshare(gfn: number): boolean {
    return this.#setExclusive(gfn, true);
  }

  #setExclusive(gfn: number, exclusive: boolean): boolean {
    const donated = this.#donated.get(gfn);
    if (donated === undefined || donated.poisoned || donated.exclusive === exclusive) return false;
    donated.exclusive = exclusive;
    donated.announce(true);
    return true;
  }

  /** The VM is gone: what was the guest's alone is wiped, what it shared stays as it is, and all of it is the host's again. */
  tearDown(): void {
    for (const donated of this.#donated.values()) {
      if (donated.exclusive && !donated.poisoned) donated.bytes.fill(0);
      donated.announce(false);
    }
    this.#process.space.chargeLocked(-this.#donated.size);
    this.#donated.clear();
    this.changed();
  }
}

interface Home {
  readonly store: PageStore;
  readonly page: number;
}

/** pin_user_pages for writing and for long, of memory that can be swapped: anonymous memory and memfds. An errno when there is none. */
function findHome(space: AddressSpace, page: number): Home | number {
  const vma = space.vmas.get(page);
  if (vma === undefined || (vma.prot & PROT_WRITE) === 0 || vma.file?.pinnable === false) return EFAULT;
  const { file } = vma;
  if (file === undefined || !vma.shared) {
    const taken = space.private.isTaken(page);
    // A write fault brings the page in: a copy of the file's, if there is one.
    if (!taken && !(space.fault(vma, page, true) instanceof Uint8Array)) return EFAULT;
    return { store: space.private, page };
  }
  const filePage = page + vma.delta;
  if (file.pages === undefined) return EFAULT;
  if (!file.pages.isTaken(filePage) && !(space.fault(vma, page, true) instanceof Uint8Array)) return EFAULT;
  return file.swapBacked ? { store: file.pages, page: filePage } : EIO;
}
