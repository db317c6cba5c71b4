/** Operands as closures. */
import type { Bits, MemoryOperand, Operand, RegisterOperand } from '../../guest/x64/operands.ts';
import { compileAddress, type Displaced } from './address.ts';
import type { Machine, Read, Site, Write } from './machine.ts';
import * as registers from './registers.ts';

const { at, HIGH, PLACE_HIGH, PLACE_LOW } = registers;

/** The halves of an immediate as an {@link import('./alu.ts').Alu} takes them. */
export function halves(value: bigint, bits: Bits): readonly [low: number, high: number] {
  const low = Number(value & 0xffff_ffffn);
  return bits === 64 ? [low | 0, Number((value >> 32n) & 0xffff_ffffn) | 0] : [bits === 32 ? low | 0 : low, 0];
}

export function operandAt(site: Site, index: number): Operand {
  const operand = site.instruction.operands[index];
  if (operand === undefined) throw new RangeError(`${site.instruction.form.mnemonic} has no operand ${index + 1}`);
  return operand;
}

export function readRegister({ r }: Machine, { index, bits, high }: RegisterOperand): Read {
  const word = 2 * index;
  if (bits === 64) {
    return () => {
      r[HIGH] = at(r, word + 1);
      return at(r, word);
    };
  }
  if (bits === 32) {
    return () => {
      r[HIGH] = 0;
      return at(r, word);
    };
  }
  const shift = high ? 8 : 0;
  const mask = bits === 8 ? 0xff : 0xffff;
  return () => {
    r[HIGH] = 0;
    return (at(r, word) >>> shift) & mask;
  };
}

export function writeRegister({ r }: Machine, { index, bits, high }: RegisterOperand): Write {
  const word = 2 * index;
  if (bits === 64) {
    return (low, upper) => {
      r[word] = low;
      r[word + 1] = upper;
    };
  }
  if (bits === 32) {
    // A 32-bit result clears the upper half; shorter ones leave everything else alone.
    return (low) => {
      r[word] = low;
      r[word + 1] = 0;
    };
  }
  const shift = high ? 8 : 0;
  const keep = ~((bits === 8 ? 0xff : 0xffff) << shift);
  return (low) => {
    r[word] = (at(r, word) & keep) | ((low << shift) & ~keep);
  };
}

export function compileRead(site: Site, operand: Operand): Read {
  const { machine } = site;
  const { r, memory } = machine;
  if (operand.kind === 'register') return readRegister(machine, operand);
  if (operand.kind === 'immediate') {
    const [low, high] = halves(operand.value, operand.bits);
    return () => {
      r[HIGH] = high;
      return low;
    };
  }
  if (operand.kind === 'relative') throw new TypeError('a branch distance cannot be read');
  const size = operand.bits / 8;
  const address = compileAddress(site, operand, size, false);
  return () => memory.load(address(), at(r, HIGH), size);
}

export function compileWrite(site: Site, operand: Operand): Write {
  const { machine } = site;
  const { r, memory } = machine;
  if (operand.kind === 'register') return writeRegister(machine, operand);
  if (operand.kind !== 'memory') throw new TypeError('not a destination');
  const size = operand.bits / 8;
  const address = compileAddress(site, operand, size, true);
  return (low, high) => memory.store(address(), at(r, HIGH), size, low, high);
}

/** A destination that is read first: the read makes sure that the write cannot fault, and the write uses its address. */
export interface Modify {
  readonly read: Read;
  readonly write: Write;
}

export function compileModify(site: Site, operand: Operand): Modify {
  const { machine } = site;
  if (operand.kind === 'register') {
    return { read: readRegister(machine, operand), write: writeRegister(machine, operand) };
  }
  if (operand.kind !== 'memory') throw new TypeError('not a destination');
  return compileModifyMemory(site, operand, operand.bits / 8);
}

export function compileModifyMemory(site: Site, operand: MemoryOperand, size: number, displaced?: Displaced): Modify {
  const { r, memory, state, emulated } = site.machine;
  const address = compileAddress(site, operand, size, !emulated, displaced);
  const write: Write = (low, high) => memory.store(at(r, PLACE_LOW), at(r, PLACE_HIGH), size, low, high);
  const place = (): number => {
    const low = address();
    r[PLACE_LOW] = low;
    r[PLACE_HIGH] = at(r, HIGH);
    return low;
  };
  if (!emulated) return { read: () => memory.loadForWrite(place(), at(r, PLACE_HIGH), size), write };
  if (state.codeBits === 64) return { read: () => memory.loadThenProbe(place(), at(r, PLACE_HIGH), size), write };
  // KVM's emulator asks whether the segment can be written when it writes: what is read outside was read by then.
  const forWrite = compileAddress(site, operand, size, true, displaced);
  return { read: () => memory.loadThenProbe(place(), at(r, PLACE_HIGH), size, forWrite), write };
}
