/** 64-bit code that changes the page tables by which it and its data are reached. */
import { little, load } from './cpu-bytes.ts';
import { DATA, NOWHERE, TABLES } from './cpu-places.ts';
import type { Random } from './random.ts';

/** One for each level, as identityPageTables lays them: 512 GiB, 1 GiB, then pages of 2 MiB; the last is that of NOWHERE. */
const ENTRIES = [TABLES, TABLES + 0x1000, TABLES + 0x2000, TABLES + 0x3000 + ((NOWHERE >>> 21) & 511) * 8];
const KEPT = [0n, 0xffff_fffen, 0xffff_fffdn, 0xffff_ff9fn];
/** User, write-through, large, global, ignored, inside a large page, a frame. */
const LOW_BITS = [0x4n, 0x8n, 0x80n, 0x100n, 0x200n, 0x2000n, 0x10_0000n, 0x1000n, 0x4000_0000n];
/** From bit 32 on: addresses of some width, what is ignored, no execution. */
const HIGH_BITS = [1n, 8n, 0x10n, 0x80n, 0x100n, 0x8000n, 0x8_0000n, 0x10_0000n, 0x4000_0000n, 0x8000_0000n];

/** and, or: dword ptr [at], value. */
const change = (digit: 1 | 4, at: number, value: bigint): number[] => [
  ...[0x81, 0x04 | (digit << 3), 0x25],
  ...little(BigInt(at), 4),
  ...little(value, 4),
];

/** An entry loses bits, gets some, or both. */
export function changedEntry(random: Random): number[] {
  // mov dword ptr [at], 0x83: one page of 1 GiB, the same memory.
  if (random.once(8)) return [0xc7, 0x04, 0x25, ...little(BigInt(TABLES + 0x1000), 4), ...little(0x83n, 4)];
  const entry = random.pick(ENTRIES);
  const code = random.once(3) ? change(4, entry, random.pick(KEPT)) : [];
  if (code.length > 0 && random.once(2)) return code;
  const [at, bits] = random.once(2) ? [entry, random.pick(LOW_BITS)] : [entry + 4, random.pick(HIGH_BITS)];
  return [...code, ...change(1, at, bits)];
}

/** What finds it: a read, a write or a jump, mostly by the entry of NOWHERE. */
export function probe(random: Random): number[] {
  const at = random.once(4) ? DATA : NOWHERE + random.pick([0, 0x123, 0xffe]);
  return [
    ...load(64, 0, BigInt(at)),
    ...random.pick([
      [0x8b, 0x18],
      [0x89, 0x18],
      [0x01, 0x18],
      [0xff, 0xe0],
    ]),
  ];
}

/** Jumps to where no memory is, or to where it ends. */
export const jumpAway = (random: Random): number[] => [
  ...load(64, 0, BigInt(random.pick([NOWHERE, NOWHERE + 0x1f_fff0, NOWHERE + 0xff0, 0x3f_fff0]))),
  ...[0xff, 0xe0],
];
