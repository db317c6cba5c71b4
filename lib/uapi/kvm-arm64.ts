/** Requests and structs of arm64 VMs and vCPUs. Source: arch/arm64/include/uapi/asm/kvm.h. */
import { address, array, bytes, named, u8, u16, u32, u64 } from './fields.ts';
import { int_argument } from './kvm-arguments.ts';
import { KVM_PMU_EVENT_ACTION } from './kvm-x86-msrs.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const arm64 = { arch: 'arm64', source: 'arch/arm64/include/uapi/asm/kvm.h' } as const;
const arch = 'arm64';

export const KVM_ARM_TARGET = defineNames(
  'KVM_ARM_TARGET',
  'values',
  {
    KVM_ARM_TARGET_AEM_V8: 0,
    KVM_ARM_TARGET_FOUNDATION_V8: 1,
    KVM_ARM_TARGET_CORTEX_A57: 2,
    KVM_ARM_TARGET_XGENE_POTENZA: 3,
    KVM_ARM_TARGET_CORTEX_A53: 4,
    KVM_ARM_TARGET_GENERIC_V8: 5,
  },
  arch,
);

/** Features of a vCPU: numbers of bits in kvm_vcpu_init.features, not masks. */
export const KVM_ARM_VCPU = defineNames(
  'KVM_ARM_VCPU',
  'values',
  {
    KVM_ARM_VCPU_POWER_OFF: 0,
    KVM_ARM_VCPU_EL1_32BIT: 1,
    KVM_ARM_VCPU_PSCI_0_2: 2,
    KVM_ARM_VCPU_PMU_V3: 3,
    KVM_ARM_VCPU_SVE: 4,
    KVM_ARM_VCPU_PTRAUTH_ADDRESS: 5,
    KVM_ARM_VCPU_PTRAUTH_GENERIC: 6,
    KVM_ARM_VCPU_HAS_EL2: 7,
    KVM_ARM_VCPU_HAS_EL2_E2H0: 8,
    KVM_ARM_VCPU_PMU_V3_STRICT: 9,
  },
  arch,
);

/** `features`: bit n of word n/32 for feature n of KVM_ARM_VCPU. */
export const kvm_vcpu_init = struct(
  'kvm_vcpu_init',
  { target: named.u32(KVM_ARM_TARGET), features: array(u32, 7) },
  arm64,
);

export const KVM_ARM_PREFERRED_TARGET = defineIoctl('KVM_ARM_PREFERRED_TARGET', {
  nr: 0xaf,
  direction: 'read',
  on: 'vm',
  arg: kvm_vcpu_init,
  arch,
  since: '3.13',
});
export const KVM_ARM_VCPU_INIT = defineIoctl('KVM_ARM_VCPU_INIT', {
  nr: 0xae,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_vcpu_init,
  arch,
  since: '3.9',
});
/** The argument is the feature to finish: KVM_ARM_VCPU_SVE. */
export const KVM_ARM_VCPU_FINALIZE = defineIoctl('KVM_ARM_VCPU_FINALIZE', {
  nr: 0xc2,
  direction: 'write',
  on: 'vcpu',
  arg: int_argument,
  arch,
  since: '5.2',
});

export const kvm_arm_device_addr = struct(
  'kvm_arm_device_addr',
  { id: u64, addr: address },
  { source: 'include/uapi/linux/kvm.h' },
);

/** `id`: device in bits 31:16, kind of address in 15:0. Superseded by attributes of the device. */
export const KVM_ARM_SET_DEVICE_ADDR = defineIoctl('KVM_ARM_SET_DEVICE_ADDR', {
  nr: 0xab,
  direction: 'write',
  on: 'vm',
  arg: kvm_arm_device_addr,
  arch,
  since: '3.9',
});

/** Memory tags between guest and host: `length` bytes of guest memory, one byte per 16 at `addr`. */
export const kvm_arm_copy_mte_tags = struct(
  'kvm_arm_copy_mte_tags',
  { guest_ipa: address, length: address, addr: address, flags: u64, reserved: array(u64, 2) },
  arm64,
);
export const KVM_ARM_TAGS = defineNames(
  'KVM_ARM_TAGS',
  'values',
  { KVM_ARM_TAGS_TO_GUEST: 0, KVM_ARM_TAGS_FROM_GUEST: 1 },
  arch,
);

/** Declared as travelling out of the kernel; the struct travels in. Returns the bytes of guest memory done. */
export const KVM_ARM_MTE_COPY_TAGS = defineIoctl('KVM_ARM_MTE_COPY_TAGS', {
  nr: 0xb4,
  direction: 'read',
  on: 'vm',
  arg: kvm_arm_copy_mte_tags,
  travels: 'in',
  pointers: ['addr'],
  arch,
  since: '5.14',
});

export const kvm_arm_counter_offset = struct('kvm_arm_counter_offset', { counter_offset: u64, reserved: u64 }, arm64);
export const KVM_ARM_SET_COUNTER_OFFSET = defineIoctl('KVM_ARM_SET_COUNTER_OFFSET', {
  nr: 0xb5,
  direction: 'write',
  on: 'vm',
  arg: kvm_arm_counter_offset,
  arch,
  since: '6.4',
});

