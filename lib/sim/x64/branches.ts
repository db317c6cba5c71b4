/** Everything that sets rip itself. */
import type { Operation, Site } from './machine.ts';
import { compileRead, operandAt } from './operands.ts';
import type { Test } from './registers.ts';
import * as registers from './registers.ts';
import { drop, push, top } from './stack.ts';
import { SEGMENT } from './state.ts';
import { VECTOR } from './stop.ts';

const { at, HIGH, RCX, RIP_HIGH, RIP_LOW, testOf, ZF } = registers;

type Jump = (low: number, high: number) => void;

/** Sets rip. #GP for a target that is not canonical or beyond the segment. */
function compileJump(site: Site): Jump {
  const { r, state } = site.machine;
  if (state.codeBits === 64) {
    const spare = 64 - state.linearBits;
    return (low, high) => {
      if ((high << spare) >> spare !== high) throw state.exception(VECTOR.protection, 0);
      r[RIP_LOW] = low;
      r[RIP_HIGH] = high;
    };
  }
  const mask = site.instruction.bits === 16 ? 0xffff : -1;
  const { limit } = state.segment(SEGMENT.cs);
  return (low) => {
    const target = low & mask;
    if (target >>> 0 > limit) throw state.exception(VECTOR.protection, 0);
    r[RIP_LOW] = target;
    r[RIP_HIGH] = 0;
  };
}

/** To the place that a distance leads to. */
function compileRelative(site: Site): Operation {
  const operand = operandAt(site, 0);
  if (operand.kind !== 'relative') throw new TypeError('not a branch distance');
  const sum = (site.nextLow >>> 0) + (operand.displacement >>> 0);
  const low = sum | 0;
  const high = (site.nextHigh + (operand.displacement >> 31) + (sum > 0xffff_ffff ? 1 : 0)) | 0;
  const jump = compileJump(site);
  return () => jump(low, high);
}

/** To the next instruction. */
function compileNext({ machine: { r }, nextLow, nextHigh }: Site): Operation {
  return () => {
    r[RIP_LOW] = nextLow;
    r[RIP_HIGH] = nextHigh;
  };
}

export function compileJmp(site: Site): Operation {
  const operand = operandAt(site, 0);
  if (operand.kind === 'relative') return compileRelative(site);
  const { r } = site.machine;
  const read = compileRead(site, operand);
  const jump = compileJump(site);
  return () => {
    const low = read();
    jump(low, at(r, HIGH));
  };
}

function compileConditional(site: Site, test: Test): Operation {
  const { r } = site.machine;
  const taken = compileRelative(site);
  const next = compileNext(site);
  return () => (test(r) ? taken() : next());
}

export function compileJcc(site: Site): Operation {
  return compileConditional(site, testOf(site.instruction.condition));
}

/** Branches while cx, ecx or rcx is 0; flags do not matter. */
export function compileJcxz(site: Site): Operation {
  const { addressBits } = site.instruction;
  return compileConditional(site, (r) => isZero(r, addressBits));
}

/** Whether the counter of an address size is 0. */
export function isZero(r: Int32Array, addressBits: 16 | 32 | 64): boolean {
  const low = at(r, RCX);
  if (addressBits === 16) return (low & 0xffff) === 0;
  return low === 0 && (addressBits === 32 || at(r, RCX + 1) === 0);
}

/** Counts down cx, ecx or rcx and branches while it is not 0; loope and loopne also look at the zero flag. */
export function compileLoop(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const { addressBits, form } = instruction;
  const wanted = { loop: undefined, loope: true, loopne: false }[form.mnemonic as 'loop' | 'loope' | 'loopne'];
  const taken = compileRelative(site);
  const next = compileNext(site);
  return () => {
    const low = at(r, RCX);
    const high = at(r, RCX + 1);
    const left = countDown(r, addressBits);
    try {
      if (left && (wanted === undefined || (at(r, ZF) === 0) === wanted)) taken();
      else next();
    } catch (reason) {
      r[RCX] = low;
      r[RCX + 1] = high;
      throw reason;
    }
  };
}

/** Takes 1 from the counter; whether it is not 0 then. */
export function countDown(r: Int32Array, addressBits: 16 | 32 | 64): boolean {
  const low = at(r, RCX);
  if (addressBits === 16) {
    const count = (low - 1) & 0xffff;
    r[RCX] = (low & ~0xffff) | count;
    return count !== 0;
  }
  r[RCX] = low - 1;
  if (addressBits === 32) {
    r[RCX + 1] = 0;
    return low !== 1;
  }
  if (low === 0) r[RCX + 1] = at(r, RCX + 1) - 1;
  return low !== 1 || at(r, RCX + 1) !== 0;
}

export function compileCall(site: Site): Operation {
  const { machine, instruction, nextLow, nextHigh } = site;
  const { r } = machine;
  const jump = compileJmp(site);
  const size = instruction.bits / 8;
  return () => {
    const low = at(r, RIP_LOW);
    const high = at(r, RIP_HIGH);
    jump();
    try {
      push(machine, size, nextLow, nextHigh);
    } catch (reason) {
      r[RIP_LOW] = low;
      r[RIP_HIGH] = high;
      throw reason;
    }
  };
}

export function compileReturn(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const jump = compileJump(site);
  const size = instruction.bits / 8;
  return () => {
    const low = top(machine, size);
    jump(low, at(r, HIGH));
    drop(machine, size);
  };
}
