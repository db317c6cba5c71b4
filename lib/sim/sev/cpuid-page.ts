/**
 * The CPUID page of an SEV-SNP launch: what the guest will be told without asking the hypervisor, so the firmware compares it with the
 * machine first. A model of that check: a leaf may say less than the machine, never more. Layout: SEV-SNP Firmware ABI, 8.14.2.6.
 */
import { kvm_cpuid_entry2 } from '../../uapi/kvm-x86-cpuid.ts';

const COUNT_MAX = 64;
const HEADER = 16;
const ENTRY = 48;
const AT = { function: 0, index: 4, eax: 0x18 } as const;
const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;
/** Leaves whose words are sets of features: what the machine lacks must not be claimed. Others must be equal, or not be known there. */
const FEATURES: ReadonlySet<number> = new Set([0x8000_0001, 0x8000_001f]);
/** In leaf 1 only ecx and edx are; the rest names the processor. */
const LEAF_1_FEATURES: ReadonlySet<string> = new Set(['ecx', 'edx']);

/** Puts the page right in place; true when nothing had to be changed. `supported` is an array of kvm_cpuid_entry2. */
export function correctCpuidPage(page: Uint8Array, supported: Uint8Array): boolean {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  let right = true;
  const count = view.getUint32(0, true);
  if (count > COUNT_MAX) {
    view.setUint32(0, COUNT_MAX, true);
    right = false;
  }
  const size = kvm_cpuid_entry2.size;
  const machine = Array.from({ length: supported.length / size }, (_, i) =>
    kvm_cpuid_entry2.decode(supported, i * size),
  );
  for (let i = 0; i < Math.min(count, COUNT_MAX); i++) {
    const at = HEADER + i * ENTRY;
    const leaf = view.getUint32(at + AT.function, true);
    const index = view.getUint32(at + AT.index, true);
    const known = machine.find(
      (entry) => entry.function >>> 0 === leaf && (entry.index === index || entry.flags === 0),
    );
    REGISTERS.forEach((register, j) => {
      const offset = at + AT.eax + 4 * j;
      const claimed = view.getUint32(offset, true);
      const has = known === undefined ? 0 : known[register] >>> 0;
      const isMask = FEATURES.has(leaf) || (leaf === 1 && LEAF_1_FEATURES.has(register));
      // Names and sizes may differ, since a guest may be told of an older processor.
      const allowed = known === undefined ? 0 : isMask ? (claimed & has) >>> 0 : claimed;
      if (allowed === claimed) return;
      view.setUint32(offset, allowed, true);
      right = false;
    });
  }
  return right;
}
