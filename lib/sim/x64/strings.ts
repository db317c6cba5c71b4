/** stos, movs, lods, scas, cmps, alone and repeated. */
import { inSegment } from './address.ts';
import { SUB } from './alu.ts';
import { countDown, isZero } from './branches.ts';
import type { Operation, Read, Site } from './machine.ts';
import { writeRegister } from './operands.ts';
import * as registers from './registers.ts';
import { SEGMENT } from './state.ts';

const { at, EVENT, EVENT_CODE, EVENT_REPEAT, EVENT_STOP, FLAG, HIGH, OTHER_FLAGS, RAX, RDI, RSI, ZF } = registers;
const STATUS = [registers.CF, registers.OF, registers.AF, ZF, registers.SF, registers.PF];

/** Elements in one go: long enough to be fast, short enough for a kick to be noticed. */
const BATCH = 1024;

type StringName = 'stos' | 'movs' | 'lods' | 'scas' | 'cmps';

/** The address in rsi or rdi. */
export function compilePointer(site: Site, word: number, write: boolean): Read {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const segment = word === RDI ? SEGMENT.es : (instruction.segment ?? SEGMENT.ds);
  const mask = instruction.addressBits === 16 ? 0xffff : -1;
  const wide = instruction.addressBits === 64;
  const offset = (): number => {
    r[HIGH] = wide ? at(r, word + 1) : 0;
    return at(r, word) & mask;
  };
  return inSegment(state, segment, offset, instruction.bits / 8, write);
}

/** Moves rsi or rdi to the next element. */
export function compileAdvance(site: Site, word: number): Operation {
  const { r } = site.machine;
  const { bits, addressBits } = site.instruction;
  const size = bits / 8;
  return () => {
    const by = (at(r, OTHER_FLAGS) & FLAG.direction) === 0 ? size : -size;
    const low = at(r, word);
    if (addressBits === 16) r[word] = (low & ~0xffff) | ((low + by) & 0xffff);
    else {
      const sum = (low >>> 0) + by;
      r[word] = sum;
      if (addressBits === 32) r[word + 1] = 0;
      else if (sum > 0xffff_ffff) r[word + 1] = at(r, word + 1) + 1;
      else if (sum < 0) r[word + 1] = at(r, word + 1) - 1;
    }
  };
}

/** One element without moving the pointers. */
function compileElement(site: Site, name: StringName): Operation {
  const { machine, instruction } = site;
  const { r, memory } = machine;
  const { bits } = instruction;
  const size = bits / 8;
  const source = compilePointer(site, RSI, false);
  const destination = compilePointer(site, RDI, name === 'stos' || name === 'movs');
  const load = (address: Read): number => {
    const low = address();
    return memory.load(low, at(r, HIGH), size);
  };
  const mask = bits < 32 ? (1 << bits) - 1 : -1;
  switch (name) {
    case 'stos':
      return () => {
        const low = destination();
        memory.store(low, at(r, HIGH), size, at(r, RAX), at(r, RAX + 1));
      };
    case 'movs':
      return () => {
        const value = load(source);
        const valueHigh = at(r, HIGH);
        const low = destination();
        memory.store(low, at(r, HIGH), size, value, valueHigh);
      };
    case 'lods': {
      const write = writeRegister(machine, { kind: 'register', file: 'general', index: 0, bits, high: false });
      return () => {
        const low = load(source);
        write(low, at(r, HIGH));
      };
    }
    case 'scas':
      return () => {
        const low = load(destination);
        SUB[bits](r, at(r, RAX) & mask, bits === 64 ? at(r, RAX + 1) : 0, low, at(r, HIGH));
      };
    case 'cmps':
      return () => {
        const left = load(source);
        const leftHigh = at(r, HIGH);
        const right = load(destination);
        SUB[bits](r, left, leftHigh, right, at(r, HIGH));
      };
  }
}

export function compileString(site: Site, name: StringName): Operation {
  const element = compileElement(site, name);
  const rsi = name === 'movs' || name === 'lods' || name === 'cmps' ? compileAdvance(site, RSI) : undefined;
  const rdi = name !== 'lods' ? compileAdvance(site, RDI) : undefined;
  const step = (): void => {
    element();
    rsi?.();
    rdi?.();
  };
  return site.instruction.repeat === undefined ? step : compileRepeat(site, step);
}

/**
 * Each element is an instruction of its own: what was done stays done when a later one cannot be. As KVM shows it, rip
 * stays on the instruction after a write that leaves the vCPU even if nothing remains, and RF is set in between;
 * not while a read is waited for, when flags are still those of the last time that all registers were shown.
 */
function compileRepeat(site: Site, step: Operation): Operation {
  const { machine, instruction } = site;
  const { r, memory } = machine;
  const { addressBits, form, repeat } = instruction;
  const untilZero = form.repeat === 'compare' ? (repeat === 'rep' ? 'clear' : 'set') : undefined;
  const done = (): boolean => untilZero !== undefined && (at(r, ZF) === 0) === (untilZero === 'set');
  const finish = (): void => {
    r[OTHER_FLAGS] = at(r, OTHER_FLAGS) & ~FLAG.resume;
  };
  const repeated = (): void => {
    if (isZero(r, addressBits)) {
      finish();
      return;
    }
    for (let i = 0; i < BATCH; i++) {
      step();
      const more = countDown(r, addressBits);
      const stopped = (at(r, EVENT) & EVENT_STOP) !== 0;
      if (!stopped && (!more || done())) {
        finish();
        return;
      }
      // An answer belongs to one element only, and an element that wrote over code must be the last of its block.
      if (stopped || (at(r, EVENT) & EVENT_CODE) !== 0 || memory.answers.length > 0) break;
    }
    r[OTHER_FLAGS] = at(r, OTHER_FLAGS) | FLAG.resume;
    r[EVENT] = at(r, EVENT) | EVENT_REPEAT;
  };
  return untilZero === undefined ? repeated : () => withOldFlags(r, repeated);
}

/** What a compare found shows only once all registers are shown: not when it waits for a read, not when it cannot go on. */
function withOldFlags(r: Int32Array, action: Operation): void {
  const before = STATUS.map((word) => at(r, word));
  try {
    action();
  } catch (reason) {
    for (const [i, word] of STATUS.entries()) r[word] = before[i] ?? 0;
    throw reason;
  }
}
