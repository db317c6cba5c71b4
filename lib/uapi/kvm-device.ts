/** In-kernel devices, and the attributes by which devices, VMs, vCPUs and /dev/kvm are set up. Source: include/uapi/linux/kvm.h. */
import { address, fd, named, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const options = { source: 'include/uapi/linux/kvm.h' } as const;

export const KVM_DEV_TYPE = defineNames('KVM_DEV_TYPE', 'values', {
  KVM_DEV_TYPE_FSL_MPIC_20: 1,
  KVM_DEV_TYPE_FSL_MPIC_42: 2,
  KVM_DEV_TYPE_XICS: 3,
  KVM_DEV_TYPE_VFIO: 4,
  KVM_DEV_TYPE_ARM_VGIC_V2: 5,
  KVM_DEV_TYPE_FLIC: 6,
  KVM_DEV_TYPE_ARM_VGIC_V3: 7,
  KVM_DEV_TYPE_ARM_VGIC_ITS: 8,
  KVM_DEV_TYPE_XIVE: 9,
  KVM_DEV_TYPE_ARM_PV_TIME: 10,
  KVM_DEV_TYPE_RISCV_AIA: 11,
  KVM_DEV_TYPE_LOONGARCH_IPI: 12,
  KVM_DEV_TYPE_LOONGARCH_EIOINTC: 13,
  KVM_DEV_TYPE_LOONGARCH_PCHPIC: 14,
  KVM_DEV_TYPE_LOONGARCH_DMSINTC: 15,
  KVM_DEV_TYPE_ARM_VGIC_V5: 16,
});

/** With TEST nothing is created: success says that the type exists. */
export const KVM_CREATE_DEVICE_FLAG = defineNames('KVM_CREATE_DEVICE_FLAG', 'bits', { KVM_CREATE_DEVICE_TEST: 0x1 });

/** `fd` is written by the kernel. */
export const kvm_create_device = struct(
  'kvm_create_device',
  { type: named.u32(KVM_DEV_TYPE), fd: fd, flags: named.u32(KVM_CREATE_DEVICE_FLAG) },
  options,
);

export const KVM_CREATE_DEVICE = defineIoctl('KVM_CREATE_DEVICE', {
  nr: 0xe0,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_create_device,
  makes: 'device',
  makesField: 'fd',
  since: '3.10',
});

/** `addr` points to the value; what lies there depends on group and attr. */
export const kvm_device_attr = struct('kvm_device_attr', { flags: u32, group: u32, attr: u64, addr: address }, options);

const on = ['device', 'vm', 'vcpu', 'kvm'] as const;

export const KVM_SET_DEVICE_ATTR = defineIoctl('KVM_SET_DEVICE_ATTR', {
  nr: 0xe1,
  direction: 'write',
  on,
  arg: kvm_device_attr,
  pointers: ['addr'],
  since: '3.10',
});
/** Declared as travelling in, which is true of the struct: the value comes through `addr`. */
export const KVM_GET_DEVICE_ATTR = defineIoctl('KVM_GET_DEVICE_ATTR', {
  nr: 0xe2,
  direction: 'write',
  on,
  arg: kvm_device_attr,
  pointers: ['addr'],
  since: '3.10',
});
export const KVM_HAS_DEVICE_ATTR = defineIoctl('KVM_HAS_DEVICE_ATTR', {
  nr: 0xe3,
  direction: 'write',
  on,
  arg: kvm_device_attr,
  since: '3.10',
});

/** Groups of the attributes of /dev/kvm on x86. */
export const KVM_X86_GRP = defineNames('KVM_X86_GRP', 'values', { KVM_X86_GRP_SYSTEM: 0, KVM_X86_GRP_SEV: 1 }, 'x86');
/** Attributes of KVM_X86_GRP_SYSTEM. */
export const KVM_X86_SYSTEM_ATTR = defineNames('KVM_X86_SYSTEM_ATTR', 'values', { KVM_X86_XCOMP_GUEST_SUPP: 0 }, 'x86');
/** Attributes of KVM_X86_GRP_SEV, each a u64. */
export const KVM_X86_SEV_ATTR = defineNames(
  'KVM_X86_SEV_ATTR',
  'values',
  { KVM_X86_SEV_VMSA_FEATURES: 0, KVM_X86_SNP_POLICY_BITS: 1, KVM_X86_SEV_SNP_REQ_CERTS: 2 },
  'x86',
);
/** Group and attribute of a vCPU: the offset of its time-stamp counter. */
export const KVM_VCPU_TSC = defineNames(
  'KVM_VCPU_TSC',
  'values',
  { KVM_VCPU_TSC_CTRL: 0, KVM_VCPU_TSC_OFFSET: 0 },
  'x86',
);
