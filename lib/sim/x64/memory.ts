/** Loads and stores by linear address, as fast as a hit in the TLB allows, with everything else behind it. */
import type { Mmu } from './mmu.ts';
import * as registers from './registers.ts';
import type { State } from './state.ts';
import { EXCEPTION, type MmioStop, VECTOR } from './stop.ts';

const { at, EVENT, EVENT_STOP, HIGH } = registers;

/** In the error code of a page fault. */
const WRITE_FAULT = 2;

export class Memory {
  readonly state: State;
  readonly mmu: Mmu;
  /** Writes without memory behind them that the vCPU has executed but not yet told. */
  readonly outgoing: MmioStop[] = [];
  /** What was answered to the reads of the instruction under way, in their order; it starts over after each answer. */
  readonly answers: Uint8Array[] = [];
  #nextAnswer = 0;
  readonly #scratch = new DataView(new ArrayBuffer(8));
  readonly #r: Int32Array;

  constructor(state: State, mmu: Mmu) {
    this.state = state;
    this.mmu = mmu;
    this.#r = state.r;
  }

  /** Loads 8 or 16 bits zero-extended, 32 bits signed, 64 bits with the upper half in HIGH. */
  load(low: number, high: number, size: number): number {
    const view = this.mmu.reads.find(low, high, size) ?? this.#behind(low, high, size, 'read');
    return this.#get(view, view === this.#scratch ? 0 : low & 4095, size);
  }

  /** As load, but first makes sure that the bytes can be written: for the first half of a read-modify-write. */
  loadForWrite(low: number, high: number, size: number): number {
    const view = this.mmu.writes.find(low, high, size);
    if (view !== undefined) return this.#get(view, low & 4095, size);
    this.probe(low, high, size);
    return this.load(low, high, size);
  }

  /**
   * As load, and makes sure afterwards that the bytes can be written. `judge`: what throws before their page is looked at. A page fault is one
   * of a write from the start. arch/x86/kvm/emulate.c, x86_emulate_insn
   */
  loadThenProbe(low: number, high: number, size: number, judge?: () => unknown): number {
    const value = this.#loadAsWrite(low, high, size);
    const upper = at(this.#r, HIGH);
    judge?.();
    this.probe(low, high, size);
    this.#r[HIGH] = upper;
    return value;
  }

  #loadAsWrite(low: number, high: number, size: number): number {
    try {
      return this.load(low, high, size);
    } catch (reason) {
      const { state } = this;
      if (reason === EXCEPTION && state.vector === VECTOR.page) state.errorCode |= WRITE_FAULT;
      throw reason;
    }
  }

  /** Throws where a store would. Places without memory are fine. */
  probe(low: number, high: number, size: number): void {
    if (this.mmu.writes.find(low, high, size) !== undefined) return;
    this.mmu.resolve(low, high, 'write');
    const rest = (low & 4095) + size - 4096;
    if (rest > 0) this.#next(low, high, size - rest, (l, h) => this.mmu.resolve(l, h, 'write'));
  }

  store(low: number, high: number, size: number, value: number, valueHigh: number): void {
    const view = this.mmu.writes.find(low, high, size);
    if (view === undefined) this.#storeSlowly(low, high, size, value, valueHigh);
    else this.#put(view, low & 4095, size, value, valueHigh);
  }

  #get(view: DataView, offset: number, size: number): number {
    const r = this.#r;
    if (size === 8) {
      r[HIGH] = view.getInt32(offset + 4, true);
      return view.getInt32(offset, true);
    }
    r[HIGH] = 0;
    if (size === 4) return view.getInt32(offset, true);
    return size === 1 ? view.getUint8(offset) : view.getUint16(offset, true);
  }

  #put(view: DataView, offset: number, size: number, value: number, valueHigh: number): void {
    if (size === 8) {
      view.setInt32(offset, value, true);
      view.setInt32(offset + 4, valueHigh, true);
    } else if (size === 4) view.setInt32(offset, value, true);
    else if (size === 1) view.setUint8(offset, value);
    else view.setUint16(offset, value, true);
  }

  /** Calls `then` with the linear address `by` bytes further, which starts another page. */
  #next<T>(low: number, high: number, by: number, then: (low: number, high: number) => T): T {
    const sum = (low >>> 0) + by;
    const wide = this.state.codeBits === 64;
    return then(sum | 0, wide && sum > 0xffff_ffff ? (high + 1) | 0 : high);
  }

  /** The page itself, or the scratch bytes with what was put together from two pages or answered from outside. */
  #behind(low: number, high: number, size: number, access: 'read'): DataView {
    const first = Math.min(size, 4096 - (low & 4095));
    const place = this.mmu.resolve(low, high, access);
    if (typeof place !== 'number' && first === size) return place;
    // Both pages are resolved before anything leaves the vCPU.
    const second = first === size ? undefined : this.#next(low, high, first, (l, h) => this.mmu.resolve(l, h, access));
    this.#collect(place, low & 4095, 0, first);
    if (second !== undefined) this.#collect(second, 0, first, size - first);
    return this.#scratch;
  }

  #collect(place: DataView | number, offset: number, to: number, length: number): void {
    if (typeof place === 'number') {
      const bytes = this.#answer({ kind: 'mmio', gpa: place, length, isWrite: false });
      for (let i = 0; i < length; i++) this.#scratch.setUint8(to + i, bytes[i] ?? 0);
    } else {
      for (let i = 0; i < length; i++) this.#scratch.setUint8(to + i, place.getUint8(offset + i));
    }
  }

  #answer(question: MmioStop): Uint8Array {
    const bytes = this.answers[this.#nextAnswer];
    if (bytes === undefined) throw this.state.abandon(question);
    this.#nextAnswer++;
    return bytes;
  }

  /** What was read from a port, or undefined when it has not been asked for. */
  takeAnswer(): Uint8Array | undefined {
    const bytes = this.answers[this.#nextAnswer];
    if (bytes !== undefined) this.#nextAnswer++;
    return bytes;
  }

  /** The instruction starts over. */
  rewind(): void {
    this.#nextAnswer = 0;
  }

  forgetAnswers(): void {
    this.answers.length = 0;
    this.#nextAnswer = 0;
  }

  #storeSlowly(low: number, high: number, size: number, value: number, valueHigh: number): void {
    const first = Math.min(size, 4096 - (low & 4095));
    const place = this.mmu.resolve(low, high, 'write');
    const second = first === size ? undefined : this.#next(low, high, first, (l, h) => this.mmu.resolve(l, h, 'write'));
    this.#put(this.#scratch, 0, size, value, valueHigh);
    this.#spread(place, low & 4095, 0, first);
    if (second !== undefined) this.#spread(second, 0, first, size - first);
  }

  #spread(place: DataView | number, offset: number, from: number, length: number): void {
    const bytes = new Uint8Array(this.#scratch.buffer, from, length);
    if (typeof place === 'number') {
      this.outgoing.push({ kind: 'mmio', gpa: place, length, isWrite: true, data: bytes.slice() });
      this.#r[EVENT] = at(this.#r, EVENT) | EVENT_STOP;
      return;
    }
    new Uint8Array(place.buffer, place.byteOffset + offset, length).set(bytes);
    this.mmu.written(place);
  }
}
