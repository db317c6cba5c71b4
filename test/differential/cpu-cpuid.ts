/**
 * What a guest is told of its processor: random leaves that mean something to KVM. Not 1, 7 and 13: some hosts' KVM puts in their place what it
 * thinks right itself.
 */
import type { CpuCommand, Leaf } from './cpu-commands.ts';
import type { Random } from './random.ts';

const SIGNIFICANT_INDEX = 1;
const INTEL = { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e };
const AMD = { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 };

const bits = (random: Random, ...positions: readonly number[]): number => random.bits(positions.map((at) => 2 ** at));

/** Leaves that a program may ask for. */
export const ASKED = [0, 2, 0xb, 0x1f, 0x4000_0000, 0x4000_0001, 0x4000_0100, 0x8000_0000, 0x8000_0001];
export const ASKED_ABOVE = [0x8000_0008, 0x8000_0020, 0x9000_0000, 0xc000_0000, 0xffff_ffff];

export function randomCpuid(random: Random): CpuCommand {
  const leaf = (number: number, values: Partial<Leaf>): Leaf => ({
    ...{ function: number, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
    ...values,
  });
  const all: readonly Leaf[] = [
    leaf(0, { eax: random.pick([0, 0xb]), ...random.pick([INTEL, AMD]) }),
    leaf(0xb, { flags: SIGNIFICANT_INDEX, index: 1, eax: 4, ebx: 2, ecx: 0x201, edx: 5 }),
    leaf(0x4000_0000, { eax: 0x4000_0001, ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d }),
    leaf(0x4000_0001, { eax: 1 }),
    leaf(0x8000_0000, { eax: 0x8000_0008 }),
    leaf(0x8000_0001, { edx: bits(random, 11, 20, 26, 29) }),
    leaf(0x8000_0008, { eax: random.pick([36, 40, 48]) | (random.pick([0, 48, 48, 57, 32]) << 8) }),
  ];
  return {
    do: 'cpuid',
    leaves: all.filter(() => !random.once(5)),
    room: random.pick([0, 0, 0, 3, -1]),
  };
}
