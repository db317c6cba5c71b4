/** Moves of data: registers and memory, conversions, exchanges. */

import { compileOffset } from './address.ts';
import { ADD, SUB } from './alu.ts';
import type { Operation, Site } from './machine.ts';
import { compileModify, compileRead, compileWrite, operandAt, readRegister, writeRegister } from './operands.ts';
import * as registers from './registers.ts';

const { at, HIGH, RAX, testOf } = registers;

export function compileMove(site: Site): Operation {
  const { r } = site.machine;
  const to = operandAt(site, 0);
  const from = operandAt(site, 1);
  if (to.kind === 'register' && from.kind === 'register' && to.bits >= 32) {
    const [target, source] = [2 * to.index, 2 * from.index];
    if (to.bits === 32) {
      return () => {
        r[target] = at(r, source);
        r[target + 1] = 0;
      };
    }
    return () => {
      r[target] = at(r, source);
      r[target + 1] = at(r, source + 1);
    };
  }
  const read = compileRead(site, from);
  if (to.kind === 'register' && to.bits === 64) {
    const target = 2 * to.index;
    return () => {
      r[target] = read();
      r[target + 1] = at(r, HIGH);
    };
  }
  const write = compileWrite(site, to);
  return () => {
    const low = read();
    write(low, at(r, HIGH));
  };
}

/** movzx and movsx; the source says its own size. */
export function compileExtend(site: Site, signed: boolean): Operation {
  const { bits } = site.instruction;
  const from = operandAt(site, 1);
  const size = from.kind === 'register' || from.kind === 'memory' ? from.bits : 0;
  const up = 32 - size;
  const mask = bits === 16 ? 0xffff : -1;
  const read = compileRead(site, from);
  const write = compileWrite(site, operandAt(site, 0));
  if (!signed) return () => write(read(), 0);
  return () => {
    const value = (read() << up) >> up;
    write(value & mask, value >> 31);
  };
}

export function compileLea(site: Site): Operation {
  const { r } = site.machine;
  const from = operandAt(site, 1);
  if (from.kind !== 'memory') throw new TypeError('lea takes an address');
  const offset = compileOffset(site, from);
  const write = compileWrite(site, operandAt(site, 0));
  return () => {
    const low = offset();
    write(low, at(r, HIGH));
  };
}

function registerAt(site: Site, index: number) {
  const operand = operandAt(site, index);
  if (operand.kind !== 'register') throw new TypeError(`${site.instruction.form.mnemonic} takes a register`);
  return operand;
}

export function compileExchange(site: Site): Operation {
  const { machine } = site;
  const { r } = machine;
  const first = compileModify(site, operandAt(site, 0));
  const readSecond = readRegister(machine, registerAt(site, 1));
  const writeSecond = writeRegister(machine, registerAt(site, 1));
  return () => {
    const a = first.read();
    const aHigh = at(r, HIGH);
    const b = readSecond();
    first.write(b, at(r, HIGH));
    writeSecond(a, aHigh);
  };
}

/** The source is read, and may fault, whatever the condition; a 32-bit destination is cleared above in any case. */
export function compileConditionalMove(site: Site): Operation {
  const { r } = site.machine;
  const test = testOf(site.instruction.condition);
  const to = compileModify(site, operandAt(site, 0));
  const from = compileRead(site, operandAt(site, 1));
  return () => {
    const low = from();
    const high = at(r, HIGH);
    if (test(r)) to.write(low, high);
    else {
      const kept = to.read();
      to.write(kept, at(r, HIGH));
    }
  };
}

export function compileSet(site: Site): Operation {
  const { r } = site.machine;
  const test = testOf(site.instruction.condition);
  const write = compileWrite(site, operandAt(site, 0));
  return () => write(test(r) ? 1 : 0, 0);
}

/** Compares with the accumulator; the destination is written in either case, as the bus sees it. */
export function compileCompareExchange(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const { bits } = instruction;
  const compare = SUB[bits];
  const mask = bits < 32 ? (1 << bits) - 1 : -1;
  const to = compileModify(site, operandAt(site, 0));
  const from = compileRead(site, operandAt(site, 1));
  const accumulator = writeRegister(machine, { kind: 'register', file: 'general', index: 0, bits, high: false });
  return () => {
    const source = from();
    const sourceHigh = at(r, HIGH);
    const old = to.read();
    const oldHigh = at(r, HIGH);
    const expected = at(r, RAX) & mask;
    const expectedHigh = bits === 64 ? at(r, RAX + 1) : 0;
    const same = expected === old && expectedHigh === oldHigh;
    to.write(same ? source : old, same ? sourceHigh : oldHigh);
    compare(r, expected, expectedHigh, old, oldHigh);
    if (!same) accumulator(old, oldHigh);
  };
}

/** The register gets the old value first: with the same register twice the sum remains. */
export function compileExchangeAdd(site: Site): Operation {
  const { machine, instruction } = site;
  const { r } = machine;
  const add = ADD[instruction.bits];
  const to = compileModify(site, operandAt(site, 0));
  const readSource = readRegister(machine, registerAt(site, 1));
  const writeSource = writeRegister(machine, registerAt(site, 1));
  const toRegister = operandAt(site, 0).kind === 'register';
  return () => {
    const old = to.read();
    const oldHigh = at(r, HIGH);
    const source = readSource();
    const sourceHigh = at(r, HIGH);
    if (toRegister) writeSource(old, oldHigh);
    const sum = add(r, old, oldHigh, source, sourceHigh);
    to.write(sum, at(r, HIGH));
    if (!toRegister) writeSource(old, oldHigh);
  };
}
