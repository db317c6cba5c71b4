/** Delivery of exceptions and interrupts through the table that the guest set up. */
import type { Machine } from './machine.ts';
import { at, FLAG, getFlags, getPair, HIGH, RIP_HIGH, RIP_LOW, RSP, setFlags, setPair } from './registers.ts';
import { asSupervisor, linearAt, markAccessed, readDescriptor } from './segments.ts';
import { push } from './stack.ts';
import { SEGMENT, type Segment } from './state.ts';
import { EXCEPTION, NO_ERROR_CODE, VECTOR } from './stop.ts';

export interface Event {
  readonly vector: number;
  readonly errorCode: number;
  /** Where the frame points, relative to rip. */
  readonly length: number;
  /** Set in the flags of the frame for faults, so that the instruction is not faulted twice by a debugger. */
  readonly resume: boolean;
}

const CONTRIBUTORY: ReadonlySet<number> = new Set([VECTOR.divide, 10, 11, 12, 13]);

/**
 * Delivers an event; what goes wrong meanwhile becomes a double fault. Answers false for a triple fault: nothing but
 * RF has changed then. Throws (see stop.ts) when the vCPU has to stop instead.
 */
export function deliver(machine: Machine, event: Event): boolean {
  const { state, r } = machine;
  const { cr2 } = state;
  let current = event;
  const flags = getFlags(r);
  if (event.resume) setFlags(r, flags | FLAG.resume);
  for (;;) {
    try {
      asSupervisor(machine, () => enter(machine, current));
      return true;
    } catch (reason) {
      if (reason !== EXCEPTION) {
        setFlags(r, flags);
        throw reason;
      }
    }
    if (current.vector === VECTOR.doubleFault) {
      // KVM's emulator sets it for faults that it delivers, not for those that it meets meanwhile.
      if (machine.emulated) state.cr2 = cr2;
      return false;
    }
    const second = state.vector;
    const first = current.vector;
    const double =
      (first === VECTOR.page && (second === VECTOR.page || CONTRIBUTORY.has(second))) ||
      (CONTRIBUTORY.has(first) && CONTRIBUTORY.has(second));
    current = double
      ? { ...current, vector: VECTOR.doubleFault, errorCode: 0 }
      : { ...current, vector: second, errorCode: state.errorCode };
  }
}

function enter(machine: Machine, event: Event): void {
  const { state } = machine;
  if (!state.protected) enterRealMode(machine, event);
  else if (state.long) enterLongMode(machine, event);
  else enterProtectedMode(machine, event);
}

/** Where KVM delivers events itself, it does not ask what the stack segment allows. */
function pushWord(machine: Machine, size: number, value: number): void {
  push(machine, size, value, 0, !machine.emulated);
}

/** Puts back what a push moved when a later one cannot be done. */
function keepingStack(machine: Machine, action: () => void): void {
  const { r } = machine;
  const [low, high] = [at(r, RSP), at(r, RSP + 1)];
  try {
    action();
  } catch (reason) {
    r[RSP] = low;
    r[RSP + 1] = high;
    throw reason;
  }
}

function jump(machine: Machine, cs: Segment, low: number, high: number, clear: number): void {
  const { state, r } = machine;
  state.setSegment(SEGMENT.cs, cs);
  r[RIP_LOW] = low;
  r[RIP_HIGH] = high;
  setFlags(r, getFlags(r) & ~clear);
  state.refresh();
}

function enterRealMode(machine: Machine, { vector, length }: Event): void {
  const { state, memory, r, emulated } = machine;
  // KVM's emulator does not look at the limit. __emulate_int_real
  if (!emulated && vector * 4 + 3 > state.idt.limit) throw state.exception(VECTOR.protection, 0);
  const [low, high] = linearAt(machine, state.idt.base, vector * 4);
  const target = memory.load(low, high, 4);
  const cs = state.segment(SEGMENT.cs);
  keepingStack(machine, () => {
    pushWord(machine, 2, getFlags(r) & 0xffff);
    pushWord(machine, 2, cs.selector);
    pushWord(machine, 2, (at(r, RIP_LOW) + length) & 0xffff);
  });
  const selector = target >>> 16;
  const clear = FLAG.interrupt | FLAG.trap | FLAG.alignment | FLAG.resume;
  jump(machine, { ...cs, selector, base: BigInt(selector * 16) }, target & 0xffff, 0, clear);
}

interface Gate {
  readonly low: number;
  readonly high: number;
  readonly type: number;
  /** Number of the stack in the task state segment; 0 for none. */
  readonly stackTable: number;
  readonly cs: Segment;
}

const INTERRUPT_GATE = 14;
const TRAP_GATE = 15;