/** `addr` points to 192 masks of 64 bits: which bits of the feature id registers may be written. */
export const reg_mask_range = struct('reg_mask_range', { addr: address, range: u32, reserved: array(u32, 13) }, arm64);
/** Declared as travelling out of the kernel; the struct travels in. */
export const KVM_ARM_GET_REG_WRITABLE_MASKS = defineIoctl('KVM_ARM_GET_REG_WRITABLE_MASKS', {
  nr: 0xb6,
  direction: 'read',
  on: 'vm',
  arg: reg_mask_range,
  travels: 'in',
  pointers: ['addr'],
  arch,
  since: '6.7',
});

export const kvm_vcpu_events_arm64 = struct(
  'kvm_vcpu_events',
  {
    exception: struct(
      'kvm_vcpu_events.exception',
      { serror_pending: u8, serror_has_esr: u8, ext_dabt_pending: u8, pad: bytes(5), serror_esr: u64 },
      { ...arm64, cType: '__typeof__(((struct kvm_vcpu_events *)0)->exception)' },
    ),
    reserved: array(u32, 12),
  },
  arm64,
);
/** The same numbers as on x86 (both structs have 64 bytes), with another struct. */
export const KVM_GET_VCPU_EVENTS_arm64 = defineIoctl('KVM_GET_VCPU_EVENTS', {
  nr: 0x9f,
  direction: 'read',
  on: 'vcpu',
  arg: kvm_vcpu_events_arm64,
  arch,
  since: '4.19',
});
export const KVM_SET_VCPU_EVENTS_arm64 = defineIoctl('KVM_SET_VCPU_EVENTS', {
  nr: 0xa0,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_vcpu_events_arm64,
  arch,
  since: '4.19',
});

export const KVM_GUESTDBG_ARM64 = defineNames(
  'KVM_GUESTDBG_ARM64',
  'bits',
  {
    KVM_GUESTDBG_ENABLE: 0x1,
    KVM_GUESTDBG_SINGLESTEP: 0x2,
    KVM_GUESTDBG_USE_SW_BP: 0x10000,
    KVM_GUESTDBG_USE_HW: 0x20000,
  },
  arch,
);
export const kvm_guest_debug_arch_arm64 = struct(
  'kvm_guest_debug_arch',
  { dbg_bcr: array(u64, 16), dbg_bvr: array(u64, 16), dbg_wcr: array(u64, 16), dbg_wvr: array(u64, 16) },
  arm64,
);
export const kvm_guest_debug_arm64 = struct(
  'kvm_guest_debug',
  { control: named.u32(KVM_GUESTDBG_ARM64), pad: u32, arch: kvm_guest_debug_arch_arm64 },
  arm64,
);
/** The struct is larger than on x86, so the number differs too. */
export const KVM_SET_GUEST_DEBUG_arm64 = defineIoctl('KVM_SET_GUEST_DEBUG', {
  nr: 0x9b,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_guest_debug_arm64,
  arch,
  since: '4.2',
});

/** KVM_EXIT_DEBUG, at KVM_RUN_EXIT_OFFSET. */
export const kvm_debug_exit_arch_arm64 = defineLayout(
  struct('kvm_debug_exit_arch', { hsr: u32, hsr_high: u32, far: u64 }, arm64),
);

export const KVM_ARM_DEV = defineNames(
  'KVM_ARM_DEV',
  'bits',
  { KVM_ARM_DEV_EL1_VTIMER: 0x1, KVM_ARM_DEV_EL1_PTIMER: 0x2, KVM_ARM_DEV_PMU: 0x4 },
  arch,
);
/** kvm_run.s: levels of the devices in the kernel, with KVM_CAP_ARM_USER_IRQ. */
export const kvm_sync_regs_arm64 = defineLayout(
  struct('kvm_sync_regs', { device_irq_level: named.u64(KVM_ARM_DEV) }, arm64),
);

/** The value of the vCPU attribute KVM_ARM_VCPU_PMU_V3_FILTER. */
export const kvm_pmu_event_filter_arm64 = defineLayout(
  struct(
    'kvm_pmu_event_filter',
    { base_event: u16, nevents: u16, action: named.u8(KVM_PMU_EVENT_ACTION), pad: bytes(3) },
    arm64,
  ),
);

export const KVM_SMCCC_FILTER = defineNames(
  'KVM_SMCCC_FILTER',
  'values',
  { KVM_SMCCC_FILTER_HANDLE: 0, KVM_SMCCC_FILTER_DENY: 1, KVM_SMCCC_FILTER_FWD_TO_USER: 2 },
  arch,
);
/** The value of the VM attribute KVM_ARM_VM_SMCCC_FILTER: what becomes of a range of SMC and HVC functions. */
export const kvm_smccc_filter = defineLayout(
  struct(
    'kvm_smccc_filter',
    { base: u32, nr_functions: u32, action: named.u8(KVM_SMCCC_FILTER), pad: bytes(15) },
    arm64,
  ),
);

/** kvm_run.hypercall.flags. */
export const KVM_HYPERCALL_EXIT_ARM64 = defineNames(
  'KVM_HYPERCALL_EXIT_ARM64',
  'bits',
  { KVM_HYPERCALL_EXIT_SMC: 0x1, KVM_HYPERCALL_EXIT_16BIT: 0x2 },
  arch,
);

/** kvm_run.fail_entry.hardware_entry_failure_reason. */
export const KVM_EXIT_FAIL_ENTRY_ARM64 = defineNames(
  'KVM_EXIT_FAIL_ENTRY_ARM64',
  'bits',
  { KVM_EXIT_FAIL_ENTRY_CPU_UNSUPPORTED: 0x1 },
  arch,
);
