/**
 * Branches to other code segments on the same level of privilege, and loading the table that describes them.
 * arch/x86/kvm/emulate.c, em_jmp_far, em_call_far, em_ret_far, emulate_iret_real
 */
import { compileAddress } from './address.ts';
import type { Machine, Operation, Site } from './machine.ts';
import { operandAt } from './operands.ts';
import { at, getFlags, HIGH, RIP_HIGH, RIP_LOW, RSP, setFlags } from './registers.ts';
import { markAccessed, readDescriptor } from './segments.ts';
import { drop, push, top } from './stack.ts';
import { SEGMENT } from './state.ts';
import { VECTOR } from './stop.ts';

export function compileLoadTable(site: Site): Operation {
  const { machine } = site;
  const { r, state, memory, msrs } = machine;
  const operand = operandAt(site, 0);
  if (operand.kind !== 'memory') throw new TypeError('lgdt takes an address');
  const size = state.codeBits === 64 ? 8 : 4;
  const address = compileAddress(site, operand, size + 2, false);
  return () => {
    if (state.cpl !== 0) throw state.exception(VECTOR.protection, 0);
    const low = address();
    const high = at(r, HIGH);
    const limit = memory.load(low, high, 2);
    // Both parts lie in segments that were checked as one, so the sum does not leave them.
    const base = memory.load(low + 2, high, size);
    const upper = size === 8 ? at(r, HIGH) : 0;
    // 16-bit code loads three bytes of it.
    const mask = state.codeBits === 16 ? 0xff_ffffn : 0xffff_ffffn;
    const linear = (BigInt(upper >>> 0) << 32n) | (BigInt(base >>> 0) & mask);
    if (size === 8 && !msrs.canonical(linear)) throw state.exception(VECTOR.protection, 0);
    state.gdt = { limit, base: linear };
  };
}

/** Flags that do not exist. */
const FLAG_ZEROS = 0x8028;

type Transfer = 'return' | 'branch';

const unhandled = ({ machine: { state } }: Site) => state.abandon({ kind: 'emulation', bytes: new Uint8Array() });

/** The code segment that a selector names. An outer level, gates and task segments end as an instruction that cannot be emulated. */
function codeSegment(site: Site, selector: number, transfer: Transfer) {
  const { machine } = site;
  const { state } = machine;
  if (!state.protected) return { ...state.segment(SEGMENT.cs), selector, base: BigInt(selector * 16) };
  if ((selector & ~3) === 0) throw state.exception(VECTOR.protection, 0);
  const cs = readDescriptor(machine, selector);
  const refuse = (vector: number = VECTOR.protection) => state.exception(vector, selector & ~3);
  if (cs.s === 0 && transfer === 'branch') throw unhandled(site);
  if (cs.s === 0 || (cs.type & 8) === 0) throw refuse();
  const rpl = selector & 3;
  if (transfer === 'return' && rpl < state.cpl) throw refuse();
  if (transfer === 'return' && rpl > state.cpl) throw unhandled(site);
  const conforming = (cs.type & 4) !== 0;
  if (conforming ? cs.dpl > state.cpl : cs.dpl !== state.cpl || rpl > state.cpl) throw refuse();
  // A segment that is both 64-bit and 32-bit is neither.
  if (state.long && cs.l === 1 && cs.db === 1) throw refuse();
  if (cs.present === 0) throw refuse(VECTOR.notPresent);
  return { ...markAccessed(machine, cs), selector: (selector & ~3) | state.cpl };
}

function enter({ mmu, state }: Machine, cs: ReturnType<typeof codeSegment>): void {
  state.setSegment(SEGMENT.cs, cs);
  mmu.flush();
  state.refresh();
}

/** False for a place outside the code segment that was just entered. */
function jump({ machine: { r, state }, instruction: { bits } }: Site, low: number, high: number): boolean {
  const target = bits === 16 ? low & 0xffff : low;
  const upper = bits === 64 ? high : 0;
  if (state.codeBits === 64) {
    const spare = 64 - state.linearBits;
    if ((upper << spare) >> spare !== upper) return false;
  } else {
    const { limit, g } = state.segment(SEGMENT.cs);
    if (upper !== 0 || target >>> 0 > (g === 0 ? limit & 0xf_ffff : limit)) return false;
  }
  r[RIP_LOW] = target;
  r[RIP_HIGH] = upper;
  return true;
}

