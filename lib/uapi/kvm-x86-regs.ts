/** Registers of an x86 vCPU: general, system, floating point, extended state. Source: arch/x86/include/uapi/asm/kvm.h. */
import { array, bytes, named, u8, u16, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const vcpu = { on: 'vcpu', arch: 'x86' } as const;
const get = { ...vcpu, direction: 'read' } as const;
const set = { ...vcpu, direction: 'write' } as const;

export const kvm_regs = struct(
  'kvm_regs',
  {
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    rsp: u64,
    rbp: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rip: u64,
    rflags: u64,
  },
  x86,
);

export const KVM_GET_REGS = defineIoctl('KVM_GET_REGS', { ...get, nr: 0x81, arg: kvm_regs, since: '2.6.20' });
export const KVM_SET_REGS = defineIoctl('KVM_SET_REGS', { ...set, nr: 0x82, arg: kvm_regs, since: '2.6.20' });

/** A segment register with its hidden part. `limit` in bytes also where `g` is set. */
export const kvm_segment = struct(
  'kvm_segment',
  {
    base: u64,
    limit: u32,
    selector: u16,
    type: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
  },
  x86,
);

export const kvm_dtable = struct('kvm_dtable', { base: u64, limit: u16, padding: array(u16, 3) }, x86);

const segments = {
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
} as const;

export const kvm_sregs = struct('kvm_sregs', { ...segments, interrupt_bitmap: array(u64, 4) }, x86);

export const KVM_GET_SREGS = defineIoctl('KVM_GET_SREGS', { ...get, nr: 0x83, arg: kvm_sregs, since: '2.6.20' });
export const KVM_SET_SREGS = defineIoctl('KVM_SET_SREGS', { ...set, nr: 0x84, arg: kvm_sregs, since: '2.6.20' });

export const KVM_SREGS2_FLAGS = defineNames('KVM_SREGS2_FLAGS', 'bits', { KVM_SREGS2_FLAGS_PDPTRS_VALID: 0x1 }, 'x86');

export const kvm_sregs2 = struct(
  'kvm_sregs2',
  { ...segments, flags: named.u64(KVM_SREGS2_FLAGS), pdptrs: array(u64, 4) },
  x86,
);

export const KVM_GET_SREGS2 = defineIoctl('KVM_GET_SREGS2', { ...get, nr: 0xcc, arg: kvm_sregs2, since: '5.14' });
export const KVM_SET_SREGS2 = defineIoctl('KVM_SET_SREGS2', { ...set, nr: 0xcd, arg: kvm_sregs2, since: '5.14' });

export const kvm_fpu = struct(
  'kvm_fpu',
  {
    fpr: array(bytes(16), 8),
    fcw: u16,
    fsw: u16,
    /** The tag word in the abridged form of FXSAVE. */
    ftwx: u8,
    pad1: u8,
    last_opcode: u16,
    last_ip: u64,
    last_dp: u64,
    xmm: array(bytes(16), 16),
    mxcsr: u32,
    pad2: u32,
  },
  x86,
);

export const KVM_GET_FPU = defineIoctl('KVM_GET_FPU', { ...get, nr: 0x8c, arg: kvm_fpu, since: '2.6.20' });
export const KVM_SET_FPU = defineIoctl('KVM_SET_FPU', { ...set, nr: 0x8d, arg: kvm_fpu, since: '2.6.20' });

export const kvm_debugregs = struct(
  'kvm_debugregs',
  { db: array(u64, 4), dr6: u64, dr7: u64, flags: u64, reserved: array(u64, 9) },
  x86,
);

export const KVM_GET_DEBUGREGS = defineIoctl('KVM_GET_DEBUGREGS', {
  ...get,
  nr: 0xa1,
  arg: kvm_debugregs,
  since: '2.6.35',
});
export const KVM_SET_DEBUGREGS = defineIoctl('KVM_SET_DEBUGREGS', {
  ...set,
  nr: 0xa2,
  arg: kvm_debugregs,
  since: '2.6.35',
});

/** The XSAVE area in the host's layout; `extra` where KVM_CAP_XSAVE2 of the VM is more than 4096 bytes. */
export const kvm_xsave = struct(
  'kvm_xsave',
  { region: array(u32, 1024) },
  { ...x86, flexible: { name: 'extra', element: u32 } },
);

/** The kernel touches as many bytes as KVM_CAP_XSAVE2 of the VM says, which no field shows: never fewer than the buffer may have. */
const xsaveLength = (buffer: Uint8Array): number => Math.max(kvm_xsave.size, buffer.length);

export const KVM_GET_XSAVE = defineIoctl('KVM_GET_XSAVE', { ...get, nr: 0xa4, arg: kvm_xsave, since: '2.6.36' });
export const KVM_SET_XSAVE = defineIoctl('KVM_SET_XSAVE', {
  ...set,
  nr: 0xa5,
  arg: kvm_xsave,
  realLength: xsaveLength,
  since: '2.6.36',
});
export const KVM_GET_XSAVE2 = defineIoctl('KVM_GET_XSAVE2', {
  ...get,
  nr: 0xcf,
  arg: kvm_xsave,
  realLength: xsaveLength,
  since: '5.17',
});

export const kvm_xcr = struct('kvm_xcr', { xcr: u32, reserved: u32, value: u64 }, x86);

export const kvm_xcrs = struct(
  'kvm_xcrs',
  { nr_xcrs: u32, flags: u32, xcrs: array(kvm_xcr, 16), padding: array(u64, 16) },
  x86,
);

export const KVM_GET_XCRS = defineIoctl('KVM_GET_XCRS', { ...get, nr: 0xa6, arg: kvm_xcrs, since: '2.6.36' });
export const KVM_SET_XCRS = defineIoctl('KVM_SET_XCRS', { ...set, nr: 0xa7, arg: kvm_xcrs, since: '2.6.36' });
