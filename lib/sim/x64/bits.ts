/** Single bits: tests and changes, scans, byte order; widening of the accumulator. */
import { compileAddress } from './address.ts';
import type { Operation, Read, Site } from './machine.ts';
import { compileModify, compileModifyMemory, compileRead, operandAt, readRegister, writeRegister } from './operands.ts';
import * as registers from './registers.ts';

const { at, CF, HIGH, RAX, RDX, ZF } = registers;

export type BitChange = 'bt' | 'bts' | 'btr' | 'btc';

/** The new half of a number of which `mask` is one bit. */
const CHANGES: Readonly<Record<BitChange, (half: number, mask: number) => number>> = {
  bt: (half) => half,
  bts: (half, mask) => half | mask,
  btr: (half, mask) => half & ~mask,
  btc: (half, mask) => half ^ mask,
};

/** Only carry is said to change. */
export function compileBitTest(site: Site, name: BitChange): Operation {
  const { r } = site.machine;
  const { bits } = site.instruction;
  const change = CHANGES[name];
  const [destination, source] = [operandAt(site, 0), operandAt(site, 1)];
  const offset = compileRead(site, source);
  const far = destination.kind === 'memory' && source.kind === 'register';
  const { read, write } = far ? modifyFar(site, offset, name === 'bt') : modify(site, name === 'bt');
  return () => {
    const by = offset() & (bits - 1);
    const mask = 1 << (by & 31);
    const low = read();
    const high = at(r, HIGH);
    const carry = ((by > 31 ? high : low) & mask) === 0 ? 0 : 1;
    if (name !== 'bt') {
      if (by > 31) write(low, change(high, mask));
      else write(change(low, mask), high);
    }
    r[CF] = carry;
  };
}

interface Place {
  readonly read: Read;
  readonly write: (low: number, high: number) => void;
}

const noWrite = (): void => {};

function modify(site: Site, onlyReads: boolean): Place {
  const operand = operandAt(site, 0);
  return onlyReads ? { read: compileRead(site, operand), write: noWrite } : compileModify(site, operand);
}

/** A register counts bits from the address on, in both directions, far beyond the operand. */
function modifyFar(site: Site, offset: Read, onlyReads: boolean): Place {
  const { machine, instruction } = site;
  const { r, memory } = machine;
  const { bits, addressBits } = instruction;
  const operand = operandAt(site, 0);
  if (operand.kind !== 'memory') throw new TypeError('not an address');
  const size = bits / 8;
  /** Bytes from the operand to the one that has the bit: the sign of the offset counts. */
  const distance = (): readonly [low: number, high: number] => {
    const low = offset();
    if (bits === 64) {
      const high = at(r, HIGH);
      return [((low >>> 3) | (high << 29)) & ~7, high >> 3];
    }
    const signed = bits === 16 ? (low << 16) >> 16 : low;
    return [(signed >> 3) & -size, signed >> 31];
  };
  const displaced = { by: distance, addressBits };
  if (!onlyReads) return compileModifyMemory(site, operand, size, displaced);
  const address = compileAddress(site, operand, size, false, displaced);
  return { read: () => memory.load(address(), at(r, HIGH), size), write: noWrite };
}

/** Without a bit set the destination stays as it is, and only the zero flag says so. */
export function compileScan(site: Site, forward: boolean): Operation {
  const { r } = site.machine;
  const from = compileRead(site, operandAt(site, 1));
  const to = operandAt(site, 0);
  if (to.kind !== 'register') throw new TypeError('a scan writes a register');
  const write = writeRegister(site.machine, to);
  const lowest = (word: number): number => 31 - Math.clz32(word & -word);
  return () => {
    const low = from();
    const high = at(r, HIGH);
    if ((low | high) === 0) {
      r[ZF] = 0;
      return;
    }
    r[ZF] = 1;
    if (forward) write(low === 0 ? 32 + lowest(high) : lowest(low), 0);
    else write(high === 0 ? 31 - Math.clz32(low) : 63 - Math.clz32(high), 0);
  };
}

const reversed = (word: number): number =>
  ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);

export function compileByteSwap(site: Site): Operation {
  const { machine } = site;
  const { r } = machine;
  const operand = operandAt(site, 0);
  if (operand.kind !== 'register') throw new TypeError('bswap takes a register');
  // Undefined: processors and KVM's emulator leave zeros.
  if (operand.bits === 16) {
    const clear = writeRegister(machine, operand);
    return () => clear(0, 0);
  }
  const wide = operand.bits === 64;
  const full = { ...operand, bits: wide ? 64 : 32 } as const;
  const read = readRegister(machine, full);
  const write = writeRegister(machine, full);
  return () => {
    const low = read();
    const high = at(r, HIGH);
    if (wide) write(reversed(high), reversed(low));
    else write(reversed(low), 0);
  };
}

/** cbw, cwde, cdqe: the accumulator from half of it. */
export function compileWiden(site: Site): Operation {
  const { r } = site.machine;
  const { bits } = site.instruction;
  return () => {
    const low = at(r, RAX);
    if (bits === 16) r[RAX] = (low & ~0xffff) | (((low << 24) >> 24) & 0xffff);
    else {
      if (bits === 32) r[RAX] = (low << 16) >> 16;
      r[RAX + 1] = bits === 32 ? 0 : low >> 31;
    }
  };
}

/** cwd, cdq, cqo: the sign of the accumulator into all of rdx. */
export function compileSpreadSign(site: Site): Operation {
  const { r } = site.machine;
  const { bits } = site.instruction;
  return () => {
    const low = at(r, RAX);
    if (bits === 16) r[RDX] = (at(r, RDX) & ~0xffff) | (((low << 16) >> 31) & 0xffff);
    else {
      r[RDX] = (bits === 64 ? at(r, RAX + 1) : low) >> 31;
      r[RDX + 1] = bits === 64 ? at(r, RAX + 1) >> 31 : 0;
    }
  };
}
