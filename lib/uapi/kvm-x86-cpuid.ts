/** CPUID, MSRs, filters and the time-stamp counter of x86. Source: arch/x86/include/uapi/asm/kvm.h. */
import { array, named, u32 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const arch = 'x86';

/** SIGNIFCANT is the kernel's spelling. */
export const KVM_CPUID_FLAG = defineNames(
  'KVM_CPUID_FLAG',
  'bits',
  { KVM_CPUID_FLAG_SIGNIFCANT_INDEX: 0x1, KVM_CPUID_FLAG_STATEFUL_FUNC: 0x2, KVM_CPUID_FLAG_STATE_READ_NEXT: 0x4 },
  arch,
);

export const kvm_cpuid_entry2 = struct(
  'kvm_cpuid_entry2',
  {
    function: u32,
    index: u32,
    flags: named.u32(KVM_CPUID_FLAG),
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
    padding: array(u32, 3),
  },
  x86,
);

/** `nent` in: room for entries; out: how many there are. Too little room fails with E2BIG. */
export const kvm_cpuid2 = struct(
  'kvm_cpuid2',
  { nent: u32, padding: u32 },
  { ...x86, flexible: { name: 'entries', element: kvm_cpuid_entry2, count: 'nent' } },
);

/** The entries of the first CPUID request, without index and flags. */
export const kvm_cpuid_entry = struct(
  'kvm_cpuid_entry',
  { function: u32, eax: u32, ebx: u32, ecx: u32, edx: u32, padding: u32 },
  x86,
);
export const kvm_cpuid = struct(
  'kvm_cpuid',
  { nent: u32, padding: u32 },
  { ...x86, flexible: { name: 'entries', element: kvm_cpuid_entry, count: 'nent' } },
);
export const KVM_SET_CPUID = defineIoctl('KVM_SET_CPUID', {
  nr: 0x8a,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_cpuid,
  arch,
  since: '2.6.20',
});

export const KVM_GET_SUPPORTED_CPUID = defineIoctl('KVM_GET_SUPPORTED_CPUID', {
  nr: 0x05,
  direction: 'read-write',
  on: 'kvm',
  arg: kvm_cpuid2,
  arch,
  since: '2.6.25',
});
export const KVM_GET_EMULATED_CPUID = defineIoctl('KVM_GET_EMULATED_CPUID', {
  nr: 0x09,
  direction: 'read-write',
  on: 'kvm',
  arg: kvm_cpuid2,
  arch,
  since: '3.13',
});
export const KVM_GET_SUPPORTED_HV_CPUID = defineIoctl('KVM_GET_SUPPORTED_HV_CPUID', {
  nr: 0xc1,
  direction: 'read-write',
  on: ['kvm', 'vcpu'],
  arg: kvm_cpuid2,
  arch,
  since: '5.0',
});
/** The number encodes the header only. */
export const KVM_SET_CPUID2 = defineIoctl('KVM_SET_CPUID2', {
  nr: 0x90,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_cpuid2,
  arch,
  since: '2.6.25',
});
export const KVM_GET_CPUID2 = defineIoctl('KVM_GET_CPUID2', {
  nr: 0x91,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_cpuid2,
  arch,
  since: '2.6.25',
});
