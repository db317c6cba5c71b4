/** Branches to other code segments, by memory and by the stack: to where there is one, and where there is not. */
import type { Mode } from '../../lib/guest/x64/operands.ts';
import { little, load, placed } from './cpu-bytes.ts';
import { CODE, NOWHERE } from './cpu-places.ts';
import { CODE_SELECTORS, SELECTORS } from './cpu-tables.ts';
import type { Random } from './random.ts';

const NOP = 0x90;
const HLT = 0xf4;
/** Where a branch arrives, and where the words lie that it goes by: behind its own bytes. */
const TARGET = 40;
const POINTER = 48;

interface Goal {
  readonly offset: bigint;
  readonly selector: bigint;
}

/** In real mode every selector is a segment: one by which the target is reached. */
function goal(random: Random, mode: Mode, wide: boolean): Goal {
  const target = CODE + TARGET;
  const strange = [0xffff_fff0n, BigInt(NOWHERE), ...(wide ? [2n ** 47n, 2n ** 56n, 2n ** 63n] : [])];
  if (mode === 16) {
    const selector = random.pick([0, 0, 1, 0x10, 0x100, 0x1ff]);
    return { selector: BigInt(selector), offset: random.once(8) ? 0xffffn : BigInt(target - 16 * selector) };
  }
  return {
    selector: BigInt(random.once(3) ? random.pick(SELECTORS) : random.pick(CODE_SELECTORS)),
    offset: random.once(6) ? random.pick(strange) : BigInt(target),
  };
}

/** ds from 0 on: what is read is not to be left to chance. */
const flatData = (mode: Mode): number[] => (mode === 64 ? [] : [...load(mode, 0, mode === 16 ? 0n : 16n), 0x8e, 0xd8]);

/** push of a word as wide as a far return takes it. */
const push = (mode: Mode, value: bigint, wide: boolean): number[] => {
  const size = mode === 16 ? 2 : 4;
  if (mode !== 64) return [0x68, ...little(value, size)];
  // 32-bit words are put together by two stores, since 64-bit code pushes none.
  return wide ? [0x48, 0xb8, ...little(value, 8), 0x50] : [];
};

/** The code, with what it arrives at. */
export function farBranch(random: Random, mode: Mode): number[] {
  const wide = mode === 64 && random.once(2);
  const { offset, selector } = goal(random, mode, wide);
  const size = mode === 16 ? 2 : wide ? 8 : 4;
  const rex = wide ? [0x48] : [];
  const kind = random.pick(['jump', 'call', 'return', 'return', ...(mode === 16 ? ['interrupt'] : [])]);
  const code: number[] = [];
  if (kind === 'jump' || kind === 'call') {
    code.push(...flatData(mode), ...rex, 0xff, ...placed(mode, kind === 'jump' ? 5 : 3, CODE + POINTER));
  } else if (mode === 64 && !wide) {
    // mov rax, selector:offset; push rax.
    code.push(0x48, 0xb8, ...little(offset, 4), ...little(selector, 4), 0x50);
    code.push(random.once(3) ? 0xcb : 0xca, ...[8, 0]);
  } else {
    // push of the flags of an interrupt return, without those that trap.
    if (kind === 'interrupt')
      code.push(...push(mode, BigInt(random.pick([0x2, 0xcd7, 0x3202, 0x4002, 0xffff & ~0x100])), wide));
    code.push(...push(mode, selector, wide), ...push(mode, offset, wide));
    if (kind === 'interrupt') code.push(0xcf);
    else code.push(...rex, ...(random.once(3) ? [0xca, random.below(3) * 8, 0] : [0xcb]));
  }
  while (code.length < TARGET) code.push(NOP);
  // inc bl; what comes back halts at once.
  code.push(0xfe, 0xc3, HLT);
  while (code.length < POINTER) code.push(HLT);
  return [...code, ...little(offset, size), ...little(selector, 2)];
}

/** lgdt of any table, then of the one that there is, in full or in part; then a segment is loaded by it. */
export function tableLoad(random: Random, mode: Mode, table: bigint): number[] {
  const size = mode === 64 ? 8 : 4;
  const any = random.pick([0n, BigInt(NOWHERE), table, 2n ** 47n, 2n ** 56n, 2n ** 63n, 2n ** 64n - 4096n]);
  // Exceptions need the first two descriptors.
  const limit = random.pick([127n, 119n, 118n, 55n, 0xffffn]);
  const lgdt = (at: number): number[] => [0x0f, 0x01, ...placed(mode, 2, at)];
  const selector = BigInt(random.pick(SELECTORS));
  const second = POINTER + 2 + size;
  const code = [
    ...flatData(mode),
    ...lgdt(CODE + POINTER),
    ...lgdt(CODE + second),
    ...load(mode, 0, selector),
    0x8e,
    0xd8,
  ];
  while (code.length < POINTER) code.push(HLT);
  return [...code, ...little(0xffffn, 2), ...little(any, size), ...little(limit, 2), ...little(table, size)];
}
