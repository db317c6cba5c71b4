/**
 * CPUID of a vCPU: taken from what KVM supports, never beyond it. `modest` keeps what every kernel has handled for ten years and no state component of
 * XSAVE; `minimal` keeps the x86-64 of 2003, for a KVM that emulates every instruction and knows few of the later ones (no CMPXCHG16B, for one); `host`
 * keeps all. Each gets the topology of our machine.
 * Bits: the processor manuals; include/asm/cpufeatures.h names them.
 */
import type { CpuidEntry } from '../../kvm/growing.ts';

export type CpuidPolicy = 'minimal' | 'modest' | 'host';

export interface CpuidOptions {
  readonly supported: readonly CpuidEntry[];
  readonly policy: CpuidPolicy;
  readonly vcpu: number;
  readonly cpus: number;
  /** The local APIC is in the kernel: x2APIC and, with `tscDeadline`, its timer's deadline mode. */
  readonly apic: boolean;
  readonly tscDeadline: boolean;
  /** Paravirtual features that write into guest memory through the host's side: not for private memory. Default true. */
  readonly paravirtual?: boolean;
}

const bits = (...numbers: readonly number[]): number => numbers.reduce((mask, bit) => mask | (2 ** bit), 0) >>> 0;
const and = (a: number, b: number): number => (a & b) >>> 0;
const or = (a: number, b: number): number => (a | b) >>> 0;

const X2APIC = bits(21);
const TSC_DEADLINE = bits(24);
const HYPERVISOR = bits(31);
const HTT = bits(28);
/** SSE3, PCLMULQDQ, SSSE3, CX16, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, TSC deadline, AES, RDRAND, hypervisor. */
const LEAF_1_ECX = bits(0, 1, 9, 13, 19, 20, 21, 22, 23, 24, 25, 30, 31);
/** FSGSBASE, SMEP, ERMS, RDSEED, SMAP, CLFLUSHOPT. */
const LEAF_7_EBX = bits(0, 7, 9, 18, 20, 23);
/** LAHF, CR8 in legacy mode, LZCNT, prefetchw. */
const EXTENDED_1_ECX = bits(0, 4, 5, 8);
/** SVM and VMX: the guest is none of ours to nest. */
const VMX = bits(5);
const SVM = bits(2);
const HIGHEST_MODEST = 0xd;
const HIGHEST_EXTENDED = 0x8000_0008;
/** Leaves that describe what `modest` hides: power, performance, XSAVE, and later. */
const MODEST_LEAVES: ReadonlySet<number> = new Set([0, 1, 2, 4, 7, 0xb]);
const KVM_SIGNATURE = 0x4000_0000;
const KVM_FEATURES = 0x4000_0001;
/** No I/O delay, x2APIC-like destination ids: nothing of them is written by KVM. KVM_FEATURE of asm/kvm_para.h */
const WRITES_NOTHING = bits(1, 15);
const TOPOLOGY = [0xb, 0x1f];
const LEVEL_THREAD = 1;
const LEVEL_CORE = 2;

/** x2APIC, TSC deadline, hypervisor. */
const MINIMAL_1_ECX = bits(21, 24, 31);
/** LAHF. */
const MINIMAL_EXTENDED_1_ECX = bits(0);

type Registers = Pick<CpuidEntry, 'eax' | 'ebx' | 'ecx' | 'edx'>;

function modest(entry: CpuidEntry): CpuidEntry | undefined {
  const { function: leaf, index } = entry;
  if (leaf >= KVM_SIGNATURE && leaf <= KVM_FEATURES) return entry;
  if (leaf < KVM_SIGNATURE && !MODEST_LEAVES.has(leaf)) return undefined;
  if (leaf > HIGHEST_EXTENDED || (leaf > KVM_FEATURES && leaf < 0x8000_0000)) return undefined;
  switch (leaf) {
    case 0:
      return { ...entry, eax: Math.min(entry.eax, HIGHEST_MODEST) };
    case 1:
      return { ...entry, ecx: and(entry.ecx, LEAF_1_ECX) };
    case 7:
      return index > 0 ? undefined : { ...entry, eax: 0, ebx: and(entry.ebx, LEAF_7_EBX), ecx: 0, edx: 0 };
    case 0x8000_0000:
      return { ...entry, eax: Math.min(entry.eax, HIGHEST_EXTENDED) };
    case 0x8000_0001:
      return { ...entry, ecx: and(entry.ecx, EXTENDED_1_ECX) };
    case 0x8000_0008:
      return { ...entry, ebx: 0 };
    default:
      return entry;
  }
}

