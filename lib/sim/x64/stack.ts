/** Pushing and popping. */
import { legacyLinear } from './address.ts';
import type { Machine, Operation, Site } from './machine.ts';
import { compileRead, compileWrite, operandAt, writeRegister } from './operands.ts';
import * as registers from './registers.ts';
import { SEGMENT } from './state.ts';
import { VECTOR } from './stop.ts';

const { at, FLAG, getFlags, HIGH, OTHER_FLAGS, RSP, SEGMENT_BASES, setFlags } = registers;

const SS_BASE = SEGMENT_BASES + 2 * SEGMENT.ss;
const RBP = 10;
const HALF = 0x1_0000_0000;

/** rsp moved by `by` bytes as the stack's width has it; upper half in HIGH. */
function moved({ r, state }: Machine, by: number): number {
  if (state.stackBits === 64) {
    const sum = (at(r, RSP) >>> 0) + by;
    r[HIGH] = at(r, RSP + 1) + (sum >= HALF ? 1 : sum < 0 ? -1 : 0);
    return sum | 0;
  }
  r[HIGH] = 0;
  return (at(r, RSP) + by) & (state.stackBits === 32 ? -1 : 0xffff);
}

function linear({ r, state }: Machine, low: number, size: number, write: boolean): number {
  if (state.codeBits !== 64) return legacyLinear(state, SEGMENT.ss, low, size, write);
  const high = at(r, HIGH);
  const spare = 64 - state.linearBits;
  if ((high << spare) >> spare !== high) throw state.exception(VECTOR.stack, 0);
  return low;
}

const flat = ({ r, state }: Machine, low: number): number => (state.protected ? low : (low + at(r, SS_BASE)) | 0);

function setRsp({ r, state }: Machine, low: number, high: number): void {
  if (state.stackBits === 16) r[RSP] = (at(r, RSP) & ~0xffff) | low;
  else {
    r[RSP] = low;
    r[RSP + 1] = high;
  }
}

/** @param checked the stack segment counts; otherwise, outside real mode, not even its base does. */
export function push(machine: Machine, size: number, low: number, high: number, checked = true): void {
  const { r, memory, state } = machine;
  const to = moved(machine, -size);
  const toHigh = at(r, HIGH);
  const address = checked || state.codeBits === 64 ? linear(machine, to, size, true) : flat(machine, to);
  memory.store(address, toHigh, size, low, high);
  setRsp(machine, to, toHigh);
}

/** The top of the stack; the stack pointer stays until {@link drop}. */
export function top(machine: Machine, size: number): number {
  const from = moved(machine, 0);
  return machine.memory.load(linear(machine, from, size, false), at(machine.r, HIGH), size);
}

export function drop(machine: Machine, size: number): void {
  const to = moved(machine, size);
  setRsp(machine, to, at(machine.r, HIGH));
}

export function compilePush(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const read = compileRead(site, operandAt(site, 0));
  const size = instruction.bits / 8;
  return () => {
    const low = read();
    push(machine, size, low, at(r, HIGH));
  };
}

/** An address that uses rsp sees it after the pop; if the write cannot be, rsp is as before. */
export function compilePop(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const write = compileWrite(site, operandAt(site, 0));
  const size = instruction.bits / 8;
  return () => {
    const low = top(machine, size);
    const high = at(r, HIGH);
    const before = at(r, RSP);
    const beforeHigh = at(r, RSP + 1);
    drop(machine, size);
    try {
      write(low, high);
    } catch (reason) {
      r[RSP] = before;
      r[RSP + 1] = beforeHigh;
      throw reason;
    }
  };
}

/** rsp from rbp, then rbp from the stack. */
export function compileLeave(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const size = instruction.bits / 8;
  const write = writeRegister(machine, {
    kind: 'register',
    file: 'general',
    index: 5,
    bits: instruction.bits,
    high: false,
  });
  return () => {
    const [before, beforeHigh] = [at(r, RSP), at(r, RSP + 1)];
    setRsp(
      machine,
      state.stackBits === 16 ? at(r, RBP) & 0xffff : at(r, RBP),
      state.stackBits === 64 ? at(r, RBP + 1) : 0,
    );
    try {
      const low = top(machine, size);
      const high = at(r, HIGH);
      drop(machine, size);
      const upper = at(r, RBP + 1);
      write(low, high);
      // Outside 64-bit code it is not seen, and stays.
      if (size === 4) r[RBP + 1] = upper;
    } catch (reason) {
      r[RSP] = before;
      r[RSP + 1] = beforeHigh;
      throw reason;
    }
  };
}

export function compilePushFlags(site: Site): Operation {
  const { machine, instruction } = site;
  const size = instruction.bits / 8;
  return () => push(machine, size, getFlags(machine.r) & ~(FLAG.resume | FLAG.virtual8086), 0);
}

const STATUS = 0x8d5;
const ALWAYS = STATUS | FLAG.trap | FLAG.direction | FLAG.nested | FLAG.alignment | FLAG.id;

/** Which flags change depends on the privilege; the others are silently kept. */
export function compilePopFlags(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const size = instruction.bits / 8;
  return () => {
    const value = top(machine, size);
    drop(machine, size);
    const old = getFlags(r);
    const iopl = (old & FLAG.iopl) >> 12;
    let mask: number = ALWAYS;
    if (state.cpl === 0) mask |= FLAG.iopl;
    if (state.cpl <= iopl) mask |= FLAG.interrupt;
    if (size === 2) mask &= 0xffff;
    setFlags(r, (old & ~mask) | (value & mask));
  };
}

/** cli and sti. #GP where the privilege does not allow them. */
export function compileInterruptFlag(site: Site, on: boolean): Operation {
  const { r, state } = site.machine;
  return () => {
    const flags = at(r, OTHER_FLAGS);
    if (state.cpl > (flags & FLAG.iopl) >> 12) throw state.exception(VECTOR.protection, 0);
    r[OTHER_FLAGS] = on ? flags | FLAG.interrupt : flags & ~FLAG.interrupt;
  };
}
