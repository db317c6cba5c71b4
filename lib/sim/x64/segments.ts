/** Loading segment registers: from descriptors in memory, or as the paragraph that they are in real mode. */
import type { Machine } from './machine.ts';
import { at, HIGH } from './registers.ts';
import { realModeSegment, SEGMENT, type Segment } from './state.ts';
import { VECTOR } from './stop.ts';

/** Does something as the processor itself, whatever the privilege of the code: reading tables, pushing frames. */
export function asSupervisor<T>({ state, mmu }: Machine, action: () => T): T {
  const { cpl } = state;
  if (cpl === 0) return action();
  // What the code may reach is remembered apart from what the processor may reach.
  mmu.flush();
  state.cpl = 0;
  try {
    return action();
  } finally {
    // Not what it was before: the action may have been an entry into another level.
    state.refresh();
    mmu.flush();
  }
}

/** The linear address `offset` bytes behind `base`, as halves. */
export function linearAt(machine: Machine, base: bigint, offset: number): readonly [low: number, high: number] {
  const linear = BigInt.asUintN(machine.state.long ? 64 : 32, base + BigInt(offset));
  return [Number(linear & 0xffff_ffffn) | 0, Number(linear >> 32n) | 0];
}

function decodeDescriptor(selector: number, low: number, high: number): Segment {
  const g = (high >>> 23) & 1;
  const limit = (low & 0xffff) | (high & 0xf_0000);
  return {
    base: BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0),
    limit: g === 1 ? ((limit << 12) | 0xfff) >>> 0 : limit,
    selector,
    type: (high >>> 8) & 15,
    s: (high >>> 12) & 1,
    dpl: (high >>> 13) & 3,
    present: (high >>> 15) & 1,
    avl: (high >>> 20) & 1,
    l: (high >>> 21) & 1,
    db: (high >>> 22) & 1,
    g,
    unusable: ((high >>> 15) & 1) ^ 1,
    padding: 0,
  };
}

/** The descriptor that a selector names. Throws #GP for one outside its table. */
export function readDescriptor(machine: Machine, selector: number, fault: number = VECTOR.protection): Segment {
  const { state, memory, r } = machine;
  const table = (selector & 4) === 0 ? state.gdt : state.ldt;
  if ((selector | 7) > table.limit) throw state.exception(fault, selector & ~3);
  const [low, high] = linearAt(machine, table.base, selector & ~7);
  return asSupervisor(machine, () => {
    const first = memory.load(low, high, 8);
    return decodeDescriptor(selector, first, at(r, HIGH));
  });
}

/** A descriptor that passed all checks says so, in its table too. */
export function markAccessed(machine: Machine, segment: Segment): Segment {
  if (segment.s === 0 || (segment.type & 1) !== 0) return segment;
  const { state, memory } = machine;
  const { selector, dpl, type } = segment;
  const table = (selector & 4) === 0 ? state.gdt : state.ldt;
  const [low, high] = linearAt(machine, table.base, (selector & ~7) + 5);
  asSupervisor(machine, () => memory.store(low, high, 1, 0x91 | (dpl << 5) | type, 0));
  return { ...segment, type: type | 1 };
}

function nullSegment(selector: number, dpl: number): Segment {
  const empty = realModeSegment(selector, 0n, 0, 0);
  return { ...empty, limit: 0, present: 0, unusable: 1, dpl };
}

/** mov to es, ss, ds, fs, gs. Throws #GP, #NP or #SS with the selector. */
export function loadSegment(machine: Machine, index: number, selector: number): void {
  const { state } = machine;
  if (!state.protected) {
    // Limit and rights stay: that is how programs get at more than 64 KiB from real mode.
    const known = state.segment(index);
    // One that was unusable had no rights either.
    const old =
      known.unusable === 0
        ? known
        : { ...known, limit: 0, type: 0, s: 0, present: 0, db: 0, g: 0, dpl: 0, l: 0, avl: 0 };
    state.setSegment(index, { ...old, selector, base: BigInt(selector * 16), unusable: old.present ^ 1 });
    return;
  }
  const segment = checkedSegment(machine, index, selector);
  const before = state.segment(index);
  state.setSegment(index, segment);
  if (index === SEGMENT.ss && (segment.db !== before.db || segment.dpl !== before.dpl)) {
    machine.mmu.flush();
    state.refresh();
  }
}

function checkedSegment(machine: Machine, index: number, selector: number): Segment {
  const { state } = machine;
  const { cpl } = state;
  const rpl = selector & 3;
  const refuse = (vector: number = VECTOR.protection) => state.exception(vector, selector & ~3);
  if ((selector & ~3) === 0) {
    if (index !== SEGMENT.ss) return nullSegment(selector, 0);
    if (state.codeBits !== 64 || cpl === 3 || rpl !== cpl) throw state.exception(VECTOR.protection, 0);
    // The privilege level is kept in ss, so KVM makes it a usable segment of one page.
    const usable = { type: 3, s: 1, present: 1, unusable: 0, db: 1, g: 1, limit: 0xfff };
    return { ...nullSegment(selector, cpl), ...usable };
  }
  const segment = readDescriptor(machine, selector);
  const isCode = (segment.type & 8) !== 0;
  if (segment.s === 0) throw refuse();
  if (index === SEGMENT.ss) {
    if (rpl !== cpl || segment.dpl !== cpl || isCode || (segment.type & 2) === 0) throw refuse();
  } else {
    if (isCode && (segment.type & 2) === 0) throw refuse();
    const conforming = (segment.type & 12) === 12;
    if (!conforming && (rpl > segment.dpl || cpl > segment.dpl)) throw refuse();
  }
  if (segment.present === 0) throw refuse(index === SEGMENT.ss ? VECTOR.stack : VECTOR.notPresent);
  return markAccessed(machine, segment);
}
