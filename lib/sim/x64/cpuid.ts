/** What the guest sees of KVM_SET_CPUID2. */
import type { PagingTraits } from './reserved.ts';

/** The fields of struct kvm_cpuid_entry2 that matter here. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export type CpuidValues = Pick<CpuidEntry, 'eax' | 'ebx' | 'ecx' | 'edx'>;

const SIGNIFICANT_INDEX = 1;
const NOTHING: CpuidValues = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
/** The ebx of leaf 0 of AuthenticAMD and HygonGenuine: out-of-range leaves are zeros there. */
const ZEROING_VENDORS: ReadonlySet<number> = new Set([0x6874_7541, 0x6f67_7948]);
/** Where CPUID says nothing about physical addresses. */
const DEFAULT_PHYSICAL_BITS = 36;
const APIC_ENABLED = 0x800n;
const CR4_OSXSAVE = 0x4_0000n;

export class Cpuid {
  #entries: readonly CpuidEntry[] = [];
  #paging: PagingTraits = { physicalBits: DEFAULT_PHYSICAL_BITS, reservesGlobal: false };

  get entries(): readonly CpuidEntry[] {
    return this.#entries;
  }

  set(entries: readonly CpuidEntry[]): void {
    this.#entries = entries.map((entry) => ({ ...entry }));
    this.#paging = this.#pagingTraits();
  }

  /** What page tables depend on. */
  get paging(): PagingTraits {
    return this.#paging;
  }

  #pagingTraits(): PagingTraits {
    return {
      physicalBits: physicalBits(this),
      reservesGlobal: ZEROING_VENDORS.has((this.#find(0, 0)?.ebx ?? 0) >>> 0),
    };
  }

  #find(leaf: number, index: number): CpuidEntry | undefined {
    return this.#entries.find(
      (entry) =>
        entry.function >>> 0 === leaf && ((entry.flags & SIGNIFICANT_INDEX) === 0 || entry.index >>> 0 === index),
    );
  }

  /** The leaf that answers: for one above the highest of its class the highest basic one, as Intel processors do. */
  #outOfRange(leaf: number): number {
    const basic = this.#find(0, 0);
    if (basic === undefined || ZEROING_VENDORS.has(basic.ebx >>> 0)) return leaf;
    const hypervisor = leaf >= 0x4000_0000 && leaf <= 0x4fff_ffff;
    const first = hypervisor ? leaf - (leaf % 256) : leaf >= 0xc000_0000 ? 0xc000_0000 : leaf >= 2 ** 31 ? 2 ** 31 : 0;
    const top = this.#find(first, 0);
    return top !== undefined && leaf <= top.eax >>> 0 ? leaf : basic.eax >>> 0;
  }

  /** Two bits of leaf 1 follow the processor's state. */
  query(leaf: number, index: number, cr4: bigint, apicBase: bigint): CpuidValues {
    const exact = this.#find(leaf, index);
    const answered = exact === undefined ? this.#outOfRange(leaf) : leaf;
    const found = exact ?? (answered === leaf ? undefined : this.#find(answered, index));
    if (found === undefined) {
      // Beyond the last level of a topology leaf the level and the processor's id remain.
      const level = answered === 0xb || answered === 0x1f ? this.#find(answered, 1) : undefined;
      return level === undefined ? NOTHING : { eax: 0, ebx: 0, ecx: index & 0xff, edx: level.edx };
    }
    if (exact === undefined || leaf !== 1) return found;
    const osxsave = (cr4 & CR4_OSXSAVE) === 0n ? 0 : 1 << 27;
    const apic = (apicBase & APIC_ENABLED) === 0n ? 0 : 1 << 9;
    const ecx = (found.ecx & (1 << 26)) === 0 ? found.ecx : (found.ecx & ~(1 << 27)) | osxsave;
    return { eax: found.eax, ebx: found.ebx, ecx, edx: (found.edx & ~(1 << 9)) | apic };
  }
}

const HIGHEST_EXTENDED_LEAF = 0x8000_0000;
const ADDRESS_SIZES_LEAF = 0x8000_0008;

/** Of the guest's processor. */
export function physicalBits(cpuid: Cpuid): number {
  const leaf = (number: number): CpuidEntry | undefined => cpuid.entries.find((one) => one.function >>> 0 === number);
  const reaches = (leaf(HIGHEST_EXTENDED_LEAF)?.eax ?? 0) >>> 0 >= ADDRESS_SIZES_LEAF;
  const entry = reaches ? leaf(ADDRESS_SIZES_LEAF) : undefined;
  return entry === undefined ? DEFAULT_PHYSICAL_BITS : entry.eax & 0xff;
}
