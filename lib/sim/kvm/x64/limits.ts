/** Limits of KVM on x86-64. arch/x86/include/asm/kvm_host.h */
import type { MachineLimits } from '../machine.ts';

export const X64_LIMITS: MachineLimits = {
  /** SHRT_MAX less the three slots that KVM keeps for itself. */
  memslots: 32764,
  vcpus: 1024,
  vcpuIds: 4096,
  runPages: 3,
};
export const MAX_CPUID_ENTRIES = 256;
/** MAX_IO_MSRS: so many MSRs at most go in one request. */
export const MAX_IO_MSRS = 256;