interface FarPointer {
  readonly low: number;
  readonly high: number;
  readonly selector: number;
}

/** Offset and selector in memory. */
function compilePointer(site: Site): () => FarPointer {
  const { memory, r } = site.machine;
  const operand = operandAt(site, 0);
  if (operand.kind !== 'memory') throw new TypeError('a far branch takes an address');
  const size = site.instruction.bits / 8;
  const address = compileAddress(site, operand, size + 2, false);
  return () => {
    const at0 = address();
    const high0 = at(r, HIGH);
    const low = memory.load(at0, high0, size);
    const high = at(r, HIGH);
    const sum = (at0 >>> 0) + size;
    const selector = memory.load(sum | 0, high0 + (sum > 0xffff_ffff ? 1 : 0), 2);
    return { low, high, selector };
  };
}

export function compileJumpFar(site: Site): Operation {
  const { machine } = site;
  const pointer = compilePointer(site);
  return () => {
    const { low, high, selector } = pointer();
    enter(machine, codeSegment(site, selector, 'branch'));
    // The segment stays entered.
    if (!jump(site, low, high)) throw unhandled(site);
  };
}

export function compileCallFar(site: Site): Operation {
  const { machine, nextLow, nextHigh, instruction } = site;
  const { r, state } = machine;
  const pointer = compilePointer(site);
  const size = instruction.bits / 8;
  return () => {
    const { low, high, selector } = pointer();
    const before = state.segment(SEGMENT.cs);
    const [rip, ripHigh, rsp, rspHigh] = [at(r, RIP_LOW), at(r, RIP_HIGH), at(r, RSP), at(r, RSP + 1)];
    const cs = codeSegment(site, selector, 'branch');
    try {
      enter(machine, cs);
      if (!jump(site, low, high)) throw state.exception(VECTOR.protection, 0);
      push(machine, size, before.selector, 0);
      push(machine, size, nextLow, nextHigh);
    } catch (reason) {
      [r[RIP_LOW], r[RIP_HIGH], r[RSP], r[RSP + 1]] = [rip, ripHigh, rsp, rspHigh];
      enter(machine, before);
      throw reason;
    }
  };
}

/** Restores the stack pointer when what follows the pops cannot be done. */
function keepingStack({ r }: Machine, action: () => void): void {
  const [low, high] = [at(r, RSP), at(r, RSP + 1)];
  try {
    action();
  } catch (reason) {
    r[RSP] = low;
    r[RSP + 1] = high;
    throw reason;
  }
}

export function compileReturnFar(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const size = instruction.bits / 8;
  const [released] = instruction.operands;
  const extra = released?.kind === 'immediate' ? Number(released.value) : 0;
  return () =>
    keepingStack(machine, () => {
      const low = top(machine, size);
      const high = at(r, HIGH);
      drop(machine, size);
      const selector = top(machine, size) & 0xffff;
      drop(machine, size);
      enter(machine, codeSegment(site, selector, 'return'));
      if (!jump(site, low, high)) throw unhandled(site);
      drop(machine, extra);
    });
}

/** In real mode; elsewhere it ends as an instruction that cannot be emulated. */
export function compileInterruptReturn(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const size = instruction.bits / 8;
  return () => {
    if (state.protected) throw unhandled(site);
    keepingStack(machine, () => {
      const low = top(machine, size);
      if (low >>> 0 > 0xffff) throw state.exception(VECTOR.protection, 0);
      drop(machine, size);
      const selector = top(machine, size) & 0xffff;
      drop(machine, size);
      const flags = top(machine, size);
      drop(machine, size);
      enter(machine, codeSegment(site, selector, 'return'));
      setFlags(r, (getFlags(r) & ~0xffff) | (flags & 0xffff & ~FLAG_ZEROS));
      r[RIP_LOW] = low;
      r[RIP_HIGH] = 0;
    });
  };
}