function minimal(entry: CpuidEntry): CpuidEntry {
  const { function: leaf, ecx } = entry;
  if (leaf === 1) return { ...entry, ecx: and(ecx, MINIMAL_1_ECX) };
  if (leaf === 7) return { ...entry, ebx: 0 };
  return leaf === 0x8000_0001 ? { ...entry, ecx: and(ecx, MINIMAL_EXTENDED_1_ECX) } : entry;
}

function choose(entry: CpuidEntry, policy: CpuidPolicy): CpuidEntry | undefined {
  if (policy === 'host') return entry;
  const kept = modest(entry);
  return kept !== undefined && policy === 'minimal' ? minimal(kept) : kept;
}

/** Bits that hold `count` ids. */
const width = (count: number): number => Math.ceil(Math.log2(count));

function topology(entry: CpuidEntry, { vcpu, cpus, apic, tscDeadline }: CpuidOptions): Registers {
  const { function: leaf, index, eax, ebx, ecx, edx } = entry;
  if (leaf === 1) {
    const ids = Math.min(255, 2 ** width(cpus));
    const timer = apic ? or(X2APIC, tscDeadline ? TSC_DEADLINE : 0) : 0;
    return {
      eax,
      ebx: or(and(ebx, 0xffff), or(((vcpu & 0xff) << 24) >>> 0, ids << 16)),
      ecx: or(and(ecx, ~or(or(VMX, X2APIC), TSC_DEADLINE)), or(HYPERVISOR, timer)),
      edx: cpus > 1 ? or(edx, HTT) : and(edx, ~HTT),
    };
  }
  // One thread in a core; all cores in one package.
  if (leaf === 4) return { eax: or(and(eax, 0x3ff), ((Math.min(cpus, 64) - 1) << 26) >>> 0), ebx, ecx, edx };
  if (TOPOLOGY.includes(leaf)) {
    const level = index === 0 ? LEVEL_THREAD : index === 1 ? LEVEL_CORE : 0;
    const shift = index === 0 ? 0 : width(cpus);
    const count = index === 0 ? 1 : cpus;
    return { eax: level === 0 ? 0 : shift, ebx: level === 0 ? 0 : count, ecx: or(index, level << 8), edx: vcpu };
  }
  if (leaf === 0x8000_0001) return { eax, ebx, ecx: and(ecx, ~SVM), edx };
  if (leaf === 0x8000_0008) return { eax, ebx, ecx: (cpus - 1) & 0xff, edx };
  return { eax, ebx, ecx, edx };
}

/** The entries for KVM_SET_CPUID2. */
export function cpuidFor(options: CpuidOptions): CpuidEntry[] {
  const kept = options.supported.flatMap((entry) => {
    const one = choose(entry, options.policy);
    return one === undefined || TOPOLOGY.includes(one.function) ? [] : [one];
  });
  // Two levels whatever the host has.
  const leaves = options.supported.some(({ function: leaf }) => leaf === 0xb) ? [0xb] : [];
  const levels = leaves.flatMap((leaf) =>
    [0, 1].map((index) => ({ function: leaf, index, flags: 1, eax: 0, ebx: 0, ecx: 0, edx: 0 })),
  );
  return [...kept, ...levels].map((entry) => {
    const registers = { ...entry, ...topology(entry, options) };
    if (options.paravirtual === false && entry.function === KVM_FEATURES) {
      return { ...registers, eax: and(registers.eax, WRITES_NOTHING) };
    }
    return registers;
  });
}
