/** What the simulated processor has: KVM_GET_SUPPORTED_CPUID and KVM_GET_MSR_INDEX_LIST. */
import { kvm_cpuid_entry2 } from '../../../uapi/kvm-x86-cpuid.ts';
import { C_BIT } from '../../sev/platform.ts';
import { type CpuidEntry, X64Cpu } from '../../x64/index.ts';
import type { X64Machine } from './machine.ts';

const GENUINE_INTEL = { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e };
const KVM_SIGNATURE = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };

const bits = (...positions: readonly number[]): number => positions.reduce((word, bit) => word | (1 << bit), 0) >>> 0;

/** Family 6, an old model: nothing is to be concluded from it. */
const SIGNATURE = 0x6f0;
/** PSE, TSC, MSR, PAE, CX8, PGE, CMOV. */
const LEAF_1_EDX = bits(3, 4, 5, 6, 8, 13, 15);
/** A hypervisor is there. */
const LEAF_1_ECX = bits(31);
/** NX, long mode; pages of 1 GiB where guests run on a processor. */
const EXTENDED_EDX = bits(20, 29);
const GIGABYTE_PAGES = bits(26);
const LINEAR_BITS = 48;

function leaf(number: number, values: Partial<Omit<CpuidEntry, 'function'>> = {}): CpuidEntry {
  return { function: number, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...values };
}

const SEV_LEAF = 0x8000_001f;
/** Physical address bits that encryption takes away. */
const REDUCED_BITS = 5;

/** SEV, SEV-ES, SEV-SNP; where the C-bit is. */
function sevLeaf({ technologies }: X64Machine): CpuidEntry {
  const offered = [
    ...(technologies.has('sev') ? [1] : []),
    ...(technologies.has('sev-es') ? [3] : []),
    ...(technologies.has('sev-snp') ? [4] : []),
  ];
  return leaf(SEV_LEAF, { eax: bits(...offered), ebx: C_BIT | (REDUCED_BITS << 6) });
}

export function supportedCpuid(machine: X64Machine): { readonly bytes: Uint8Array; readonly count: number } {
  const { physicalBits, sev, emulatesGuests } = machine;
  const leaves = [
    leaf(0, { eax: 1, ...GENUINE_INTEL }),
    leaf(1, { eax: SIGNATURE, ecx: LEAF_1_ECX, edx: LEAF_1_EDX }),
    leaf(0x8000_0000, { eax: sev ? SEV_LEAF : 0x8000_0008 }),
    leaf(0x8000_0001, { edx: emulatesGuests ? EXTENDED_EDX : EXTENDED_EDX | GIGABYTE_PAGES }),
    leaf(0x8000_0008, { eax: physicalBits | (LINEAR_BITS << 8) }),
    ...(sev ? [sevLeaf(machine)] : []),
    // Paravirtual features: none.
    leaf(0x4000_0000, { eax: 0x4000_0001, ...KVM_SIGNATURE }),
    leaf(0x4000_0001),
  ];
  const bytes = new Uint8Array(leaves.length * kvm_cpuid_entry2.size);
  leaves.forEach((entry, i) => {
    bytes.set(kvm_cpuid_entry2.encode(entry), i * kvm_cpuid_entry2.size);
  });
  return { bytes, count: leaves.length };
}

/** MSRs that a migration would carry, in the order of msrs_to_save and emulated_msrs; of these the ones that the vCPU has. */
const CANDIDATES = [
  ...[0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0083, 0xc000_0102, 0xc000_0084, 0xc000_0082, 0x10, 0x277],
  ...[0x3a, 0x1d9, 0x12, 0x11, 0x4b56_4d01, 0x4b56_4d00, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04, 0x3b, 0x1a0],
  ...[0x17a, 0xce, 0x140, 0x8b, 0x4b56_4d05],
];

export function supportedMsrs(): Uint32Array<ArrayBuffer> {
  const cpu = new X64Cpu();
  return Uint32Array.from(CANDIDATES.filter((index) => cpu.getMsr(index) !== undefined));
}
