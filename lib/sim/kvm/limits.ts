/** Limits of KVM on x86-64. arch/x86/include/asm/kvm_host.h */

/** SHRT_MAX less the three slots that KVM keeps for itself. */
export const MEMSLOTS = 32764;
export const MAX_VCPUS = 1024;
export const MAX_VCPU_ID = 4096;
export const MAX_CPUID_ENTRIES = 256;
/** MAX_IO_MSRS: so many MSRs at most go in one request. */
export const MAX_IO_MSRS = 256;
/** kvm_run, the bytes of port accesses, the ring of coalesced MMIO. */
export const VCPU_PAGES = 3;
export const API_VERSION = 12;
