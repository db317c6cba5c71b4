/** Why KVM_RUN returned, and the names of what the exits carry. Source: include/uapi/linux/kvm.h, kvm_para.h. */
import { defineNames } from './registry.ts';

/** kvm_run.exit_reason, all of Linux 7.3. */
export const KVM_EXIT = defineNames('KVM_EXIT', 'values', {
  KVM_EXIT_UNKNOWN: 0,
  KVM_EXIT_EXCEPTION: 1,
  KVM_EXIT_IO: 2,
  KVM_EXIT_HYPERCALL: 3,
  KVM_EXIT_DEBUG: 4,
  KVM_EXIT_HLT: 5,
  KVM_EXIT_MMIO: 6,
  KVM_EXIT_IRQ_WINDOW_OPEN: 7,
  KVM_EXIT_SHUTDOWN: 8,
  KVM_EXIT_FAIL_ENTRY: 9,
  KVM_EXIT_INTR: 10,
  KVM_EXIT_SET_TPR: 11,
  KVM_EXIT_TPR_ACCESS: 12,
  KVM_EXIT_S390_SIEIC: 13,
  KVM_EXIT_S390_RESET: 14,
  KVM_EXIT_DCR: 15,
  KVM_EXIT_NMI: 16,
  KVM_EXIT_INTERNAL_ERROR: 17,
  KVM_EXIT_OSI: 18,
  KVM_EXIT_PAPR_HCALL: 19,
  KVM_EXIT_S390_UCONTROL: 20,
  KVM_EXIT_WATCHDOG: 21,
  KVM_EXIT_S390_TSCH: 22,
  KVM_EXIT_EPR: 23,
  KVM_EXIT_SYSTEM_EVENT: 24,
  KVM_EXIT_S390_STSI: 25,
  KVM_EXIT_IOAPIC_EOI: 26,
  KVM_EXIT_HYPERV: 27,
  KVM_EXIT_ARM_NISV: 28,
  KVM_EXIT_X86_RDMSR: 29,
  KVM_EXIT_X86_WRMSR: 30,
  KVM_EXIT_DIRTY_RING_FULL: 31,
  KVM_EXIT_AP_RESET_HOLD: 32,
  KVM_EXIT_X86_BUS_LOCK: 33,
  KVM_EXIT_XEN: 34,
  KVM_EXIT_RISCV_SBI: 35,
  KVM_EXIT_RISCV_CSR: 36,
  KVM_EXIT_NOTIFY: 37,
  KVM_EXIT_LOONGARCH_IOCSR: 38,
  KVM_EXIT_MEMORY_FAULT: 39,
  KVM_EXIT_TDX: 40,
  KVM_EXIT_ARM_SEA: 41,
  KVM_EXIT_ARM_LDST64B: 42,
  KVM_EXIT_SNP_REQ_CERTS: 43,
});

/** kvm_run.memory_fault.flags. */
export const KVM_MEMORY_EXIT_FLAG = defineNames('KVM_MEMORY_EXIT_FLAG', 'bits', {
  KVM_MEMORY_EXIT_FLAG_PRIVATE: 0x8,
});

/** kvm_run.system_event.type. */
export const KVM_SYSTEM_EVENT = defineNames('KVM_SYSTEM_EVENT', 'values', {
  KVM_SYSTEM_EVENT_SHUTDOWN: 1,
  KVM_SYSTEM_EVENT_RESET: 2,
  KVM_SYSTEM_EVENT_CRASH: 3,
  KVM_SYSTEM_EVENT_WAKEUP: 4,
  KVM_SYSTEM_EVENT_SUSPEND: 5,
  KVM_SYSTEM_EVENT_SEV_TERM: 6,
  KVM_SYSTEM_EVENT_TDX_FATAL: 7,
});

/** kvm_run.internal.suberror. */
export const KVM_INTERNAL_ERROR = defineNames('KVM_INTERNAL_ERROR', 'values', {
  KVM_INTERNAL_ERROR_EMULATION: 1,
  KVM_INTERNAL_ERROR_SIMUL_EX: 2,
  KVM_INTERNAL_ERROR_DELIVERY_EV: 3,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: 4,
});

/** kvm_run.emulation_failure.flags. */
export const KVM_INTERNAL_ERROR_EMULATION_FLAG = defineNames('KVM_INTERNAL_ERROR_EMULATION_FLAG', 'bits', {
  KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES: 0x1,
});

/** kvm_run.io.direction. */
export const KVM_EXIT_IO_DIRECTION = defineNames('KVM_EXIT_IO_DIRECTION', 'values', {
  KVM_EXIT_IO_IN: 0,
  KVM_EXIT_IO_OUT: 1,
});

/** kvm_run.msr.reason. */
export const KVM_MSR_EXIT_REASON = defineNames('KVM_MSR_EXIT_REASON', 'bits', {
  KVM_MSR_EXIT_REASON_INVAL: 0x1,
  KVM_MSR_EXIT_REASON_UNKNOWN: 0x2,
  KVM_MSR_EXIT_REASON_FILTER: 0x4,
});

/** kvm_run.notify.flags. */
export const KVM_NOTIFY = defineNames('KVM_NOTIFY', 'bits', { KVM_NOTIFY_CONTEXT_INVALID: 0x1 });

/** kvm_run.arm_sea.flags. */
export const KVM_EXIT_ARM_SEA_FLAG = defineNames('KVM_EXIT_ARM_SEA_FLAG', 'bits', {
  KVM_EXIT_ARM_SEA_FLAG_GPA_VALID: 0x1,
});

/** Hypercall numbers, as the guest gives them. Source: include/uapi/linux/kvm_para.h. */
export const KVM_HC = defineNames('KVM_HC', 'values', {
  KVM_HC_VAPIC_POLL_IRQ: 1,
  KVM_HC_MMU_OP: 2,
  KVM_HC_FEATURES: 3,
  KVM_HC_PPC_MAP_MAGIC_PAGE: 4,
  KVM_HC_KICK_CPU: 5,
  KVM_HC_MIPS_GET_CLOCK_FREQ: 6,
  KVM_HC_MIPS_EXIT_VM: 7,
  KVM_HC_MIPS_CONSOLE_OUTPUT: 8,
  KVM_HC_CLOCK_PAIRING: 9,
  KVM_HC_SEND_IPI: 10,
  KVM_HC_SCHED_YIELD: 11,
  KVM_HC_MAP_GPA_RANGE: 12,
});

/** Results of hypercalls as KVM gives them itself, negated, to the guest. Source: include/uapi/linux/kvm_para.h. */
export const KVM_HC_ERROR = defineNames('KVM_HC_ERROR', 'values', {
  KVM_EPERM: 1,
  KVM_E2BIG: 7,
  KVM_EFAULT: 14,
  KVM_EINVAL: 22,
  KVM_EOPNOTSUPP: 95,
  KVM_ENOSYS: 1000,
});

/** The attributes of KVM_HC_MAP_GPA_RANGE: preferred page size in bits 3:0, bit 4 encrypted. Source: asm/kvm_para.h of x86. */
export const KVM_MAP_GPA_RANGE = defineNames(
  'KVM_MAP_GPA_RANGE',
  'bits',
  {
    KVM_MAP_GPA_RANGE_DECRYPTED: 0,
    KVM_MAP_GPA_RANGE_PAGE_SZ_4K: 0,
    KVM_MAP_GPA_RANGE_PAGE_SZ_2M: 0x1,
    KVM_MAP_GPA_RANGE_PAGE_SZ_1G: 0x2,
    KVM_MAP_GPA_RANGE_ENCRYPTED: 0x10,
  },
  'x86',
);
