/** What 32-bit code needs to enter 64-bit code: a descriptor table of its own, and a return to another code segment on the same level. */
import { compileAddress } from './address.ts';
import type { Operation, Site } from './machine.ts';
import { operandAt } from './operands.ts';
import { at, HIGH, RIP_HIGH, RIP_LOW, RSP } from './registers.ts';
import { readDescriptor } from './segments.ts';
import { drop, top } from './stack.ts';
import { SEGMENT } from './state.ts';
import { VECTOR } from './stop.ts';

export function compileLoadTable(site: Site): Operation {
  const { machine } = site;
  const { r, state, memory } = machine;
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
    const spare = 64 - state.linearBits;
    if (size === 8 && (upper << spare) >> spare !== upper) throw state.exception(VECTOR.protection, 0);
    // 16-bit code loads three bytes of it.
    const mask = state.codeBits === 16 ? 0xff_ffffn : 0xffff_ffffn;
    state.gdt = { limit, base: (BigInt(upper >>> 0) << 32n) | (BigInt(base >>> 0) & mask) };
  };
}

/** On the same level of privilege; another one ends as an instruction that cannot be emulated. */
export function compileReturnFar(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const size = instruction.bits === 16 ? 2 : 4;
  return () => {
    const [rspLow, rspHigh] = [at(r, RSP), at(r, RSP + 1)];
    const offset = top(machine, size);
    try {
      drop(machine, size);
      const selector = top(machine, size) & 0xffff;
      drop(machine, size);
      const cs = state.protected ? codeSegment(site, selector) : { ...state.segment(SEGMENT.cs), selector };
      if (!state.protected) cs.base = BigInt(selector * 16);
      state.setSegment(SEGMENT.cs, cs);
    } catch (reason) {
      r[RSP] = rspLow;
      r[RSP + 1] = rspHigh;
      throw reason;
    }
    r[RIP_LOW] = size === 2 ? offset & 0xffff : offset;
    r[RIP_HIGH] = 0;
    machine.mmu.flush();
    state.refresh();
  };
}

function codeSegment({ machine }: Site, selector: number) {
  const { state } = machine;
  if ((selector & ~3) === 0) throw state.exception(VECTOR.protection, 0);
  const cs = readDescriptor(machine, selector);
  const refuse = (vector: number = VECTOR.protection) => state.exception(vector, selector & ~3);
  if (cs.s === 0 || (cs.type & 8) === 0) throw refuse();
  const rpl = selector & 3;
  if (rpl < state.cpl) throw refuse();
  if (rpl > state.cpl) throw state.abandon({ kind: 'emulation', bytes: Uint8Array.of(0xcb) });
  const conforming = (cs.type & 4) !== 0;
  if (conforming ? cs.dpl > state.cpl : cs.dpl !== state.cpl) throw refuse();
  if (cs.present === 0) throw refuse(VECTOR.notPresent);
  // A segment that is both 64-bit and 32-bit is neither.
  if (state.long && cs.l === 1 && cs.db === 1) throw refuse();
  return cs;
}
