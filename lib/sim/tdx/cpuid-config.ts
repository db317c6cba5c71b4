/** The CPUID that a VMM configures for a trust domain. arch/x86/kvm/vmx/tdx.c, setup_tdparams_eptp_controls and setup_tdparams_cpuids */
import type { kvm_cpuid_entry2 } from '../../uapi/kvm-x86-cpuid.ts';
import { CONFIGURABLE } from './platform.ts';

type Entry = ReturnType<typeof kvm_cpuid_entry2.decode>;

const SIGNIFICANT_INDEX = 1;
const WIDTH_LEAF = 0x8000_0008;
const WIDTH_SHIFT = 16;
const WIDTH_MASK = 0x00ff_0000;
/** Of leaf 7: HLE and RTM, WAITPKG. KVM cannot support them here. */
const UNSUPPORTED = { ebx: (1 << 4) | (1 << 11), ecx: 1 << 5 } as const;

function find(entries: readonly Entry[], leaf: number, index: number): Entry | undefined {
  return entries.find(
    (entry) =>
      entry.function >>> 0 === leaf && ((entry.flags & SIGNIFICANT_INDEX) === 0 || entry.index >>> 0 === index),
  );
}

/** 48 or 52 from leaf 0x80000008; undefined for anything else. 52 needs a processor with five levels of page tables. */
export function guestWidth(entries: readonly Entry[], physicalBits: number): 48 | 52 | undefined {
  const width = ((find(entries, WIDTH_LEAF, 0)?.eax ?? 0) >>> WIDTH_SHIFT) & 0xff;
  if (width === 48) return 48;
  return width === 52 && physicalBits === 52 ? 52 : undefined;
}

/** `unknown`: KVM refuses it, since the module has no such leaf; `refused`: the module does, for a bit that is not to be configured. */
export function checkCpuid(entries: readonly Entry[]): 'fits' | 'unknown' | 'refused' {
  let taken = 0;
  let fits = true;
  for (const { leaf, index, masks } of CONFIGURABLE) {
    const entry = find(entries, leaf, index);
    if (entry === undefined) continue;
    if (leaf === 7 && ((entry.ebx & UNSUPPORTED.ebx) !== 0 || (entry.ecx & UNSUPPORTED.ecx) !== 0)) return 'unknown';
    taken++;
    const words = [leaf === WIDTH_LEAF ? entry.eax & ~WIDTH_MASK : entry.eax, entry.ebx, entry.ecx, entry.edx];
    // The width is KVM's, not the module's.
    const allowed = leaf === WIDTH_LEAF ? [masks[0] & ~WIDTH_MASK, masks[1], masks[2], masks[3]] : masks;
    if (words.some((word, i) => (word & ~(allowed[i] ?? 0)) !== 0)) fits = false;
  }
  if (taken !== entries.length) return 'unknown';
  return fits ? 'fits' : 'refused';
}
