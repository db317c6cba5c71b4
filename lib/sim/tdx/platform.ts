/** What all trust domains of a machine share: private key ids, and what the TDX module of the machine offers. A model of a module 1.5. */
import { type kvm_cpuid_entry2 as Entry, kvm_cpuid_entry2 } from '../../uapi/kvm-x86-cpuid.ts';
import { supportedCpuid } from '../kvm/x64/features.ts';
import type { X64Machine as KvmMachine } from '../kvm/x64/machine.ts';

type CpuidEntry = ReturnType<typeof Entry.decode>;

/** TD attributes that KVM supports: SEPT_VE_DISABLE. */
export const SUPPORTED_ATTRIBUTES = 1n << 28n;
export const SEPT_VE_DISABLE = 1n << 28n;
/** x87 and SSE must be on; AVX may. */
export const XFAM = { fixed1: 3n, supported: 7n } as const;
/** user_tdvmcallinfo_1_r11: SetupEventNotifyInterrupt. */
export const USER_CALLS = 2n;

interface Configurable {
  readonly leaf: number;
  readonly index: number;
  /** Bits that a VMM may set, in eax, ebx, ecx, edx. */
  readonly masks: readonly [eax: number, ebx: number, ecx: number, edx: number];
}

const ALL = 0xffff_ffff;
/** Guest width in 0x80000008 is KVM's own use of bits that the module has not. */
export const CONFIGURABLE: readonly Configurable[] = [
  { leaf: 1, index: 0, masks: [0x0fff_3fff, 0x00ff_0000, 0x8100_0008 | (1 << 21), 0x1080_e178] },
  { leaf: 7, index: 0, masks: [0, 0xd010_0309, 0x1a40_5f46, 0x0010_0010] },
  { leaf: 0x15, index: 0, masks: [ALL, ALL, ALL, 0] },
  { leaf: 0x8000_0008, index: 0, masks: [0x00ff_0000, 0x0000_0200, 0, 0] },
].map((row) => ({ ...row, masks: row.masks.map((mask) => mask >>> 0) as unknown as Configurable['masks'] }));

const X2APIC = 1 << 21;

/** What a vCPU of a trust domain is told: the machine's own, with x2APIC, and the width of guest addresses. */
export function domainCpuid(machine: KvmMachine, width: number): CpuidEntry[] {
  const { bytes, count } = supportedCpuid(machine);
  const all = Array.from({ length: count }, (_, i) => kvm_cpuid_entry2.decode(bytes, i * kvm_cpuid_entry2.size));
  return all
    .filter((entry) => entry.function >>> 24 !== 0x40 && entry.function >>> 0 !== 0x8000_001f)
    .map((entry) => {
      const leaf = entry.function >>> 0;
      if (leaf === 1) return { ...entry, ecx: (entry.ecx | X2APIC) >>> 0 };
      if (leaf === 0x8000_0000) return { ...entry, eax: 0x8000_0008 };
      return leaf === 0x8000_0008 ? { ...entry, eax: (entry.eax | (width << 16)) >>> 0 } : entry;
    });
}

export const hasX2Apic = (entries: readonly { readonly function: number; readonly ecx: number }[]): boolean =>
  entries.some((entry) => entry.function === 1 && (entry.ecx & X2APIC) !== 0);

const keys = new WeakMap<KvmMachine, { left: number }>();

/** A private key id for one more trust domain; false when all are taken. */
export function takeKey(machine: KvmMachine): boolean {
  const known = keys.get(machine) ?? { left: machine.memoryKeys };
  keys.set(machine, known);
  if (known.left === 0) return false;
  known.left--;
  return true;
}

export function freeKey(machine: KvmMachine): void {
  const known = keys.get(machine);
  if (known !== undefined) known.left++;
}
