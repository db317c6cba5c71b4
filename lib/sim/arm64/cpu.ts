/**
 * A simulated arm64 vCPU at EL1, translation off. It executes the instructions of the table in lib/guest/a64 from the bytes that a
 * {@link GuestBus} has, and stops where a processor would leave the guest.
 */
import type { GuestBus } from '../vcpu/bus.ts';
import { compile, siteOf } from './compile.ts';
import { JUMPED, type Machine, NEXT, type Operation } from './machine.ts';
import { finishLoad } from './memory.ts';
import { type AddressLimits, Mmu } from './mmu.ts';
import { addressOf, at, PC } from './registers.ts';
import { type Exception, State } from './state.ts';
import { EXCEPTION, STOPPED, type Stop } from './stop.ts';

const PAGE_WORDS = 1024;

/** The code of one page, as it was compiled. Each word is compared before it is executed: a host writes code without saying so. */
interface CodePage {
  readonly low: number;
  readonly high: number;
  words: Int32Array;
  readonly known: Int32Array;
  readonly operations: (Operation | undefined)[];
  serial: number;
}

/** More than any program has; then all is forgotten. */
const MOST_PAGES = 256;

export class A64Cpu {
  readonly state: State;
  readonly #machine: Machine;
  readonly #pages = new Map<number, CodePage>();
  #executed = 0;

  /** @param id of the vCPU, for MPIDR_EL1. */
  constructor(id: number, limits: AddressLimits) {
    this.state = new State(id);
    this.state.system.counter = () => BigInt(this.#executed);
    this.#machine = { state: this.state, r: this.state.r, mmu: new Mmu(this.state, limits) };
    this.state.reset();
  }

  /** Instructions executed since the vCPU was made. */
  get executed(): number {
    return this.#executed;
  }

  /** Goes past the instruction at the pc. */
  skip(): void {
    this.#setPc(addressLow(at(this.state.r, PC), 4), this.#carried(4));
  }

  #carried(by: number): number {
    const { r } = this.state;
    return at(r, PC + 1) + ((at(r, PC) >>> 0) + by > 0xffff_ffff ? 1 : 0);
  }

  #setPc(low: number, high: number): void {
    this.state.r[PC] = low;
    this.state.r[PC + 1] = high;
  }

  /** Gives the load at `word`, which stopped as an MMIO read, its bytes; the pc stays. */
  finishLoad(word: number, bytes: Uint8Array): void {
    const { r } = this.state;
    const site = siteOf(this.#machine, word, at(r, PC), at(r, PC + 1));
    if (site?.instruction.form.semantics === 'load' || site?.instruction.form.semantics === 'load-literal') {
      finishLoad(site, bytes);
    }
  }

  /** The instruction at the pc, for whoever has to finish it: the one that stopped last. */
  get stoppedAt(): number {
    return this.#stoppedAt;
  }
  #stoppedAt = 0;

  take(exception: Exception): void {
    this.state.take(exception);
  }

  /** Executes until something stops it, `budget` instructions at most. */
  run(bus: GuestBus, budget: number): Stop {
    const { mmu } = this.#machine;
    const { system } = this.state;
    mmu.attach(bus);
    const end = this.#executed + budget;
    while (this.#executed < end) {
      if (system.translates) return { kind: 'unknown', word: 0 };
      try {
        const stop = this.#runPage(end);
        if (stop !== undefined) return stop;
      } catch (reason) {
        if (reason === STOPPED) return this.state.stop;
        if (reason !== EXCEPTION) throw reason;
        this.state.take(this.state.exception);
        // An exception takes its time too, or a handler that faults at its first instruction would never use up a budget.
        this.#executed++;
      }
    }
    return { kind: 'budget' };
  }

  /** Runs inside one page of code. Undefined to go on with another, or when the budget is used up. */
  #runPage(end: number): Stop | undefined {
    const { r } = this.state;
    const page = this.#pageAt(at(r, PC), at(r, PC + 1));
    const { words, known, operations } = page;
    const { mmu } = this.#machine;
    const { serial } = page;
    let left = end - this.#executed;
    const before = left;
    let i = (at(r, PC) & 4095) >>> 2;
    try {
      while (left > 0) {
        const word = words[i] as number;
        let operation = operations[i];
        if (operation === undefined || known[i] !== word) operation = this.#compile(page, i, word);
        const signal = operation();
        left--;
        if (signal === NEXT) {
          i++;
          if (i < PAGE_WORDS && mmu.serial === serial) continue;
          break;
        }
        if (signal !== JUMPED) {
          this.#leave(page, i + 1);
          return this.state.system.translates ? { kind: 'unknown', word } : this.state.stop;
        }
        i = -1;
        const low = at(r, PC);
        const inside = (low & -4096) === page.low && at(r, PC + 1) === page.high && (low & 3) === 0;
        if (!inside || mmu.serial !== serial) break;
        i = (low & 4095) >>> 2;
      }
      if (i >= 0) this.#leave(page, i);
      return undefined;
    } catch (reason) {
      this.#leave(page, i);
      this.#stoppedAt = words[i] ?? 0;
      throw reason;
    } finally {
      this.#executed += before - left;
    }
  }

  /** The pc at word `index` of the page, or right behind the page. */
  #leave(page: CodePage, index: number): void {
    const sum = (page.low >>> 0) + 4 * index;
    this.#setPc(sum, page.high + (sum > 0xffff_ffff ? 1 : 0));
  }

  #compile(page: CodePage, index: number, word: number): Operation {
    const operation = compile(this.#machine, word, (page.low + 4 * index) | 0, page.high);
    page.known[index] = word;
    page.operations[index] = operation;
    return operation;
  }

  #pageAt(low: number, high: number): CodePage {
    const { mmu } = this.#machine;
    const number = Math.floor(addressOf(low, high) / 4096);
    const known = this.#pages.get(number);
    if (known !== undefined && known.serial === mmu.serial && (low & 3) === 0) return known;
    const bytes = mmu.fetch(low, high);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_WORDS);
    if (known !== undefined) {
      known.words = words;
      known.serial = mmu.serial;
      return known;
    }
    if (this.#pages.size >= MOST_PAGES) this.#pages.clear();
    const operations = new Array<Operation | undefined>(PAGE_WORDS).fill(undefined);
    const page = { low: low & -4096, high, words, known: new Int32Array(PAGE_WORDS), operations, serial: mmu.serial };
    this.#pages.set(number, page);
    return page;
  }
}

const addressLow = (low: number, by: number): number => ((low >>> 0) + by) | 0;
