/**
 * A simulated x86-64 vCPU. It executes the instructions of the table in lib/guest/x64 from the bytes that a
 * {@link GuestBus} has, and stops where KVM_RUN would come back.
 */

import type { GuestBus } from '../vcpu/bus.ts';
import { type Block, Blocks } from './blocks.ts';
import { Cpuid, type CpuidEntry } from './cpuid.ts';
import { deliver, type Event } from './interrupts.ts';
import type { Machine } from './machine.ts';
import { Memory } from './memory.ts';
import { Mmu } from './mmu.ts';
import { Msrs } from './msrs.ts';
import * as registers from './registers.ts';
import type { Secure } from './secure.ts';
import { areValid, type Regs, readRegs, readSregs, type Sregs, writeRegs, writeSregs } from './sregs.ts';
import { CR0, CR4, State } from './state.ts';
import { EXCEPTION, NO_ERROR_CODE, STOPPED, type Stop } from './stop.ts';

const { at, EVENT, EVENT_REPEAT, EVENT_STOP, FLAG, OTHER_FLAGS, RIP_HIGH, RIP_LOW } = registers;

export interface X64CpuOptions {
  /** The time-stamp counter. Default: it counts executed instructions, so that runs can be repeated exactly. */
  readonly clock?: () => bigint;
  /**
   * KVM's emulator executes the guest, not a processor: then rip is behind an `out` at its exit, otherwise on it until the next run. Default
   * true.
   */
  readonly emulated?: boolean;
  /**
   * Bits of linear addresses that the host's processor has, which decide what addresses MSRs take. Default: as many as the guest uses, as
   * KVM did it before 6.13.
   */
  readonly linearBits?: 48 | 57;
  /** Of the task segment that a new vCPU has: 3 under SVM. Default 11. */
  readonly taskType?: 3 | 11;
}

const CR0_TYPE = 0x10n;
/** NW and CD. */
const CR0_CACHE = 0x6000_0000n;

/** What one block left to do. */
type Progress = 'go on' | 'stop';

export class X64Cpu {
  readonly #machine: Machine;
  readonly #blocks: Blocks;
  #executed = 0;
  /** Set where an instruction is under way: its block and its number in it. */
  #block: Block | undefined;
  #index = 0;

