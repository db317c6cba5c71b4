/** Requests and exits of guests that expect Hyper-V or Xen. Sources: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h. */
import { address, array, bytes, fd, named, u8, u16, u32, u64 } from './fields.ts';
import { kvm_irq_routing_xen_evtchn } from './kvm-irq.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const generic = { source: 'include/uapi/linux/kvm.h' } as const;
const arch = 'x86';

export const KVM_EXIT_HYPERV_TYPE = defineNames('KVM_EXIT_HYPERV_TYPE', 'values', {
  KVM_EXIT_HYPERV_SYNIC: 1,
  KVM_EXIT_HYPERV_HCALL: 2,
  KVM_EXIT_HYPERV_SYNDBG: 3,
});

/** KVM_EXIT_HYPERV, at KVM_RUN_EXIT_OFFSET. For a hypercall `u` is input, result, params[2], each 8 bytes. */
export const kvm_hyperv_exit = defineLayout(
  struct('kvm_hyperv_exit', { type: named.u32(KVM_EXIT_HYPERV_TYPE), pad1: u32, u: bytes(48, 8) }, generic),
);

export const KVM_EXIT_XEN_TYPE = defineNames('KVM_EXIT_XEN_TYPE', 'values', { KVM_EXIT_XEN_HCALL: 1 });

/** The hypercall of KVM_EXIT_XEN, at KVM_RUN_EXIT_OFFSET; userspace writes `result`. */
export const kvm_xen_exit = defineLayout(
  struct(
    'kvm_xen_exit',
    { type: named.u32(KVM_EXIT_XEN_TYPE), longmode: u32, cpl: u32, input: u64, result: u64, params: array(u64, 6) },
    {
      ...generic,
      at: { longmode: 8 },
      cNames: {
        longmode: 'u.hcall.longmode',
        cpl: 'u.hcall.cpl',
        input: 'u.hcall.input',
        result: 'u.hcall.result',
        params: 'u.hcall.params',
      },
    },
  ),
);

export const KVM_HYPERV_EVENTFD_FLAG = defineNames(
  'KVM_HYPERV_EVENTFD_FLAG',
  'bits',
  { KVM_HYPERV_EVENTFD_DEASSIGN: 0x1 },
  arch,
);
export const kvm_hyperv_eventfd = struct(
  'kvm_hyperv_eventfd',
  { conn_id: u32, fd: fd, flags: named.u32(KVM_HYPERV_EVENTFD_FLAG), padding: array(u32, 3) },
  x86,
);
export const KVM_HYPERV_EVENTFD = defineIoctl('KVM_HYPERV_EVENTFD', {
  nr: 0xbd,
  direction: 'write',
  on: 'vm',
  arg: kvm_hyperv_eventfd,
  arch,
  since: '4.17',
});

export const kvm_xen_hvm_config = struct(
  'kvm_xen_hvm_config',
  {
    flags: u32,
    msr: u32,
    blob_addr_32: address,
    blob_addr_64: address,
    blob_size_32: u8,
    blob_size_64: u8,
    pad2: bytes(30),
  },
  x86,
);
export const KVM_XEN_HVM_CONFIG = defineIoctl('KVM_XEN_HVM_CONFIG', {
  nr: 0x7a,
  direction: 'write',
  on: 'vm',
  arg: kvm_xen_hvm_config,
  pointers: ['blob_addr_32', 'blob_addr_64'],
  arch,
  since: '2.6.33',
});

/** `u` by type. */
export const kvm_xen_hvm_attr = struct('kvm_xen_hvm_attr', { type: u16, pad: array(u16, 3), u: bytes(64, 8) }, x86);
export const kvm_xen_vcpu_attr = struct('kvm_xen_vcpu_attr', { type: u16, pad: array(u16, 3), u: bytes(64, 8) }, x86);

export const KVM_XEN_HVM_GET_ATTR = defineIoctl('KVM_XEN_HVM_GET_ATTR', {
  nr: 0xc8,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_xen_hvm_attr,
  arch,
  since: '5.12',
});
export const KVM_XEN_HVM_SET_ATTR = defineIoctl('KVM_XEN_HVM_SET_ATTR', {
  nr: 0xc9,
  direction: 'write',
  on: 'vm',
  arg: kvm_xen_hvm_attr,
  arch,
  since: '5.12',
});
export const KVM_XEN_VCPU_GET_ATTR = defineIoctl('KVM_XEN_VCPU_GET_ATTR', {
  nr: 0xca,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_xen_vcpu_attr,
  arch,
  since: '5.12',
});
export const KVM_XEN_VCPU_SET_ATTR = defineIoctl('KVM_XEN_VCPU_SET_ATTR', {
  nr: 0xcb,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_xen_vcpu_attr,
  arch,
  since: '5.12',
});
export const KVM_XEN_HVM_EVTCHN_SEND = defineIoctl('KVM_XEN_HVM_EVTCHN_SEND', {
  nr: 0xd0,
  direction: 'write',
  on: 'vm',
  arg: kvm_irq_routing_xen_evtchn,
  arch,
  since: '5.18',
});
