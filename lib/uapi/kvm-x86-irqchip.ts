/** The interrupt controllers that KVM emulates for x86, and addresses that it needs. Source: arch/x86/include/uapi/asm/kvm.h. */
import { address, array, bytes, named, u8, u32, u64 } from './fields.ts';
import { u64_argument } from './kvm-arguments.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const arch = 'x86';

/** Three pages, at an address in bytes below 4 GiB. */
export const KVM_SET_TSS_ADDR = defineIoctl('KVM_SET_TSS_ADDR', {
  nr: 0x47,
  direction: 'none',
  on: 'vm',
  arg: 'address',
  arch,
  since: '2.6.24',
});

/** One page. */
export const KVM_SET_IDENTITY_MAP_ADDR = defineIoctl('KVM_SET_IDENTITY_MAP_ADDR', {
  nr: 0x48,
  direction: 'write',
  on: 'vm',
  arg: u64_argument,
  arch,
  since: '2.6.31',
});

export const KVM_SET_BOOT_CPU_ID = defineIoctl('KVM_SET_BOOT_CPU_ID', {
  nr: 0x78,
  direction: 'none',
  on: 'vm',
  arg: 'id',
  arch,
  since: '2.6.31',
});

/** The registers of a local APIC, as in its memory page: 32 bits each, 16 bytes apart. */
export const kvm_lapic_state = struct('kvm_lapic_state', { regs: bytes(0x400) }, x86);

export const KVM_GET_LAPIC = defineIoctl('KVM_GET_LAPIC', {
  nr: 0x8e,
  direction: 'read',
  on: 'vcpu',
  arg: kvm_lapic_state,
  arch,
  since: '2.6.23',
});
export const KVM_SET_LAPIC = defineIoctl('KVM_SET_LAPIC', {
  nr: 0x8f,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_lapic_state,
  arch,
  since: '2.6.23',
});

export const KVM_IRQCHIP = defineNames(
  'KVM_IRQCHIP',
  'values',
  { KVM_IRQCHIP_PIC_MASTER: 0, KVM_IRQCHIP_PIC_SLAVE: 1, KVM_IRQCHIP_IOAPIC: 2 },
  arch,
);

/** `chip` of kvm_irqchip for the two PICs. */
export const kvm_pic_state = defineLayout(
  struct(
    'kvm_pic_state',
    {
      last_irr: u8,
      irr: u8,
      imr: u8,
      isr: u8,
      priority_add: u8,
      irq_base: u8,
      read_reg_select: u8,
      poll: u8,
      special_mask: u8,
      init_state: u8,
      auto_eoi: u8,
      rotate_on_auto_eoi: u8,
      special_fully_nested_mode: u8,
      init4: u8,
      elcr: u8,
      elcr_mask: u8,
    },
    x86,
  ),
);

/** `chip` of kvm_irqchip for the IOAPIC; a redirection entry is one word of 64 bits. */
export const kvm_ioapic_state = defineLayout(
  struct(
    'kvm_ioapic_state',
    { base_address: u64, ioregsel: u32, id: u32, irr: u32, pad: u32, redirtbl: array(u64, 24) },
    x86,
  ),
);

/** `chip` is decoded by chip_id: {@link kvm_pic_state} or {@link kvm_ioapic_state}. */
export const kvm_irqchip = struct(
  'kvm_irqchip',
  { chip_id: named.u32(KVM_IRQCHIP), pad: u32, chip: bytes(512, 8) },
  { ...x86, source: 'include/uapi/linux/kvm.h' },
);

export const KVM_GET_IRQCHIP = defineIoctl('KVM_GET_IRQCHIP', {
  nr: 0x62,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_irqchip,
  arch,
  since: '2.6.23',
});
/** Declared as travelling out of the kernel; it travels in. */
export const KVM_SET_IRQCHIP = defineIoctl('KVM_SET_IRQCHIP', {
  nr: 0x63,
  direction: 'read',
  on: 'vm',
  arg: kvm_irqchip,
  travels: 'in',
  arch,
  since: '2.6.23',
});

export const kvm_tpr_access_ctl = struct(
  'kvm_tpr_access_ctl',
  { enabled: u32, flags: u32, reserved: array(u32, 8) },
  { source: 'include/uapi/linux/kvm.h' },
);

export const KVM_TPR_ACCESS_REPORTING = defineIoctl('KVM_TPR_ACCESS_REPORTING', {
  nr: 0x92,
  direction: 'read-write',
  on: 'vcpu',
  arg: kvm_tpr_access_ctl,
  arch,
  since: '2.6.25',
});

export const kvm_vapic_addr = struct('kvm_vapic_addr', { vapic_addr: address }, { source: 'include/uapi/linux/kvm.h' });

export const KVM_SET_VAPIC_ADDR = defineIoctl('KVM_SET_VAPIC_ADDR', {
  nr: 0x93,
  direction: 'write',
  on: 'vcpu',
  arg: kvm_vapic_addr,
  arch,
  since: '2.6.25',
});
