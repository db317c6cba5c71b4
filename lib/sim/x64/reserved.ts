/** Bits of page-table entries that must be 0. arch/x86/kvm/mmu/mmu.c, __reset_rsvds_bits_mask */

/** What CPUID says of the processor, as far as page tables depend on it. */
export interface PagingTraits {
  /** Width of physical addresses. */
  readonly physicalBits: number;
  /** AMD and Hygon: the global bit of an entry that leads to another table. */
  readonly reservesGlobal: boolean;
}

const LARGE = 0x80;
const GLOBAL = 0x100;
/** Bits 13 to 20 and 13 to 29 of a page of 2 MiB and 1 GiB; 17 to 21 of one of 4 MiB, whose others are an address (PSE-36). */
const INSIDE_2M = 0x1f_e000;
const INSIDE_1G = 0x3fff_e000;
const INSIDE_4M = 0x3e_0000;
const HIGH_ADDRESS_BITS = 20;
const LEGACY_BITS = 31;

export interface Entry {
  readonly low: number;
  readonly high: number;
  readonly level: number;
  readonly large: boolean;
}

/** Whether a 32-bit entry has one. */
export const isReserved32 = ({ low, large }: Entry): boolean => large && (low & INSIDE_4M) !== 0;

function inLow({ low, level }: Entry, traits: PagingTraits): number {
  const large = (low & LARGE) !== 0;
  if (level > 3) return LARGE | (traits.reservesGlobal ? GLOBAL : 0);
  // Pages of 1 GiB take CPUID's word and KVM's own (guest_cpu_cap_has, since 6.14): a KVM that emulates its guests does not offer them.
  if (level === 3) return large ? INSIDE_1G | LARGE : 0;
  return level === 2 && large ? INSIDE_2M : 0;
}

/** Whether a 64-bit entry has one, besides NX. Outside long mode the bits above an address are reserved, too. */
export function isReserved64(entry: Entry, traits: PagingTraits, long: boolean): boolean {
  const { low, high } = entry;
  const end = long ? HIGH_ADDRESS_BITS : LEGACY_BITS;
  const from = Math.max(0, traits.physicalBits - 32);
  const above = from >= end ? 0 : 2 ** end - 2 ** from;
  return (low & inLow(entry, traits)) !== 0 || (high & above) !== 0;
}
