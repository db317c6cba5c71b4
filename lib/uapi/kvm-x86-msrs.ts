/** MSRs, their filter, the PMU filter, the time-stamp counter and machine checks of x86. Source: arch/x86/include/uapi/asm/kvm.h. */
import { address, array, named, u8, u32, u64 } from './fields.ts';
import { u64_argument } from './kvm-arguments.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const arch = 'x86';

export const kvm_msr_entry = struct('kvm_msr_entry', { index: u32, reserved: u32, data: u64 }, x86);

/** Both requests return how many MSRs were done, which may be fewer than asked. */
export const kvm_msrs = struct(
  'kvm_msrs',
  { nmsrs: u32, pad: u32 },
  { ...x86, flexible: { name: 'entries', element: kvm_msr_entry, count: 'nmsrs' } },
);

/** On /dev/kvm (feature MSRs) since 4.17. */
export const KVM_GET_MSRS = defineIoctl('KVM_GET_MSRS', {
  nr: 0x88,
  direction: 'read-write',
  on: ['vcpu', 'kvm'],
  arg: kvm_msrs,
  arch,
  since: '2.6.20',
});
export const KVM_SET_MSRS = defineIoctl('KVM_SET_MSRS', {
  nr: 0x89,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_msrs,
  arch,
  since: '2.6.20',
});

/** `nmsrs` in: room; out: how many there are, also when it fails with E2BIG. */
export const kvm_msr_list = struct(
  'kvm_msr_list',
  { nmsrs: u32 },
  { ...x86, flexible: { name: 'indices', element: u32, count: 'nmsrs' } },
);

export const KVM_GET_MSR_INDEX_LIST = defineIoctl('KVM_GET_MSR_INDEX_LIST', {
  nr: 0x02,
  direction: 'read-write',
  on: 'kvm',
  arg: kvm_msr_list,
  arch,
  since: '2.6.20',
});
export const KVM_GET_MSR_FEATURE_INDEX_LIST = defineIoctl('KVM_GET_MSR_FEATURE_INDEX_LIST', {
  nr: 0x0a,
  direction: 'read-write',
  on: 'kvm',
  arg: kvm_msr_list,
  arch,
  since: '4.17',
});

export const KVM_MSR_FILTER_RANGE = defineNames(
  'KVM_MSR_FILTER_RANGE',
  'bits',
  { KVM_MSR_FILTER_READ: 0x1, KVM_MSR_FILTER_WRITE: 0x2 },
  arch,
);
export const KVM_MSR_FILTER = defineNames(
  'KVM_MSR_FILTER',
  'bits',
  { KVM_MSR_FILTER_DEFAULT_ALLOW: 0, KVM_MSR_FILTER_DEFAULT_DENY: 0x1 },
  arch,
);

/** `bitmap` has one bit per MSR from `base` on: 1 allows. At most 0x600 bytes. */
export const kvm_msr_filter_range = struct(
  'kvm_msr_filter_range',
  { flags: named.u32(KVM_MSR_FILTER_RANGE), nmsrs: u32, base: u32, bitmap: address },
  x86,
);

export const kvm_msr_filter = struct(
  'kvm_msr_filter',
  { flags: named.u32(KVM_MSR_FILTER), ranges: array(kvm_msr_filter_range, 16) },
  x86,
);

export const KVM_X86_SET_MSR_FILTER = defineIoctl('KVM_X86_SET_MSR_FILTER', {
  nr: 0xc6,
  direction: 'write',
  on: 'vm',
  arg: kvm_msr_filter,
  arch,
  pointers: ['ranges[].bitmap'],
  since: '5.10',
});

export const KVM_PMU_EVENT_ACTION = defineNames('KVM_PMU_EVENT_ACTION', 'values', {
  KVM_PMU_EVENT_ALLOW: 0,
  KVM_PMU_EVENT_DENY: 1,
});
export const KVM_PMU_EVENT_FLAG = defineNames(
  'KVM_PMU_EVENT_FLAG',
  'bits',
  { KVM_PMU_EVENT_FLAG_MASKED_EVENTS: 0x1 },
  arch,
);

export const kvm_pmu_event_filter = struct(
  'kvm_pmu_event_filter',
  {
    action: named.u32(KVM_PMU_EVENT_ACTION),
    nevents: u32,
    fixed_counter_bitmap: u32,
    flags: named.u32(KVM_PMU_EVENT_FLAG),
    pad: array(u32, 4),
  },
  { ...x86, flexible: { name: 'events', element: u64, count: 'nevents' } },
);

export const KVM_SET_PMU_EVENT_FILTER = defineIoctl('KVM_SET_PMU_EVENT_FILTER', {
  nr: 0xb2,
  direction: 'write',
  on: 'vm',
  arg: kvm_pmu_event_filter,
  arch,
  since: '5.3',
});

/** In kHz; on a VM (the default of its vCPUs) since 5.18. */
export const KVM_SET_TSC_KHZ = defineIoctl('KVM_SET_TSC_KHZ', {
  nr: 0xa2,
  direction: 'none',
  on: ['vcpu', 'vm'],
  arg: 'khz',
  arch,
  since: '2.6.39',
});
export const KVM_GET_TSC_KHZ = defineIoctl('KVM_GET_TSC_KHZ', {
  nr: 0xa3,
  direction: 'none',
  on: ['vcpu', 'vm'],
  arch,
  since: '2.6.39',
});

export const kvm_x86_mce = struct(
  'kvm_x86_mce',
  { status: u64, addr: u64, misc: u64, mcg_status: u64, bank: u8, pad1: array(u8, 7), pad2: array(u64, 3) },
  x86,
);

export const KVM_X86_GET_MCE_CAP_SUPPORTED = defineIoctl('KVM_X86_GET_MCE_CAP_SUPPORTED', {
  nr: 0x9d,
  direction: 'read',
  on: 'kvm',
  arg: u64_argument,
  arch,
  since: '2.6.31',
});
export const KVM_X86_SETUP_MCE = defineIoctl('KVM_X86_SETUP_MCE', {
  nr: 0x9c,
  direction: 'write',
  on: 'vcpu',
  arg: u64_argument,
  arch,
  since: '2.6.31',
});
export const KVM_X86_SET_MCE = defineIoctl('KVM_X86_SET_MCE', {
  nr: 0x9e,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_x86_mce,
  arch,
  since: '2.6.31',
});
