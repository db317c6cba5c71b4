/** Interrupt controllers, timers and firmware calls of arm64: groups, attributes and numbers. Sources: asm/kvm.h, linux/psci.h. */
import { defineNames } from './registry.ts';

const arch = 'arm64';

/** Groups of attributes of GIC devices. */
export const KVM_DEV_ARM_VGIC_GRP = defineNames(
  'KVM_DEV_ARM_VGIC_GRP',
  'values',
  {
    KVM_DEV_ARM_VGIC_GRP_ADDR: 0,
    KVM_DEV_ARM_VGIC_GRP_DIST_REGS: 1,
    KVM_DEV_ARM_VGIC_GRP_CPU_REGS: 2,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS: 3,
    KVM_DEV_ARM_VGIC_GRP_CTRL: 4,
    KVM_DEV_ARM_VGIC_GRP_REDIST_REGS: 5,
    KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS: 6,
    KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO: 7,
    KVM_DEV_ARM_VGIC_GRP_ITS_REGS: 8,
    KVM_DEV_ARM_VGIC_GRP_MAINT_IRQ: 9,
  },
  arch,
);

/** Attributes of the group CTRL. */
export const KVM_DEV_ARM_VGIC_CTRL = defineNames(
  'KVM_DEV_ARM_VGIC_CTRL',
  'values',
  {
    KVM_DEV_ARM_VGIC_CTRL_INIT: 0,
    KVM_DEV_ARM_ITS_SAVE_TABLES: 1,
    KVM_DEV_ARM_ITS_RESTORE_TABLES: 2,
    KVM_DEV_ARM_VGIC_SAVE_PENDING_TABLES: 3,
    KVM_DEV_ARM_ITS_CTRL_RESET: 4,
    KVM_DEV_ARM_VGIC_USERSPACE_PPIS: 5,
  },
  arch,
);

/** Attributes of the group ADDR. */
export const KVM_VGIC_ADDR_TYPE = defineNames(
  'KVM_VGIC_ADDR_TYPE',
  'values',
  {
    KVM_VGIC_V2_ADDR_TYPE_DIST: 0,
    KVM_VGIC_V2_ADDR_TYPE_CPU: 1,
    KVM_VGIC_V3_ADDR_TYPE_DIST: 2,
    KVM_VGIC_V3_ADDR_TYPE_REDIST: 3,
    KVM_VGIC_ITS_ADDR_TYPE: 4,
    KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION: 5,
  },
  arch,
);

/** Groups of attributes of a vCPU. */
export const KVM_ARM_VCPU_GRP = defineNames(
  'KVM_ARM_VCPU_GRP',
  'values',
  { KVM_ARM_VCPU_PMU_V3_CTRL: 0, KVM_ARM_VCPU_TIMER_CTRL: 1, KVM_ARM_VCPU_PVTIME_CTRL: 2 },
  arch,
);
export const KVM_ARM_VCPU_PMU_V3_ATTR = defineNames(
  'KVM_ARM_VCPU_PMU_V3_ATTR',
  'values',
  {
    KVM_ARM_VCPU_PMU_V3_IRQ: 0,
    KVM_ARM_VCPU_PMU_V3_INIT: 1,
    KVM_ARM_VCPU_PMU_V3_FILTER: 2,
    KVM_ARM_VCPU_PMU_V3_SET_PMU: 3,
    KVM_ARM_VCPU_PMU_V3_SET_NR_COUNTERS: 4,
  },
  arch,
);
export const KVM_ARM_VCPU_TIMER_ATTR = defineNames(
  'KVM_ARM_VCPU_TIMER_ATTR',
  'values',
  {
    KVM_ARM_VCPU_TIMER_IRQ_VTIMER: 0,
    KVM_ARM_VCPU_TIMER_IRQ_PTIMER: 1,
    KVM_ARM_VCPU_TIMER_IRQ_HVTIMER: 2,
    KVM_ARM_VCPU_TIMER_IRQ_HPTIMER: 3,
  },
  arch,
);
export const KVM_ARM_VCPU_PVTIME_ATTR = defineNames(
  'KVM_ARM_VCPU_PVTIME_ATTR',
  'values',
  { KVM_ARM_VCPU_PVTIME_IPA: 0 },
  arch,
);

