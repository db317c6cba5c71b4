/**
 * struct kvm_run, mapped from a vCPU's descriptor at offset 0, and the payloads of its exits. All payloads lie at offset 32 and are
 * decoded there: `kvm_run_mmio.decode(run, KVM_RUN_EXIT_OFFSET)`. Source: include/uapi/linux/kvm.h.
 */
import { address, array, bytes, named, u8, u16, u32, u64 } from './fields.ts';
import {
  KVM_EXIT,
  KVM_EXIT_ARM_SEA_FLAG,
  KVM_EXIT_IO_DIRECTION,
  KVM_HC,
  KVM_INTERNAL_ERROR,
  KVM_INTERNAL_ERROR_EMULATION_FLAG,
  KVM_MEMORY_EXIT_FLAG,
  KVM_MSR_EXIT_REASON,
  KVM_NOTIFY,
  KVM_SYSTEM_EVENT,
} from './kvm-exits.ts';
import { type Fields, type Layout, type LayoutOptions, struct } from './layout.ts';
import { defineLayout } from './registry.ts';

/** Where the payload of every exit begins, in bytes. */
export const KVM_RUN_EXIT_OFFSET = 32;
export const KVM_RUN_SIZE = 2352;

export const kvm_run = defineLayout(
  struct(
    'kvm_run',
    {
      request_interrupt_window: u8,
      immediate_exit: u8,
      padding1: bytes(6),
      exit_reason: named.u32(KVM_EXIT),
      ready_for_interrupt_injection: u8,
      if_flag: u8,
      /** Bits that differ by architecture: KVM_RUN_X86. */
      flags: u16,
      cr8: u64,
      apic_base: u64,
      /** The union of exit payloads. */
      exit: bytes(256, 8),
      kvm_valid_regs: u64,
      kvm_dirty_regs: u64,
      /** Registers shared without system calls: struct kvm_sync_regs of the architecture. */
      s: bytes(2048, 8),
    },
    { source: 'include/uapi/linux/kvm.h', cNames: { exit: 'padding' } },
  ),
);

/** A payload inside the union: an anonymous struct in C unless `cType` says otherwise. */
function payload<const F extends Fields>(member: string, fields: F, options: LayoutOptions = {}): Layout<F> {
  return defineLayout(
    struct(`kvm_run.${member}`, fields, {
      source: 'include/uapi/linux/kvm.h',
      cType: `__typeof__(((struct kvm_run *)0)->${member})`,
      ...options,
    }),
  );
}

/** KVM_EXIT_UNKNOWN. */
export const kvm_run_hw = payload('hw', { hardware_exit_reason: u64 });

/** KVM_EXIT_FAIL_ENTRY. */
export const kvm_run_fail_entry = payload('fail_entry', { hardware_entry_failure_reason: u64, cpu: u32 });

/** KVM_EXIT_EXCEPTION. */
export const kvm_run_ex = payload('ex', { exception: u32, error_code: u32 });

/** KVM_EXIT_IO: `count` accesses of `size` bytes each, the data `data_offset` bytes from the start of kvm_run. */
export const kvm_run_io = payload('io', {
  direction: named.u8(KVM_EXIT_IO_DIRECTION),
  size: u8,
  port: u16,
  count: u32,
  data_offset: address,
});

/** KVM_EXIT_MMIO: for a read, userspace fills `data` before the next KVM_RUN. */
export const kvm_run_mmio = payload('mmio', { phys_addr: address, data: bytes(8), len: u32, is_write: u8 });

/** KVM_EXIT_HYPERCALL: userspace writes `ret`. `flags` differ by architecture: KVM_EXIT_HYPERCALL_X86, KVM_HYPERCALL_EXIT_ARM64. */
export const kvm_run_hypercall = payload('hypercall', {
  nr: named.u64(KVM_HC),
  args: array(u64, 6),
  ret: u64,
  flags: u64,
});

/** KVM_EXIT_TPR_ACCESS. */
export const kvm_run_tpr_access = payload('tpr_access', { rip: u64, is_write: u32, pad: u32 });

/** KVM_EXIT_INTERNAL_ERROR: `ndata` words of `data` are valid. */
export const kvm_run_internal = payload('internal', {
  suberror: named.u32(KVM_INTERNAL_ERROR),
  ndata: u32,
  data: array(u64, 16),
});

