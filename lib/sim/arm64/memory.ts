/** Loads and stores. An access without memory changes nothing: it is the host's to finish. */
import type { MemoryOperand } from '../../guest/a64/operands.ts';
import { extended, NEXT, type Operation, operandAt, type Read, type Site, source, target } from './machine.ts';
import type { Described } from './mmu.ts';
import { at, HIGH, SP, sourceWord } from './registers.ts';
import { CLASS } from './stop.ts';

function memoryAt(site: Site, index: number): MemoryOperand {
  const operand = operandAt(site, index);
  if (operand.kind !== 'memory') throw new TypeError(`operand ${index} is no address`);
  return operand;
}

/** Base plus a number: the upper half goes to HIGH. */
function plus(r: Int32Array, base: number, offset: number): Read {
  const upper = offset < 0 ? -1 : 0;
  const low = offset >>> 0;
  return () => {
    const sum = (at(r, base) >>> 0) + low;
    r[HIGH] = at(r, base + 1) + upper + (sum > 0xffff_ffff ? 1 : 0);
    return sum | 0;
  };
}

/** The address of the access. */
function compileAddress(site: Site, memory: MemoryOperand): Read {
  const { r, state } = site.machine;
  const base = sourceWord(memory.base, true);
  const read = compileUnchecked(r, memory, base);
  if (base !== SP) return read;
  // SCTLR_EL1.SA: a stack pointer that is used as an address has 16 bytes of alignment.
  return () => {
    if ((at(r, SP) & 15) !== 0) throw state.raise({ class: CLASS.spAlignment, syndrome: 0 });
    return read();
  };
}

function compileUnchecked(r: Int32Array, memory: MemoryOperand, base: number): Read {
  const { index, offset, indexing } = memory;
  if (index === undefined) return plus(r, base, indexing === 'post' ? 0 : offset);
  const read = extended(r, index);
  return () => {
    const low = read();
    const sum = (at(r, base) >>> 0) + (low >>> 0);
    r[HIGH] = at(r, base + 1) + at(r, HIGH) + (sum > 0xffff_ffff ? 1 : 0);
    return sum | 0;
  };
}

/** What remains in the base afterwards. */
function compileWriteback(site: Site, memory: MemoryOperand): (() => void) | undefined {
  if (memory.indexing === 'offset') return undefined;
  const { r } = site.machine;
  const base = sourceWord(memory.base, true);
  const sum = plus(r, base, memory.offset);
  return () => {
    r[base] = sum();
    r[base + 1] = at(r, HIGH);
  };
}

/** Bits to shift up and down again to extend a sign, 0 for none. */
const signShift = (size: number, signed: boolean): number => (signed ? 32 - 8 * size : 0);

/** A register after a load of 1, 2 or 4 bytes. */
function extend(r: Int32Array, to: number, low: number, shift: number, wide: boolean, signed: boolean): void {
  const value = (low << shift) >> shift;
  r[to] = value;
  r[to + 1] = signed && wide ? value >> 31 : 0;
}

export function compileLoad(site: Site): Operation {
  const { r, mmu } = site.machine;
  const { bits, access } = site.instruction.form;
  const memory = memoryAt(site, 1);
  const [size, signed] = [access?.size ?? 8, access?.signed ?? false];
  const to = target(site, 0);
  const address = compileAddress(site, memory);
  const writeback = compileWriteback(site, memory);
  const what: Described = { size, described: writeback === undefined };
  const shift = signShift(size, signed);
  if (size === 8 && writeback === undefined) {
    return () => {
      const low = mmu.load(address(), what);
      r[to] = low;
      r[to + 1] = at(r, HIGH);
      return NEXT;
    };
  }
  return () => {
    const low = mmu.load(address(), what);
    const high = at(r, HIGH);
    writeback?.();
    if (size === 8) {
      r[to] = low;
      r[to + 1] = high;
    } else extend(r, to, low, shift, bits === 64, signed);
    return NEXT;
  };
}

export function compileStore(site: Site): Operation {
  const { r, mmu } = site.machine;
  const { access } = site.instruction.form;
  const memory = memoryAt(site, 1);
  const size = access?.size ?? 8;
  const from = source(site, 0);
  const address = compileAddress(site, memory);
  const writeback = compileWriteback(site, memory);
  const described = writeback === undefined;
  return () => {
    const low = address();
    const high = at(r, HIGH);
    const [value, upper] = [at(r, from), at(r, from + 1)];
    const hit = (low & (size - 1)) === 0 ? mmu.writes.find(low, high, 1) : undefined;
    const view = hit ?? mmu.write(low, high, { size, described, low: value, high: upper });
    store(view, low & 4095, size, value, upper);
    writeback?.();
    return NEXT;
  };
}

function store(view: DataView, offset: number, size: number, low: number, high: number): void {
  if (size === 8) {
    view.setInt32(offset, low, true);
    view.setInt32(offset + 4, high, true);
  } else if (size === 4) view.setInt32(offset, low, true);
  else if (size === 1) view.setUint8(offset, low);
  else view.setUint16(offset, low, true);
}

