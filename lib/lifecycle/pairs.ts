/** The vocabulary's designs and technologies by name, and what each wants of a kernel. */
import type { KernelNeed } from '../kernel/candidates.ts';

export const DESIGN_NAMES = [
  'inaccessible-memfd',
  'register-converts',
  'unbound-first',
  'guest-memfd',
  'guest-memfd-mmap',
  'in-place',
] as const;

export const TECHNOLOGY_NAMES = ['none', 'sw-protected', 'sev', 'sev-es', 'sev-snp', 'tdx', 'pkvm'] as const;

/** The series that brings a design, for those that no release has. */
const PATCH_OF: Readonly<Record<string, string>> = {
  'inaccessible-memfd': 'inaccessible-memfd-v5',
  'register-converts': 'register-converts',
  'in-place': 'in-place-v8',
};

/** What a kernel must have for a pair, before it is asked whether the two go together. */
export function needOf(design: string, technology: string): KernelNeed {
  const patch = PATCH_OF[design];
  // The series of 2022 bring their own VMs of that type; later kernels are configured with it, whatever hardware they run on.
  const included = patch !== undefined && design !== 'in-place';
  const arch = technology === 'pkvm' ? 'arm64' : 'x64';
  const configured = included || arch === 'arm64' ? [] : ['sw-protected'];
  const own = included && technology === 'sw-protected';
  return {
    arch,
    technologies: own || technology === 'none' ? [] : [...new Set([technology, ...configured])],
    patches: patch === undefined ? [] : [patch],
  };
}
