/** Requests of vCPUs that are the same on every architecture, and the architecture-neutral part of registers. */
import { address, bytes, named, s16, u8, u16, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const source = 'include/uapi/linux/kvm.h';

/** The argument must be 0. What came of it is in kvm_run. */
export const KVM_RUN = defineIoctl('KVM_RUN', { nr: 0x80, direction: 'none', on: 'vcpu', since: '2.6.20' });

/** Not all states exist on all architectures. */
export const KVM_MP_STATE = defineNames('KVM_MP_STATE', 'values', {
  KVM_MP_STATE_RUNNABLE: 0,
  KVM_MP_STATE_UNINITIALIZED: 1,
  KVM_MP_STATE_INIT_RECEIVED: 2,
  KVM_MP_STATE_HALTED: 3,
  KVM_MP_STATE_SIPI_RECEIVED: 4,
  KVM_MP_STATE_STOPPED: 5,
  KVM_MP_STATE_CHECK_STOP: 6,
  KVM_MP_STATE_OPERATING: 7,
  KVM_MP_STATE_LOAD: 8,
  KVM_MP_STATE_AP_RESET_HOLD: 9,
  KVM_MP_STATE_SUSPENDED: 10,
});

export const kvm_mp_state = struct('kvm_mp_state', { mp_state: named.u32(KVM_MP_STATE) }, { source });

export const KVM_GET_MP_STATE = defineIoctl('KVM_GET_MP_STATE', {
  nr: 0x98,
  direction: 'read',
  on: 'vcpu',
  arg: kvm_mp_state,
  since: '2.6.26',
});
export const KVM_SET_MP_STATE = defineIoctl('KVM_SET_MP_STATE', {
  nr: 0x99,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_mp_state,
  since: '2.6.26',
});

/** Signals blocked while the vCPU runs. On x86-64 and arm64 `len` is 8. A null argument removes the mask. */
export const kvm_signal_mask = struct(
  'kvm_signal_mask',
  { len: u32 },
  { source, flexible: { name: 'sigset', element: u8, count: 'len' } },
);

export const KVM_SET_SIGNAL_MASK = defineIoctl('KVM_SET_SIGNAL_MASK', {
  nr: 0x8b,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_signal_mask,
  since: '2.6.20',
});

/** The vector to inject; x86 only without an in-kernel interrupt controller. */
export const kvm_interrupt = struct('kvm_interrupt', { irq: u32 }, { source });

export const KVM_INTERRUPT = defineIoctl('KVM_INTERRUPT', {
  nr: 0x86,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_interrupt,
  arch: 'x86',
  since: '2.6.20',
});

/** Walks the guest's page tables: a guest-virtual address in, a gpa out. */
export const kvm_translation = struct(
  'kvm_translation',
  { linear_address: u64, physical_address: u64, valid: u8, writeable: u8, usermode: u8, pad: bytes(5) },
  { source },
);

export const KVM_TRANSLATE = defineIoctl('KVM_TRANSLATE', {
  nr: 0x85,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_translation,
  arch: 'x86',
  since: '2.6.20',
});

/** The architecture in bits 63:56 of a register id, log2 of the size in bytes in bits 55:52. */
export const KVM_REG_ARCH = defineNames('KVM_REG_ARCH', 'values', {
  KVM_REG_GENERIC: 0n,
  KVM_REG_PPC: 0x1000000000000000n,
  KVM_REG_X86: 0x2000000000000000n,
  KVM_REG_IA64: 0x3000000000000000n,
  KVM_REG_ARM: 0x4000000000000000n,
  KVM_REG_S390: 0x5000000000000000n,
  KVM_REG_ARM64: 0x6000000000000000n,
  KVM_REG_MIPS: 0x7000000000000000n,
  KVM_REG_RISCV: 0x8000000000000000n,
  KVM_REG_LOONGARCH: 0x9000000000000000n,
});

export const KVM_REG_SIZE_BITS = defineNames('KVM_REG_SIZE', 'values', {
  KVM_REG_SIZE_U8: 0n,
  KVM_REG_SIZE_U16: 0x0010000000000000n,
  KVM_REG_SIZE_U32: 0x0020000000000000n,
  KVM_REG_SIZE_U64: 0x0030000000000000n,
  KVM_REG_SIZE_U128: 0x0040000000000000n,
  KVM_REG_SIZE_U256: 0x0050000000000000n,
  KVM_REG_SIZE_U512: 0x0060000000000000n,
  KVM_REG_SIZE_U1024: 0x0070000000000000n,
  KVM_REG_SIZE_U2048: 0x0080000000000000n,
});

/** Size in bytes of the register that an id names. */
export const KVM_REG_SIZE = (id: bigint): number => 1 << Number((id >> 52n) & 0xfn);

/** `addr` is where the value lies, KVM_REG_SIZE(id) bytes. */
export const kvm_one_reg = struct('kvm_one_reg', { id: u64, addr: address }, { source });

/** Declared as travelling in, which is true of the struct: the value goes through `addr`. On x86 after 6.12. */
export const KVM_GET_ONE_REG = defineIoctl('KVM_GET_ONE_REG', {
  nr: 0xab,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_one_reg,
  pointers: ['addr'],
  since: '3.3; arm64 3.11; x86 after 6.12',
});
export const KVM_SET_ONE_REG = defineIoctl('KVM_SET_ONE_REG', {
  nr: 0xac,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_one_reg,
  pointers: ['addr'],
  since: '3.3; arm64 3.11; x86 after 6.12',
});

/** `n` in: room; out: how many there are, also when it fails with E2BIG. */
export const kvm_reg_list = struct(
  'kvm_reg_list',
  { n: address },
  { source, flexible: { name: 'reg', element: u64, count: 'n' } },
);

export const KVM_GET_REG_LIST = defineIoctl('KVM_GET_REG_LIST', {
  nr: 0xb0,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_reg_list,
  since: '3.11; x86 after 6.12',
});

/** Bits of kvm_guest_debug.control that all architectures share. */
export const KVM_GUESTDBG = defineNames('KVM_GUESTDBG', 'bits', {
  KVM_GUESTDBG_ENABLE: 0x1,
  KVM_GUESTDBG_SINGLESTEP: 0x2,
});

/** What the statistics descriptor begins with; offsets in bytes from its start. */
export const kvm_stats_header = defineLayout(
  struct(
    'kvm_stats_header',
    { flags: u32, name_size: u32, num_desc: u32, id_offset: u32, desc_offset: u32, data_offset: u32 },
    { source },
  ),
);

/** One statistic: `size` words of 64 bits at `offset` of the data; the name follows, `name_size` bytes. */
export const kvm_stats_desc = defineLayout(
  struct(
    'kvm_stats_desc',
    { flags: u32, exponent: s16, size: u16, offset: u32, bucket_size: u32 },
    { source, flexible: { name: 'name', element: u8 } },
  ),
);
