/** Pending events, debugging, nested state and the registers shared through kvm_run, of x86. Source: arch/x86/include/uapi/asm/kvm.h. */
import { array, bytes, named, u8, u32, u64 } from './fields.ts';
import { kvm_regs, kvm_sregs } from './kvm-x86-regs.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const arch = 'x86';

export const KVM_NMI = defineIoctl('KVM_NMI', { nr: 0x9a, direction: 'none', on: 'vcpu', arch, since: '2.6.28' });
/** Needs KVM_CAP_X86_SMM. */
export const KVM_SMI = defineIoctl('KVM_SMI', { nr: 0xb7, direction: 'none', on: 'vcpu', arch, since: '4.2' });

/** Which optional parts KVM_SET_VCPU_EVENTS takes. */
export const KVM_VCPUEVENT_VALID = defineNames(
  'KVM_VCPUEVENT_VALID',
  'bits',
  {
    KVM_VCPUEVENT_VALID_NMI_PENDING: 0x1,
    KVM_VCPUEVENT_VALID_SIPI_VECTOR: 0x2,
    KVM_VCPUEVENT_VALID_SHADOW: 0x4,
    KVM_VCPUEVENT_VALID_SMM: 0x8,
    KVM_VCPUEVENT_VALID_PAYLOAD: 0x10,
    KVM_VCPUEVENT_VALID_TRIPLE_FAULT: 0x20,
  },
  arch,
);

export const KVM_X86_SHADOW = defineNames(
  'KVM_X86_SHADOW',
  'bits',
  { KVM_X86_SHADOW_INT_MOV_SS: 0x1, KVM_X86_SHADOW_INT_STI: 0x2 },
  arch,
);

const part = <const M extends string>(member: M) =>
  ({ ...x86, cType: `__typeof__(((struct kvm_vcpu_events *)0)->${member})` }) as const;

export const kvm_vcpu_events = struct(
  'kvm_vcpu_events',
  {
    exception: struct(
      'kvm_vcpu_events.exception',
      { injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32 },
      part('exception'),
    ),
    interrupt: struct(
      'kvm_vcpu_events.interrupt',
      { injected: u8, nr: u8, soft: u8, shadow: named.u8(KVM_X86_SHADOW) },
      part('interrupt'),
    ),
    nmi: struct('kvm_vcpu_events.nmi', { injected: u8, pending: u8, masked: u8, pad: u8 }, part('nmi')),
    sipi_vector: u32,
    flags: named.u32(KVM_VCPUEVENT_VALID),
    smi: struct('kvm_vcpu_events.smi', { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }, part('smi')),
    triple_fault: struct('kvm_vcpu_events.triple_fault', { pending: u8 }, part('triple_fault')),
    reserved: bytes(26),
    exception_has_payload: u8,
    exception_payload: u64,
  },
  x86,
);

export const KVM_GET_VCPU_EVENTS = defineIoctl('KVM_GET_VCPU_EVENTS', {
  nr: 0x9f,
  direction: 'read',
  on: 'vcpu',
  arg: kvm_vcpu_events,
  arch,
  since: '2.6.33',
});
export const KVM_SET_VCPU_EVENTS = defineIoctl('KVM_SET_VCPU_EVENTS', {
  nr: 0xa0,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_vcpu_events,
  arch,
  since: '2.6.33',
});

/** Bits of kvm_guest_debug.control. */
export const KVM_GUESTDBG_X86 = defineNames(
  'KVM_GUESTDBG_X86',
  'bits',
  {
    KVM_GUESTDBG_ENABLE: 0x1,
    KVM_GUESTDBG_SINGLESTEP: 0x2,
    KVM_GUESTDBG_USE_SW_BP: 0x10000,
    KVM_GUESTDBG_USE_HW_BP: 0x20000,
    KVM_GUESTDBG_INJECT_DB: 0x40000,
    KVM_GUESTDBG_INJECT_BP: 0x80000,
    KVM_GUESTDBG_BLOCKIRQ: 0x100000,
  },
  arch,
);

