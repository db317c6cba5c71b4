/** Effective addresses: closures that answer the lower half of a linear address and leave the upper one in HIGH. */
import type { MemoryOperand } from '../../guest/x64/operands.ts';
import { NO_REGISTER, RIP } from '../../guest/x64/operands.ts';
import type { Read, Site } from './machine.ts';
import * as registers from './registers.ts';
import { SEGMENT, type State } from './state.ts';
import { VECTOR } from './stop.ts';

const { at, HIGH, SEGMENT_BASES, ZERO } = registers;

const RBP_NUMBER = 5;
const RSP_NUMBER = 4;

function wordOf(register: number): number {
  return register === NO_REGISTER ? ZERO : 2 * register;
}

/** The offset in its segment, cut to the address size. */
export function compileOffset(site: Site, operand: MemoryOperand): Read {
  const { r } = site.machine;
  const { displacement, addressBits } = operand;
  if (operand.base === RIP) return ripRelative(site, displacement, addressBits);
  const base = wordOf(operand.base);
  const index = wordOf(operand.index);
  const shift = Math.log2(operand.scale);
  if (addressBits !== 64) {
    const mask = addressBits === 16 ? 0xffff : -1;
    return () => {
      r[HIGH] = 0;
      return (at(r, base) + (at(r, index) << shift) + displacement) & mask;
    };
  }
  const low = displacement >>> 0;
  const high = displacement >> 31;
  if (index === ZERO) {
    return () => {
      const sum = (at(r, base) >>> 0) + low;
      r[HIGH] = at(r, base + 1) + high + (sum > 0xffff_ffff ? 1 : 0);
      return sum | 0;
    };
  }
  return () => {
    const number = at(r, index);
    const sum = (at(r, base) >>> 0) + low + ((number << shift) >>> 0);
    const carry = sum >= 0x2_0000_0000 ? 2 : sum > 0xffff_ffff ? 1 : 0;
    // Two steps, because a shift by 32 would be one by 0.
    const indexHigh = (at(r, index + 1) << shift) | ((number >>> 1) >>> (31 - shift));
    r[HIGH] = at(r, base + 1) + high + indexHigh + carry;
    return sum | 0;
  };
}

function ripRelative(site: Site, displacement: number, addressBits: number): Read {
  const { r } = site.machine;
  const sum = (site.nextLow >>> 0) + (displacement >>> 0);
  const low = sum | 0;
  const high = addressBits === 64 ? (site.nextHigh + (displacement >> 31) + (sum > 0xffff_ffff ? 1 : 0)) | 0 : 0;
  return () => {
    r[HIGH] = high;
    return low;
  };
}

export function defaultSegment(operand: MemoryOperand): number {
  return operand.base === RSP_NUMBER || operand.base === RBP_NUMBER ? SEGMENT.ss : SEGMENT.ds;
}

/** How far from its operand an access is, besides what the operand says. */
export interface Displaced {
  readonly by: () => readonly [low: number, high: number];
  readonly addressBits: 16 | 32 | 64;
}

function displacedOffset({ r }: State, offset: Read, { by, addressBits }: Displaced): Read {
  const mask = addressBits === 16 ? 0xffff : -1;
  return () => {
    const [byLow, byHigh] = by();
    const low = offset();
    const sum = (low >>> 0) + (byLow >>> 0);
    r[HIGH] = addressBits === 64 ? at(r, HIGH) + byHigh + (sum > 0xffff_ffff ? 1 : 0) : 0;
    return sum & mask;
  };
}

/** The linear address of a memory operand of `size` bytes. */
export function compileAddress(
  site: Site,
  operand: MemoryOperand,
  size: number,
  write: boolean,
  displaced?: Displaced,
): Read {
  const { state, emulated } = site.machine;
  const given = site.instruction.segment;
  // In 64-bit code processors ignore most prefixes; KVM's emulator lets them decide between #SS and #GP.
  const ignored = state.codeBits === 64 && !emulated && given !== SEGMENT.fs && given !== SEGMENT.gs;
  const segment = (ignored ? undefined : given) ?? defaultSegment(operand);
  const offset = compileOffset(site, operand);
  const placed = displaced === undefined ? offset : displacedOffset(state, offset, displaced);
  return inSegment(state, segment, placed, size, write);
}

/** Turns an offset into a linear address. */
export function inSegment(state: State, segment: number, offset: Read, size: number, write: boolean): Read {
  const { r } = state;
  if (state.codeBits !== 64) {
    return () => {
      const linear = legacyLinear(state, segment, offset(), size, write);
      r[HIGH] = 0;
      return linear;
    };
  }
  if (segment === SEGMENT.ss) {
    const spare = 64 - state.linearBits;
    return () => {
      const low = offset();
      const high = at(r, HIGH);
      if ((high << spare) >> spare !== high) throw state.exception(VECTOR.stack, 0);
      return low;
    };
  }
  if (segment !== SEGMENT.fs && segment !== SEGMENT.gs) return offset;
  const base = SEGMENT_BASES + 2 * segment;
  return () => {
    const sum = (offset() >>> 0) + (at(r, base) >>> 0);
    r[HIGH] = at(r, HIGH) + at(r, base + 1) + (sum > 0xffff_ffff ? 1 : 0);
    return sum | 0;
  };
}

/** Outside 64-bit code: limit, rights and base of the segment. Throws #SS for the stack segment, #GP for the others. */
export function legacyLinear(state: State, index: number, offset: number, size: number, write: boolean): number {
  const segment = state.segment(index);
  const { type } = segment;
  // A descriptor has 20 bits for it.
  const limit = segment.g === 0 ? segment.limit & 0xf_ffff : segment.limit;
  const at32 = offset >>> 0;
  const isCode = (type & 8) !== 0;
  let bad = segment.unusable !== 0;
  if (write) bad ||= (type & 2) === 0 || (state.protected && isCode);
  else bad ||= isCode && (type & 2) === 0;
  if (!isCode && (type & 4) !== 0) {
    // A segment that grows down has its limit below.
    bad ||= at32 <= limit || at32 + size - 1 > (segment.db === 1 ? 0xffff_ffff : 0xffff);
  } else if (limit !== 0xffff_ffff) bad ||= at32 + size - 1 > limit;
  if (bad) throw state.exception(index === SEGMENT.ss ? VECTOR.stack : VECTOR.protection, 0);
  return (offset + at(state.r, SEGMENT_BASES + 2 * index)) | 0;
}