  constructor(options: X64CpuOptions = {}) {
    const state = new State(options.taskType);
    const emulated = options.emulated ?? true;
    const cpuid = new Cpuid();
    const mmu = new Mmu(state, emulated ? cpuid : undefined);
    const clock = options.clock ?? ((): bigint => BigInt(this.#executed));
    const memory = new Memory(state, mmu);
    const msrs = new Msrs(state, cpuid, clock, options.linearBits);
    this.#machine = { state, r: state.r, mmu, memory, msrs, cpuid, secure: undefined, emulated };
    this.#blocks = new Blocks(this.#machine);
  }

  /** Instructions executed since the vCPU was made; a batch of a repeated string instruction counts as one. */
  get executed(): number {
    return this.#executed;
  }

  getRegs(): Regs {
    return readRegs(this.#machine.state);
  }

  /** An instruction that waits for an answer is given up when rip changes, and starts anew otherwise. */
  setRegs(regs: Regs): void {
    const { state, memory } = this.#machine;
    const { rip } = this.getRegs();
    writeRegs(state, regs);
    if (regs.rip !== rip) memory.forgetAnswers();
    state.refresh();
  }

  getSregs(): Sregs {
    return readSregs(this.#machine.state);
  }

  /** False, and nothing changed, for what KVM_SET_SREGS refuses with EINVAL. */
  setSregs(sregs: Sregs): boolean {
    const { state, mmu, cpuid } = this.#machine;
    if (!areValid(sregs, cpuid)) return false;
    writeSregs(state, sregs);
    mmu.flush();
    return true;
  }

  /** What an INIT leaves: the state of a new vCPU, except the cache bits of cr0, cr8, the APIC's base and what cpuid 1 says of the processor. */
  init(): void {
    const { state, mmu, memory, cpuid } = this.#machine;
    const { cr0, cr8, apicBase } = state;
    state.reset();
    state.cr0 = CR0_TYPE | (cr0 & CR0_CACHE);
    state.cr8 = cr8;
    state.apicBase = apicBase;
    const signature = cpuid.entries.find((entry) => entry.function === 1)?.eax;
    if (signature !== undefined) state.r[registers.RDX] = signature;
    memory.forgetAnswers();
    state.refresh();
    mmu.flush();
  }

  setCpuid(entries: readonly CpuidEntry[]): void {
    this.#machine.cpuid.set(entries);
    this.#machine.mmu.flush();
  }

  getCpuid(): readonly CpuidEntry[] {
    return this.#machine.cpuid.entries;
  }

  /** Undefined for an MSR that does not exist. */
  getMsr(index: number): bigint | undefined {
    return this.#machine.msrs.get(index);
  }

  /** False for an MSR that does not exist, is read-only or does not take the value. */
  setMsr(index: number, value: bigint): boolean {
    const done = this.#machine.msrs.set(index, value, true);
    this.#machine.mmu.flush();
    return done;
  }

  /** Of the time-stamp counter, to the host's. */
  get tscOffset(): bigint {
    return this.#machine.msrs.tscOffset;
  }

  set tscOffset(value: bigint) {
    this.#machine.msrs.tscOffset = value;
  }

  /** Makes it the vCPU of a protected guest. Before its first instruction. */
  secure(secure: Secure): void {
    this.#machine.secure = secure;
  }

  /** One more MSR, without effect. */
  defineMsr(index: number, value: bigint): void {
    this.#machine.msrs.define(index, value);
  }

  /** Whether page-table entries are in use whose upper bits can say something about a page: paging with 64-bit entries. */
  get hasWideEntries(): boolean {
    const { cr0, cr4 } = this.#machine.state;
    return (cr0 & CR0.pg) !== 0n && (cr4 & CR4.pae) !== 0n;
  }

  /** Whether an external interrupt would be taken now (IF). */
  get interruptible(): boolean {
    return (at(this.#machine.r, OTHER_FLAGS) & FLAG.interrupt) !== 0;
  }

  /** Takes an external interrupt before the next instruction. Answers why that cannot be. */
  interrupt(bus: GuestBus, vector: number): Stop | undefined {
    this.#machine.mmu.attach(bus);
    return this.#deliver({ vector, errorCode: NO_ERROR_CODE, length: 0, resume: false });
  }

  /**
   * The answer to the last stop, before the next run: the bytes of a port or MMIO read, or eight bytes for rax after a
   * hypercall.
   */
  complete(data: Uint8Array): void {
    this.#machine.memory.answers.push(data.slice());
  }

  /** Whether the last stop was one part of an instruction's writes, and the next run gives another part. */
  get hasMoreWrites(): boolean {
    return this.#machine.memory.outgoing.length > 0;
  }

  /** Executes until something stops it, `budget` instructions at most. */
  run(bus: GuestBus, budget: number): Stop {
    const { memory, mmu, r } = this.#machine;
    const waiting = memory.outgoing.shift();
    if (waiting !== undefined) return waiting;
    mmu.attach(bus);
    memory.rewind();
    const end = this.#executed + budget;
    // RF is for the first instruction only; it remains if that one is not finished.
    const resume = at(r, OTHER_FLAGS) & FLAG.resume;
    r[OTHER_FLAGS] = at(r, OTHER_FLAGS) & ~FLAG.resume;
    const start = this.#executed;
    const stop = this.#runUntil(end);
    if (this.#executed === start) r[OTHER_FLAGS] = at(r, OTHER_FLAGS) | resume;
    return stop;
  }

  #runUntil(end: number): Stop {
    for (;;) {
      try {
        while (this.#executed < end) {
          if (this.#runBlock(end) === 'stop') return this.#takeStop();
        }
        return { kind: 'budget' };
      } catch (reason) {
        const stop = this.#recover(reason);
        if (stop !== undefined) return stop;
      }
    }
  }

  #runBlock(end: number): Progress {
    const { r, memory } = this.#machine;
    this.#block = undefined;
    r[EVENT] = 0;
    const block = this.#blocks.at(at(r, RIP_LOW), at(r, RIP_HIGH));
    const { operations } = block;
    this.#block = block;
    const answered = memory.answers.length > 0;
    // An answer is for one instruction only.
    const count = answered ? 1 : Math.min(operations.length, end - this.#executed);
    let i = 0;
    while (i < count) {
      this.#index = i;
      operations[i]?.();
      i++;
      if (at(r, EVENT) !== 0) break;
    }
    this.#executed += i;
    const event = at(r, EVENT);
    if ((event & EVENT_REPEAT) !== 0) this.#setRip(block, i - 1);
    else if (i < operations.length || !block.setsRip) this.#setRip(block, i);
    if (answered) memory.forgetAnswers();
    return (event & EVENT_STOP) === 0 ? 'go on' : 'stop';
  }

  #setRip(block: Block, index: number): void {
    const { r, state } = this.#machine;
    const sum = (block.ripLow >>> 0) + (block.offsets[index] ?? 0);
    r[RIP_LOW] = sum;
    r[RIP_HIGH] = sum > 0xffff_ffff && state.codeBits === 64 ? block.ripHigh + 1 : block.ripHigh;
  }

  #takeStop(): Stop {
    const { memory, state } = this.#machine;
    return memory.outgoing.shift() ?? state.stop;
  }

  /** After an instruction gave up: rip goes back to it, and its exception is delivered if it has one. */
  #recover(reason: unknown): Stop | undefined {
    const { memory, state } = this.#machine;
    if (reason !== STOPPED && reason !== EXCEPTION) throw reason;
    if (this.#block !== undefined) {
      this.#setRip(this.#block, this.#index);
      this.#executed += this.#index;
    }
    memory.rewind();
    if (reason === STOPPED) return state.stop;
    memory.forgetAnswers();
    const { vector, errorCode, trapLength: length } = state;
    const stop = this.#deliver({ vector, errorCode, length, resume: length === 0 });
    // An exception takes its time too, or a handler that faults at its first instruction would never use up a budget.
    if (stop === undefined) this.#executed++;
    return stop;
  }

  #deliver(event: Event): Stop | undefined {
    const { state, memory } = this.#machine;
    try {
      const delivered = deliver(this.#machine, event);
      // A frame that has no memory is lost; a table that has none cannot be read.
      memory.outgoing.length = 0;
      return delivered ? undefined : { kind: 'shutdown' };
    } catch (reason) {
      if (reason !== STOPPED) throw reason;
      const { stop } = state;
      return stop.kind === 'mmio' ? { kind: 'delivery', vector: event.vector, gpa: stop.gpa } : stop;
    }
  }
}