export const kvm_guest_debug_arch = struct('kvm_guest_debug_arch', { debugreg: array(u64, 8) }, x86);
export const kvm_guest_debug = struct(
  'kvm_guest_debug',
  { control: named.u32(KVM_GUESTDBG_X86), pad: u32, arch: kvm_guest_debug_arch },
  x86,
);

export const KVM_SET_GUEST_DEBUG = defineIoctl('KVM_SET_GUEST_DEBUG', {
  nr: 0x9b,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_guest_debug,
  arch,
  since: '2.6.30',
});

/** KVM_EXIT_DEBUG, at KVM_RUN_EXIT_OFFSET. */
export const kvm_debug_exit_arch = defineLayout(
  struct('kvm_debug_exit_arch', { exception: u32, pad: u32, pc: u64, dr6: u64, dr7: u64 }, x86),
);

/** Bits of kvm_run.flags. */
export const KVM_RUN_X86 = defineNames(
  'KVM_RUN_X86',
  'bits',
  { KVM_RUN_X86_SMM: 0x1, KVM_RUN_X86_BUS_LOCK: 0x2, KVM_RUN_X86_GUEST_MODE: 0x4 },
  arch,
);

/** kvm_run.hypercall.flags. */
export const KVM_EXIT_HYPERCALL_X86 = defineNames(
  'KVM_EXIT_HYPERCALL_X86',
  'bits',
  { KVM_EXIT_HYPERCALL_LONG_MODE: 0x1 },
  arch,
);

/** kvm_run.kvm_valid_regs and kvm_dirty_regs. */
export const KVM_SYNC_X86 = defineNames(
  'KVM_SYNC_X86',
  'bits',
  { KVM_SYNC_X86_REGS: 0x1, KVM_SYNC_X86_SREGS: 0x2, KVM_SYNC_X86_EVENTS: 0x4 },
  arch,
);

/** kvm_run.s, valid as far as kvm_valid_regs asks for it. */
export const kvm_sync_regs = defineLayout(
  struct('kvm_sync_regs', { regs: kvm_regs, sregs: kvm_sregs, events: kvm_vcpu_events }, x86),
);

export const KVM_STATE_NESTED = defineNames(
  'KVM_STATE_NESTED',
  'bits',
  {
    KVM_STATE_NESTED_GUEST_MODE: 0x1,
    KVM_STATE_NESTED_RUN_PENDING: 0x2,
    KVM_STATE_NESTED_EVMCS: 0x4,
    KVM_STATE_NESTED_MTF_PENDING: 0x8,
    KVM_STATE_NESTED_GIF_SET: 0x100,
  },
  arch,
);
export const KVM_STATE_NESTED_FORMAT = defineNames(
  'KVM_STATE_NESTED_FORMAT',
  'values',
  { KVM_STATE_NESTED_FORMAT_VMX: 0, KVM_STATE_NESTED_FORMAT_SVM: 1 },
  arch,
);

/** `size` in bytes is of the whole, this header included; `hdr` by format: VMX or SVM. */
export const kvm_nested_state = struct(
  'kvm_nested_state',
  { flags: named.u16(KVM_STATE_NESTED), format: named.u16(KVM_STATE_NESTED_FORMAT), size: u32, hdr: bytes(120, 8) },
  { ...x86, flexible: { name: 'data', element: u8 }, cNames: { data: 'data' } },
);

const nestedLength = (buffer: Uint8Array): number =>
  Math.max(kvm_nested_state.size, kvm_nested_state.get(buffer, 'size'));

export const KVM_GET_NESTED_STATE = defineIoctl('KVM_GET_NESTED_STATE', {
  nr: 0xbe,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_nested_state,
  realLength: nestedLength,
  arch,
  since: '4.20',
});
export const KVM_SET_NESTED_STATE = defineIoctl('KVM_SET_NESTED_STATE', {
  nr: 0xbf,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_nested_state,
  realLength: nestedLength,
  arch,
  since: '4.20',
});