/** KVM_EXIT_INTERNAL_ERROR with suberror EMULATION and ndata >= 3: overlays {@link kvm_run_internal}. */
export const kvm_run_emulation_failure = payload('emulation_failure', {
  suberror: named.u32(KVM_INTERNAL_ERROR),
  ndata: u32,
  flags: named.u64(KVM_INTERNAL_ERROR_EMULATION_FLAG),
  insn_size: u8,
  insn_bytes: bytes(15),
});

/** KVM_EXIT_SYSTEM_EVENT: `ndata` words of `data` are valid; before 5.19 data[0] was a word of flags without a count. */
export const kvm_run_system_event = payload('system_event', {
  type: named.u32(KVM_SYSTEM_EVENT),
  ndata: u32,
  data: array(u64, 16),
});

/** KVM_EXIT_IOAPIC_EOI. */
export const kvm_run_eoi = payload('eoi', { vector: u8 });

/** KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR: `error` is the answer, `data` either. */
export const kvm_run_msr = payload('msr', {
  error: u8,
  pad: bytes(7),
  reason: named.u32(KVM_MSR_EXIT_REASON),
  index: u32,
  data: u64,
});

/** KVM_EXIT_NOTIFY. */
export const kvm_run_notify = payload('notify', { flags: named.u32(KVM_NOTIFY) });

/** KVM_EXIT_MEMORY_FAULT, since 6.8. KVM_RUN itself fails with EFAULT or EHWPOISON then; gpa and size in bytes. */
export const kvm_run_memory_fault = payload('memory_fault', {
  flags: named.u64(KVM_MEMORY_EXIT_FLAG),
  gpa: address,
  size: address,
});

/** KVM_EXIT_ARM_NISV and KVM_EXIT_ARM_LDST64B: an access that the syndrome does not describe. */
export const kvm_run_arm_nisv = payload('arm_nisv', { esr_iss: u64, fault_ipa: address });

/** KVM_EXIT_ARM_SEA, after 6.18. */
export const kvm_run_arm_sea = payload('arm_sea', {
  flags: named.u64(KVM_EXIT_ARM_SEA_FLAG),
  esr: u64,
  gva: u64,
  gpa: u64,
});

/** KVM_EXIT_TDX, since 6.16: `nr` is the TDVMCALL; userspace writes `ret`. What `data` means depends on it (below). */
export const kvm_run_tdx = payload(
  'tdx',
  { flags: u64, nr: u64, ret: u64, data: array(u64, 5) },
  { cNames: { ret: 'unknown.ret', data: 'unknown.data' } },
);

/** One reading of the TDX payload: the members of its inner union are named `get_quote.gpa` and so on in C. */
const tdxCall = <const F extends Fields>(member: string, fields: F) =>
  payload(
    `tdx.${member}`,
    { flags: u64, nr: u64, ...fields },
    {
      cType: '__typeof__(((struct kvm_run *)0)->tdx)',
      cNames: Object.fromEntries(Object.keys(fields).map((key) => [key, `${member}.${key}`])),
      size: 64,
    },
  );

/** KVM_EXIT_TDX for GetQuote: a shared buffer of `size` bytes at `gpa`. */
export const kvm_run_tdx_get_quote = tdxCall('get_quote', { ret: u64, gpa: address, size: address });

/** KVM_EXIT_TDX for GetTdVmCallInfo. */
export const kvm_run_tdx_get_tdvmcall_info = tdxCall('get_tdvmcall_info', {
  ret: u64,
  leaf: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
});

/** KVM_EXIT_TDX for SetupEventNotifyInterrupt. */
export const kvm_run_tdx_setup_event_notify = tdxCall('setup_event_notify', { ret: u64, vector: u64 });

/** KVM_EXIT_SNP_REQ_CERTS, after 6.18: the guest's buffer of `npages` pages at `gpa`; userspace writes `ret`. */
export const kvm_run_snp_req_certs = payload(
  'snp_req_certs',
  { gpa: address, npages: u64, ret: u64 },
  { cType: 'struct kvm_exit_snp_req_certs' },
);
