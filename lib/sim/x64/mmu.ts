/** From linear addresses to bytes: translation, the pages of the bus, and what has no bytes. */
import type { BusMiss, GuestBus } from '../vcpu/bus.ts';
import { Tlb } from '../vcpu/tlb.ts';
import type { Cpuid } from './cpuid.ts';
import { at, EVENT, EVENT_CODE } from './registers.ts';
import { CR0, type State } from './state.ts';
import { VECTOR } from './stop.ts';
import { type Access, type TableMemory, walk } from './walk.ts';

const NO_BUS: GuestBus = { generation: -1, page: () => ({ kind: 'mmio' }) };

type Pages = Map<ArrayBufferLike, Set<number>>;

const has = (pages: Pages, { buffer, byteOffset }: DataView): boolean => pages.get(buffer)?.has(byteOffset) === true;

/** Whether the page was not among them. */
function add(pages: Pages, view: DataView): boolean {
  if (has(pages, view)) return false;
  const offsets = pages.get(view.buffer) ?? new Set<number>();
  pages.set(view.buffer, offsets.add(view.byteOffset));
  return true;
}

function viewOf(page: Uint8Array): DataView {
  return new DataView(page.buffer, page.byteOffset, 4096);
}

export class Mmu implements TableMemory {
  readonly state: State;
  readonly reads: Tlb = new Tlb();
  readonly writes: Tlb = new Tlb();
  readonly fetches: Tlb = new Tlb();
  /** Counts the times when earlier translations became void. */
  serial = 0;
  #bus: GuestBus = NO_BUS;
  #generation = -1;
  #cpl = 0;
  /**
   * KVM's emulator walks the guest's page tables anew for every access: what is kept here of them is void once they were written. Without
   * it, page tables are looked at again when a program says so, as on a processor.
   */
  readonly #rewalks: boolean;
  readonly #cpuid: Cpuid | undefined;
  /** Pages of the tables that translations came from, as offsets in buffers. */
  readonly #tables: Pages = new Map();
  /** Pages that decoded blocks came from, as offsets in buffers: writes to them are noticed one by one. */
  readonly #code: Pages = new Map();

  /** @param cpuid of the processor that KVM's emulator imitates; then `rewalks`. */
  constructor(state: State, cpuid?: Cpuid) {
    this.state = state;
    this.#cpuid = cpuid;
    this.#rewalks = cpuid !== undefined;
  }

  /** To be called before every run: the bus may have changed meanwhile. */
  attach(bus: GuestBus): void {
    const { cpl } = this.state;
    const paging = (this.state.cr0 & CR0.pg) !== 0n;
    const rewalks = this.#rewalks && paging;
    if (bus === this.#bus && bus.generation === this.#generation && cpl === this.#cpl && !rewalks) return;
    this.#bus = bus;
    this.#cpl = cpl;
    this.#generation = bus.generation;
    this.#tables.clear();
    this.flush();
  }

  flush(): void {
    this.reads.flush();
    this.writes.flush();
    this.fetches.flush();
    this.serial++;
  }

  #page(gfn: number, access: Access, table = false): Uint8Array | BusMiss {
    const bus = this.#bus;
    const page = table && bus.table !== undefined ? bus.table(gfn, access === 'write') : bus.page(gfn, access);
    // Making the page may have changed other answers (a zero page that got bytes of its own).
    if (this.#bus.generation !== this.#generation) {
      this.#generation = this.#bus.generation;
      this.flush();
    }
    return page;
  }

  /** The page frame of a linear address. Throws page faults and, for addresses that are not canonical, #GP. */
  translate(low: number, high: number, access: Access): number {
    const { state } = this;
    if ((state.cr0 & CR0.pg) === 0n) return low >>> 12;
    if (state.long) {
      const spare = 64 - state.linearBits;
      if ((high << spare) >> spare !== high) throw state.exception(VECTOR.protection, 0);
    }
    return walk(state, this, low, high, access, this.#cpuid?.paging);
  }

  /** The page of a linear address, or the guest-physical address of a place without memory. Throws when neither can be. */
  resolve(low: number, high: number, access: Access): DataView | number {
    const gfn = this.translate(low, high, access);
    const page = this.#page(gfn, access);
    if (page instanceof Uint8Array) {
      const view = viewOf(page);
      if (access === 'read') this.reads.set(low, high, view);
      else if (access === 'fetch') this.fetches.set(low, high, view);
      else if (!this.#isWatched(view)) this.writes.set(low, high, view);
      return view;
    }
    if (page.kind === 'mmio') return gfn * 4096 + (low & 4095);
    throw this.#stop(gfn, page);
  }

  #stop(gfn: number, miss: Exclude<BusMiss, { kind: 'mmio' }>) {
    const gpa = gfn * 4096;
    if (miss.kind === 'exception') return this.state.exception(miss.vector, miss.errorCode);
    if (miss.kind === 'retry') return this.state.abandon({ kind: 'retry' });
    if (miss.kind === 'unreachable') return this.state.abandon({ kind: 'unreachable', gpa, errno: miss.errno });
    return this.state.abandon({ kind: 'memory-fault', gpa, private: miss.private, errno: miss.errno });
  }

  /** Notes a write to decoded code: the executor then leaves the block. To be called after writing to a resolved page. */
  written(view: DataView): void {
    const { r } = this.state;
    const isTable = has(this.#tables, view);
    if (isTable) this.flush();
    if (isTable || this.isCode(view)) r[EVENT] = at(r, EVENT) | EVENT_CODE;
  }

  #isWatched(view: DataView): boolean {
    return this.isCode(view) || has(this.#tables, view);
  }

  isCode(view: DataView): boolean {
    return has(this.#code, view);
  }

  /** From now on writes to this page are noticed. */
  addCode(view: DataView): void {
    // One of them may be this page.
    if (add(this.#code, view)) this.writes.flush();
  }

  tablePage(gfn: number): DataView | undefined {
    const page = this.#page(gfn, 'read', true);
    if (page instanceof Uint8Array) {
      const view = viewOf(page);
      if (this.#rewalks && add(this.#tables, view)) this.writes.flush();
      return view;
    }
    if (page.kind === 'mmio') return undefined;
    throw this.#stop(gfn, page);
  }

  setTableByte(gfn: number, offset: number, value: number): void {
    const page = this.#page(gfn, 'write', true);
    if (!(page instanceof Uint8Array)) return;
    page[offset] = value;
    if (this.isCode(viewOf(page))) this.state.r[EVENT] = at(this.state.r, EVENT) | EVENT_CODE;
  }
}