/** Group and attribute of a VM: the filter of firmware calls, struct kvm_smccc_filter. */
export const KVM_ARM_VM_SMCCC = defineNames(
  'KVM_ARM_VM_SMCCC',
  'values',
  { KVM_ARM_VM_SMCCC_CTRL: 0, KVM_ARM_VM_SMCCC_FILTER: 0 },
  arch,
);

/** The kind of an interrupt, in bits 27:24 of kvm_irq_level.irq. */
export const KVM_ARM_IRQ_TYPE = defineNames(
  'KVM_ARM_IRQ_TYPE',
  'values',
  { KVM_ARM_IRQ_TYPE_CPU: 0, KVM_ARM_IRQ_TYPE_SPI: 1, KVM_ARM_IRQ_TYPE_PPI: 2 },
  arch,
);

/** kvm_irq_level.irq of arm64. `vcpu` matters for CPU and PPI interrupts only. */
export function armIrq(type: number, vcpu: number, number: number): number {
  return ((((vcpu >> 8) & 0xf) << 28) | ((type & 0xf) << 24) | ((vcpu & 0xff) << 16) | (number & 0xffff)) >>> 0;
}

/** Pages to map of a vCPU's descriptor, in pages from its start. */
export const KVM_PAGE_OFFSET_ARM64 = defineNames(
  'KVM_PAGE_OFFSET',
  'values',
  { KVM_COALESCED_MMIO_PAGE_OFFSET: 1, KVM_DIRTY_LOG_PAGE_OFFSET: 64 },
  arch,
);

/** Firmware calls of guests that KVM answers itself or turns into system events. Source: include/uapi/linux/psci.h. */
export const PSCI = defineNames('PSCI', 'values', {
  PSCI_0_2_FN_PSCI_VERSION: 0x84000000,
  PSCI_0_2_FN_CPU_SUSPEND: 0x84000001,
  PSCI_0_2_FN_CPU_OFF: 0x84000002,
  PSCI_0_2_FN_CPU_ON: 0x84000003,
  PSCI_0_2_FN_AFFINITY_INFO: 0x84000004,
  PSCI_0_2_FN_MIGRATE_INFO_TYPE: 0x84000006,
  PSCI_0_2_FN_SYSTEM_OFF: 0x84000008,
  PSCI_0_2_FN_SYSTEM_RESET: 0x84000009,
  PSCI_1_0_FN_PSCI_FEATURES: 0x8400000a,
  PSCI_1_0_FN_SYSTEM_SUSPEND: 0x8400000e,
  PSCI_1_1_FN_SYSTEM_RESET2: 0x84000012,
  PSCI_1_3_FN_SYSTEM_OFF2: 0x84000015,
  PSCI_0_2_FN64_CPU_SUSPEND: 0xc4000001,
  PSCI_0_2_FN64_CPU_ON: 0xc4000003,
  PSCI_0_2_FN64_AFFINITY_INFO: 0xc4000004,
  PSCI_1_0_FN64_SYSTEM_SUSPEND: 0xc400000e,
  PSCI_1_1_FN64_SYSTEM_RESET2: 0xc4000012,
  PSCI_1_3_FN64_SYSTEM_OFF2: 0xc4000015,
});

/** Results of PSCI calls, as signed numbers. */
export const PSCI_RET = defineNames('PSCI_RET', 'values', {
  PSCI_RET_SUCCESS: 0,
  PSCI_RET_NOT_SUPPORTED: -1,
  PSCI_RET_INVALID_PARAMS: -2,
  PSCI_RET_DENIED: -3,
  PSCI_RET_ALREADY_ON: -4,
  PSCI_RET_ON_PENDING: -5,
  PSCI_RET_INTERNAL_FAILURE: -6,
  PSCI_RET_NOT_PRESENT: -7,
  PSCI_RET_DISABLED: -8,
  PSCI_RET_INVALID_ADDRESS: -9,
});

/** kvm_run.system_event.data[0] of arm64: why the reset or shutdown came. */
export const KVM_SYSTEM_EVENT_FLAG_ARM64 = defineNames(
  'KVM_SYSTEM_EVENT_FLAG_ARM64',
  'values',
  { KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2: 1, KVM_SYSTEM_EVENT_SHUTDOWN_FLAG_PSCI_OFF2: 1 },
  arch,
);
