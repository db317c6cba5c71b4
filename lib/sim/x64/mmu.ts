/** From linear addresses to bytes: translation, the pages of the bus, and what has no bytes. */
import type { BusMiss, GuestBus } from '../vcpu/bus.ts';
import { Tlb } from '../vcpu/tlb.ts';
import { at, EVENT, EVENT_CODE } from './registers.ts';
import { CR0, type State } from './state.ts';
import { VECTOR } from './stop.ts';
import { type Access, type TableMemory, walk } from './walk.ts';

const NO_BUS: GuestBus = { generation: -1, page: () => ({ kind: 'mmio' }) };

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
  /** Pages that decoded blocks came from, as offsets in buffers: writes to them are noticed one by one. */
  readonly #code = new Map<ArrayBufferLike, Set<number>>();

  constructor(state: State) {
    this.state = state;
  }

  /** To be called before every run: the bus may have changed meanwhile. */
  attach(bus: GuestBus): void {
    const { cpl } = this.state;
    if (bus === this.#bus && bus.generation === this.#generation && cpl === this.#cpl) return;
    this.#bus = bus;
    this.#cpl = cpl;
    this.#generation = bus.generation;
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
    return walk(state, this, low, high, access);
  }

  /** The page of a linear address, or the guest-physical address of a place without memory. Throws when neither can be. */
  resolve(low: number, high: number, access: Access): DataView | number {
    const gfn = this.translate(low, high, access);
    const page = this.#page(gfn, access);
    if (page instanceof Uint8Array) {
      const view = viewOf(page);
      if (access === 'read') this.reads.set(low, high, view);
      else if (access === 'fetch') this.fetches.set(low, high, view);
      else if (!this.isCode(view)) this.writes.set(low, high, view);
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
    if (this.isCode(view)) r[EVENT] = at(r, EVENT) | EVENT_CODE;
  }

  isCode(view: DataView): boolean {
    return this.#code.get(view.buffer)?.has(view.byteOffset) === true;
  }

  /** From now on writes to this page are noticed. */
  addCode(view: DataView): void {
    const offsets = this.#code.get(view.buffer) ?? new Set<number>();
    this.#code.set(view.buffer, offsets);
    if (offsets.has(view.byteOffset)) return;
    offsets.add(view.byteOffset);
    // One of them may be this page.
    this.writes.flush();
  }

  tablePage(gfn: number): DataView | undefined {
    const page = this.#page(gfn, 'read', true);
    if (page instanceof Uint8Array) return viewOf(page);
    if (page.kind === 'mmio') return undefined;
    throw this.#stop(gfn, page);
  }

  setTableByte(gfn: number, offset: number, value: number): void {
    const page = this.#page(gfn, 'write', true);
    if (!(page instanceof Uint8Array)) return;
    page[offset] = value;
    this.written(viewOf(page));
  }
}
