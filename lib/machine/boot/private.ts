/** An SW-protected machine: what the host did not write is the guest's own. */
import type { GuestMemory } from '../memory/index.ts';
import { HIGH_MEMORY } from './layout.ts';
import type { Loaded } from './linux.ts';

const PAGE = 4096;

/**
 * Converts every page of RAM but the first MiB, what the loader wrote and where the kernel unpacks itself. Those stay shared: without hardware that
 * encrypts there is no way to put contents into private memory from outside, and KVM itself fetches the instructions that it must emulate by the
 * shared side. In the first MiB that is the trampoline of the second processors: their writes to CR0 and CR4 are emulated where the processor does
 * not decode them for KVM (arch/x86/kvm/svm/svm.c, cr_interception).
 * Returns the bytes that are private.
 */
export function privateRest(memory: GuestMemory, { ranges }: Loaded): number {
  const written = [...ranges, { gpa: 0, size: HIGH_MEMORY }]
    .map(({ gpa, size }) => ({ from: Math.floor(gpa / PAGE) * PAGE, to: Math.ceil((gpa + size) / PAGE) * PAGE }))
    .sort((a, b) => a.from - b.from);
  const rest: { gpa: number; size: number }[] = [];
  for (const { gpa, end } of memory.regions) {
    let at = gpa;
    for (const { from, to } of written) {
      if (to <= at || from >= end) continue;
      if (from > at) rest.push({ gpa: at, size: from - at });
      at = Math.max(at, to);
    }
    if (at < end) rest.push({ gpa: at, size: end - at });
  }
  memory.convert(rest, 'private');
  return rest.reduce((sum, { size }) => sum + size, 0);
}