/** The gate of a vector and the code segment it leads to. Throws #GP or #NP with the vector, or the segment's own fault. */
function readGate(machine: Machine, vector: number, software: boolean): Gate {
  const { state, memory, r } = machine;
  const size = state.long ? 16 : 8;
  // The index with a bit that says that it is one of the interrupt table.
  const code = vector * 8 + 2;
  if (vector * size + size - 1 > state.idt.limit) throw state.exception(VECTOR.protection, code);
  const [low, high] = linearAt(machine, state.idt.base, vector * size);
  const first = memory.load(low, high, 8);
  const second = at(r, HIGH);
  const type = (second >>> 8) & 15;
  const dpl = (second >>> 13) & 3;
  const known = ((second >>> 12) & 1) === 0 && (type === INTERRUPT_GATE || type === TRAP_GATE);
  if (!known || (software && dpl < state.segment(SEGMENT.ss).dpl)) throw state.exception(VECTOR.protection, code);
  // Bit 15 of the second word is "present".
  if ((second & 0x8000) === 0) throw state.exception(VECTOR.notPresent, code);
  const offset = (first & 0xffff) | (second & 0xffff_0000);
  let offsetHigh = 0;
  if (state.long) {
    const [upperLow, upperHigh] = linearAt(machine, state.idt.base, vector * size + 8);
    offsetHigh = memory.load(upperLow, upperHigh, 4);
  }
  const selector = first >>> 16;
  if ((selector & ~3) === 0) throw state.exception(VECTOR.protection, 0);
  const cs = readDescriptor(machine, selector);
  if (cs.s === 0 || (cs.type & 8) === 0) throw state.exception(VECTOR.protection, selector & ~3);
  if (state.long && (cs.l === 0 || cs.db === 1)) throw state.exception(VECTOR.protection, selector & ~3);
  if (cs.present === 0) throw state.exception(VECTOR.notPresent, selector & ~3);
  return {
    low: offset,
    high: offsetHigh,
    type,
    stackTable: state.long ? second & 7 : 0,
    cs: { ...markAccessed(machine, cs), selector: selector & ~3 },
  };
}

function clearedBy(type: number): number {
  const always = FLAG.trap | FLAG.nested | FLAG.resume | FLAG.virtual8086;
  return type === INTERRUPT_GATE ? always | FLAG.interrupt : always;
}

function ripBehind(machine: Machine, length: number): bigint {
  return BigInt.asUintN(64, getPair(machine.r, RIP_LOW) + BigInt(length));
}

/** The stack pointer for the new level, from the task state segment. */
function taskStack(machine: Machine, offset: number): bigint {
  const { state, memory, r } = machine;
  if (offset + 7 > state.tr.limit) throw state.exception(VECTOR.invalidTss, state.tr.selector & ~3);
  const [low, high] = linearAt(machine, state.tr.base, offset);
  const value = memory.load(low, high, 8);
  return (BigInt(at(r, HIGH) >>> 0) << 32n) | BigInt(value >>> 0);
}

function enterLongMode(machine: Machine, event: Event): void {
  const { state, memory, r } = machine;
  const gate = readGate(machine, event.vector, event.length > 0);
  const ss = state.segment(SEGMENT.ss);
  const inward = gate.cs.dpl < ss.dpl && (gate.cs.type & 4) === 0;
  const table = gate.stackTable;
  let rsp = getPair(r, RSP);
  if (table !== 0) rsp = taskStack(machine, 28 + 8 * table);
  else if (inward) rsp = taskStack(machine, 4 + 8 * gate.cs.dpl);
  rsp &= ~15n;
  const words = [
    BigInt(ss.selector),
    getPair(r, RSP),
    BigInt(getFlags(r)),
    BigInt(state.segment(SEGMENT.cs).selector),
    ripBehind(machine, event.length),
  ];
  if (event.errorCode !== NO_ERROR_CODE) words.push(BigInt(event.errorCode));
  for (const word of words) {
    rsp = BigInt.asUintN(64, rsp - 8n);
    if (BigInt.asUintN(64, BigInt.asIntN(state.linearBits, rsp)) !== rsp) throw state.exception(VECTOR.stack, 0);
    const [low, high] = linearAt(machine, rsp, 0);
    memory.store(low, high, 8, Number(word & 0xffff_ffffn) | 0, Number(word >> 32n) | 0);
  }
  setPair(r, RSP, rsp);
  if (inward) {
    const { dpl } = gate.cs;
    const empty = { ...ss, selector: dpl, dpl, base: 0n, type: 3, s: 1, present: 1, unusable: 0 };
    state.setSegment(SEGMENT.ss, empty);
  }
  const selector = gate.cs.selector | (inward ? gate.cs.dpl : ss.dpl);
  jump(machine, { ...gate.cs, selector }, gate.low, gate.high, clearedBy(gate.type));
}

/** 32-bit gates on the same level; others, which change the stack, end as an instruction that cannot be emulated. */
function enterProtectedMode(machine: Machine, event: Event): void {
  const { state, r } = machine;
  const gate = readGate(machine, event.vector, event.length > 0);
  const cs = state.segment(SEGMENT.cs);
  const level = state.segment(SEGMENT.ss).dpl;
  if (gate.cs.dpl < level) throw state.abandon({ kind: 'emulation', bytes: new Uint8Array() });
  if (gate.low >>> 0 > gate.cs.limit) throw state.exception(VECTOR.protection, 0);
  keepingStack(machine, () => {
    pushWord(machine, 4, getFlags(r));
    pushWord(machine, 4, cs.selector);
    pushWord(machine, 4, (at(r, RIP_LOW) + event.length) | 0);
    if (event.errorCode !== NO_ERROR_CODE) pushWord(machine, 4, event.errorCode);
  });
  jump(machine, { ...gate.cs, selector: gate.cs.selector | level }, gate.low, 0, clearedBy(gate.type));
}
