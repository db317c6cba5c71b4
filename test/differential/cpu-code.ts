/** Code as a command, and the values that it works on. */
import { Buffer } from 'node:buffer';
import { disassemble } from '../../lib/guest/x64/index.ts';
import type { Mode } from '../../lib/guest/x64/operands.ts';
import type { CpuCommand } from './cpu-commands.ts';
import { CODE, DATA, NOWHERE } from './cpu-places.ts';
import type { Random } from './random.ts';

const INTERESTING = [0n, 1n, 2n, 3n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n];
const WORD = 2n ** 64n;

/** @param hides flags that nobody promises. */
export function codeCommand(random: Random, mode: Mode, bytes: readonly number[], hides = 0): CpuCommand {
  const text = disassemble(Uint8Array.from(bytes), mode, CODE)
    .map((line) => line.text)
    .join('; ');
  const answer = BigInt(random.next()) * 0x1_0000_0001n;
  return { do: 'code', mode: mode, bytes: Buffer.from(bytes).toString('hex'), text, hides, answer };
}

/** Mostly at an edge, or an address. */
export function randomValue(random: Random): bigint {
  if (random.once(2)) return BigInt.asUintN(64, random.pick(INTERESTING) * (random.once(3) ? -1n : 1n));
  if (random.once(3)) return BigInt(DATA + 0x800 + random.below(0x200));
  if (random.once(12)) return BigInt(NOWHERE + random.below(0x100));
  return BigInt.asUintN(64, (BigInt(random.next()) << 32n) | BigInt(random.next())) % WORD;
}
