/** From addresses to bytes with translation off: addresses are guest-physical, memory is Device memory, accesses are aligned. */
import type { BusMiss, GuestBus } from '../vcpu/bus.ts';
import { Tlb } from '../vcpu/tlb.ts';
import { addressOf, at, HIGH } from './registers.ts';
import { EL0T, type State } from './state.ts';
import { type Abandoned, CLASS, STATUS } from './stop.ts';

const NO_BUS: GuestBus = { generation: -1, page: () => ({ kind: 'mmio' }) };
const WRITE = 1 << 6;

/** What an access without memory behind it needs for its exit. */
export interface Described {
  readonly size: number;
  readonly described: boolean;
  /** Bytes of a store, low and high. */
  readonly low?: number;
  readonly high?: number;
}

export interface AddressLimits {
  /** Of the VM: beyond, KVM injects an external abort. */
  readonly ipaBits: number;
  /** Of the machine: beyond, it is an address size fault. */
  readonly physicalBits: number;
}

const viewOf = (page: Uint8Array): DataView => new DataView(page.buffer, page.byteOffset, 4096);

export class Mmu {
  readonly reads: Tlb = new Tlb();
  readonly writes: Tlb = new Tlb();
  readonly #state: State;
  readonly #limits: AddressLimits;
  #bus: GuestBus = NO_BUS;
  #generation = -1;
  /** Counts the times when earlier answers became void. */
  serial = 0;

  constructor(state: State, limits: AddressLimits) {
    this.#state = state;
    this.#limits = limits;
  }

  /** To be called before every run: the bus may have changed meanwhile. */
  attach(bus: GuestBus): void {
    if (bus === this.#bus && bus.generation === this.#generation) return;
    this.#bus = bus;
    this.#generation = bus.generation;
    this.#flush();
  }

  #flush(): void {
    this.reads.flush();
    this.writes.flush();
    this.serial++;
  }

  #page(gpa: number, access: 'read' | 'write' | 'fetch'): Uint8Array | BusMiss {
    const page = this.#bus.page(Math.floor(gpa / 4096), access);
    // A write may have made the common zero page a page of its own.
    if (this.#bus.generation !== this.#generation) {
      this.#generation = this.#bus.generation;
      this.#flush();
    }
    return page;
  }

  /** The page of an address, for reading `size` bytes. Throws what there is to say when it has none. */
  read(low: number, high: number, described: Described): DataView {
    return this.#resolve(low, high, described, false);
  }

  write(low: number, high: number, described: Described): DataView {
    return this.#resolve(low, high, described, true);
  }

  /** As `write`, remembered answers first. */
  forStore(low: number, high: number, what: Described): DataView {
    const hit = (low & (what.size - 1)) === 0 ? this.writes.find(low, high, 1) : undefined;
    return hit ?? this.write(low, high, what);
  }

  #resolve(low: number, high: number, what: Described, write: boolean): DataView {
    this.#judge(low, high, what.size, write);
    const gpa = addressOf(low, high);
    const page = this.#page(gpa, write ? 'write' : 'read');
    if (!(page instanceof Uint8Array)) throw this.#miss(page, gpa, what, write);
    const view = viewOf(page);
    (write ? this.writes : this.reads).set(low, high, view);
    return view;
  }

  #judge(low: number, high: number, size: number, write: boolean): void {
    const flag = write ? WRITE : 0;
    if ((low & (size - 1)) !== 0) throw this.dataAbort(low, high, STATUS.alignment | flag);
    const address = addressOf(low, high);
    if (address >= 2 ** this.#limits.physicalBits) throw this.dataAbort(low, high, STATUS.addressSize | flag);
    // inject_abt64 says nothing of the direction.
    if (address >= 2 ** this.#limits.ipaBits) throw this.dataAbort(low, high, STATUS.external);
  }

  dataAbort(low: number, high: number, syndrome: number): Abandoned {
    return this.#abort(CLASS.dataAbort, low, high, syndrome);
  }

  #abort(number: number, low: number, high: number, syndrome: number): Abandoned {
    const address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    const fromEl0 = this.#state.mode === EL0T ? 1 : 0;
    return this.#state.raise({ class: number - fromEl0, syndrome, address });
  }

  #miss(miss: BusMiss, gpa: number, { size, described, low = 0, high = 0 }: Described, write: boolean): Abandoned {
    const state = this.#state;
    if (miss.kind === 'memory-fault') return state.abandon({ ...miss, gpa: Math.floor(gpa / 4096) * 4096 });
    if (miss.kind === 'unreachable') return state.abandon({ ...miss, gpa });
    if (!write) return state.abandon({ kind: 'mmio', gpa, length: size, isWrite: false, described });
    const data = new Uint8Array(8);
    const view = new DataView(data.buffer);
    view.setInt32(0, low, true);
    view.setInt32(4, high, true);
    return state.abandon({ kind: 'mmio', gpa, length: size, isWrite: true, data: data.subarray(0, size), described });
  }

  /** The page of code. No memory there is an external abort: the host could do nothing about it. kvm_handle_guest_abort */
  fetch(low: number, high: number): Uint8Array {
    if ((low & 3) !== 0) {
      const pc = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
      throw this.#state.raise({ class: CLASS.pcAlignment, syndrome: 0, address: pc });
    }
    const address = addressOf(low, high);
    if (address >= 2 ** this.#limits.physicalBits) {
      throw this.#abort(CLASS.instructionAbort, low, high, STATUS.addressSize);
    }
    const page = address >= 2 ** this.#limits.ipaBits ? undefined : this.#page(address, 'fetch');
    if (page instanceof Uint8Array) return page;
    if (page === undefined || page.kind === 'mmio') {
      throw this.#abort(CLASS.instructionAbort, low, high, STATUS.external);
    }
    throw this.#miss(page, address, { size: 4, described: false }, false);
  }

  /** `size` bytes at an address whose upper half is in HIGH; the upper half of 8 bytes goes to HIGH. */
  load(low: number, what: Described): number {
    const r = this.#state.r;
    const high = at(r, HIGH);
    const { size } = what;
    const hit = (low & (size - 1)) === 0 ? this.reads.find(low, high, 1) : undefined;
    const view = hit ?? this.read(low, high, what);
    const offset = low & 4095;
    if (size === 8) {
      r[HIGH] = view.getInt32(offset + 4, true);
      return view.getInt32(offset, true);
    }
    r[HIGH] = 0;
    if (size === 4) return view.getInt32(offset, true);
    return size === 1 ? view.getUint8(offset) : view.getUint16(offset, true);
  }
}