/** ldr of a literal. */
export function compileLiteral(site: Site): Operation {
  const { r, mmu } = site.machine;
  const { bits, access } = site.instruction.form;
  const operand = operandAt(site, 1);
  if (operand.kind !== 'relative') throw new TypeError('a literal has a distance');
  const sum = (site.low >>> 0) + operand.displacement;
  const high = site.high + (sum > 0xffff_ffff ? 1 : sum < 0 ? -1 : 0);
  const to = target(site, 0);
  const [size, signed] = [access?.size ?? 8, access?.signed ?? false];
  const what: Described = { size, described: true };
  return () => {
    r[HIGH] = high;
    const low = mmu.load(sum | 0, what);
    if (size === 8) {
      r[to] = low;
      r[to + 1] = at(r, HIGH);
    } else extend(r, to, low, 0, bits === 64, signed);
    return NEXT;
  };
}

/** ldp and stp: two accesses next to each other; both are possible before either is done. */
export function compilePair(site: Site, load: boolean): Operation {
  const { r, mmu } = site.machine;
  const { bits, access } = site.instruction.form;
  const memory = memoryAt(site, 2);
  const [size, signed] = [access?.size ?? 8, access?.signed ?? false];
  const address = compileAddress(site, memory);
  const writeback = compileWriteback(site, memory);
  const what: Described = { size, described: false };
  const next = (low: number, high: number): [low: number, high: number] => {
    const sum = (low >>> 0) + size;
    return [sum | 0, (high + (sum > 0xffff_ffff ? 1 : 0)) | 0];
  };
  if (load) {
    const [first, second] = [target(site, 0), target(site, 1)];
    return () => {
      const low = address();
      const high = at(r, HIGH);
      const a = mmu.load(low, what);
      const aHigh = at(r, HIGH);
      const [behind, behindHigh] = next(low, high);
      r[HIGH] = behindHigh;
      const b = mmu.load(behind, what);
      const bHigh = at(r, HIGH);
      writeback?.();
      if (size === 8) {
        r[first] = a;
        r[first + 1] = aHigh;
        r[second] = b;
        r[second + 1] = bHigh;
      } else {
        extend(r, first, a, 0, bits === 64, signed);
        extend(r, second, b, 0, bits === 64, signed);
      }
      return NEXT;
    };
  }
  const [first, second] = [source(site, 0), source(site, 1)];
  return () => {
    const low = address();
    const high = at(r, HIGH);
    const [behind, behindHigh] = next(low, high);
    const firstView = mmu.forStore(low, high, what);
    const secondView = mmu.forStore(behind, behindHigh, what);
    store(firstView, low & 4095, size, at(r, first), at(r, first + 1));
    store(secondView, behind & 4095, size, at(r, second), at(r, second + 1));
    writeback?.();
    return NEXT;
  };
}

function pairOf(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

export function compileLoadExclusive(site: Site): Operation {
  const { r, mmu, state } = site.machine;
  const size = site.instruction.form.access?.size ?? 8;
  const address = compileAddress(site, memoryAt(site, 1));
  const to = target(site, 0);
  const what: Described = { size, described: false };
  return () => {
    const low = address();
    const high = at(r, HIGH);
    const value = mmu.load(low, what);
    const upper = at(r, HIGH);
    state.monitor = { low, high, size, value: pairOf(value, upper) };
    r[to] = value;
    r[to + 1] = size === 8 ? upper : 0;
    return NEXT;
  };
}

/**
 * Succeeds when the address is the one that was loaded from and still holds what it held. Real monitors also notice that somebody wrote the
 * same value again; a program cannot rely on either, since a store-exclusive may always fail.
 */
export function compileStoreExclusive(site: Site): Operation {
  const { r, mmu, state } = site.machine;
  const size = site.instruction.form.access?.size ?? 8;
  const address = compileAddress(site, memoryAt(site, 2));
  const [status, from] = [target(site, 0), source(site, 1)];
  const what: Described = { size, described: false };
  return () => {
    const low = address();
    const high = at(r, HIGH);
    const view = mmu.forStore(low, high, what);
    const { monitor } = state;
    const expects = monitor !== undefined && monitor.low === low && monitor.high === high && monitor.size === size;
    let done = false;
    if (expects) {
      r[HIGH] = high;
      const value = mmu.load(low, what);
      done = pairOf(value, at(r, HIGH)) === monitor.value;
    }
    if (done) store(view, low & 4095, size, at(r, from), at(r, from + 1));
    state.monitor = undefined;
    r[status] = done ? 0 : 1;
    r[status + 1] = 0;
    return NEXT;
  };
}

/** Finishes a load that the host answered: `bytes` as the access read them. */
export function finishLoad(site: Site, bytes: Uint8Array): void {
  const { r } = site.machine;
  const { bits, access } = site.instruction.form;
  const [size, signed] = [access?.size ?? 8, access?.signed ?? false];
  const view = new DataView(new ArrayBuffer(8));
  bytes.forEach((byte, i) => {
    if (i < size) view.setUint8(i, byte);
  });
  const to = target(site, 0);
  if (size === 8) {
    r[to] = view.getInt32(0, true);
    r[to + 1] = view.getInt32(4, true);
  } else extend(r, to, view.getInt32(0, true), signShift(size, signed), bits === 64, signed);
}
