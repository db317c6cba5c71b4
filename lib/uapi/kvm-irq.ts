/** Interrupts from outside and doorbells: irq lines, routing, irqfd, ioeventfd, coalesced MMIO. Source: include/uapi/linux/kvm.h. */
import { address, array, bytes, fd, named, u8, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineLayout, defineNames } from './registry.ts';

const options = { source: 'include/uapi/linux/kvm.h' } as const;

/** x86: PIC, IOAPIC and a LAPIC per vCPU. arm64 (GICv2 only) has KVM_CREATE_DEVICE for the rest. */
export const KVM_CREATE_IRQCHIP = defineIoctl('KVM_CREATE_IRQCHIP', {
  nr: 0x60,
  direction: 'none',
  on: 'vm',
  since: '2.6.23',
});

/** `irq` is a GSI on x86; on arm64 it is made of type, vCPU and number. KVM_IRQ_LINE_STATUS answers in the same field. */
export const kvm_irq_level = struct('kvm_irq_level', { irq: u32, level: u32 }, options);

export const KVM_IRQ_LINE = defineIoctl('KVM_IRQ_LINE', {
  nr: 0x61,
  direction: 'write',
  on: 'vm',
  arg: kvm_irq_level,
  since: '2.6.23',
});
export const KVM_IRQ_LINE_STATUS = defineIoctl('KVM_IRQ_LINE_STATUS', {
  nr: 0x67,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_irq_level,
  since: '2.6.30',
});

export const KVM_IRQ_ROUTING = defineNames('KVM_IRQ_ROUTING', 'values', {
  KVM_IRQ_ROUTING_IRQCHIP: 1,
  KVM_IRQ_ROUTING_MSI: 2,
  KVM_IRQ_ROUTING_S390_ADAPTER: 3,
  KVM_IRQ_ROUTING_HV_SINT: 4,
  KVM_IRQ_ROUTING_XEN_EVTCHN: 5,
});

/** Flags of routing entries and of kvm_msi. */
export const KVM_MSI = defineNames('KVM_MSI', 'bits', { KVM_MSI_VALID_DEVID: 0x1 });

/** `u` of kvm_irq_routing_entry, by type. */
export const kvm_irq_routing_irqchip = defineLayout(
  struct('kvm_irq_routing_irqchip', { irqchip: u32, pin: u32 }, options),
);
export const kvm_irq_routing_msi = defineLayout(
  struct('kvm_irq_routing_msi', { address_lo: u32, address_hi: u32, data: u32, devid: u32 }, options),
);
export const kvm_irq_routing_hv_sint = defineLayout(
  struct('kvm_irq_routing_hv_sint', { vcpu: u32, sint: u32 }, options),
);
export const kvm_irq_routing_xen_evtchn = defineLayout(
  struct('kvm_irq_routing_xen_evtchn', { port: u32, vcpu: u32, priority: u32 }, options),
);

/** `u` holds the bytes of one of the layouts above: `u: kvm_irq_routing_msi.encode({…})`. */
export const kvm_irq_routing_entry = struct(
  'kvm_irq_routing_entry',
  { gsi: u32, type: named.u32(KVM_IRQ_ROUTING), flags: named.u32(KVM_MSI), pad: u32, u: bytes(32, 8) },
  options,
);

/** Replaces the whole table. */
export const kvm_irq_routing = struct(
  'kvm_irq_routing',
  { nr: u32, flags: u32 },
  { ...options, flexible: { name: 'entries', element: kvm_irq_routing_entry, count: 'nr' } },
);

export const KVM_SET_GSI_ROUTING = defineIoctl('KVM_SET_GSI_ROUTING', {
  nr: 0x6a,
  direction: 'write',
  on: 'vm',
  arg: kvm_irq_routing,
  since: '2.6.30',
});

export const kvm_msi = struct(
  'kvm_msi',
  { address_lo: u32, address_hi: u32, data: u32, flags: named.u32(KVM_MSI), devid: u32, pad: bytes(12) },
  options,
);

export const KVM_SIGNAL_MSI = defineIoctl('KVM_SIGNAL_MSI', {
  nr: 0xa5,
  direction: 'write',
  on: 'vm',
  arg: kvm_msi,
  since: '3.5',
});

export const KVM_IRQFD_FLAG = defineNames('KVM_IRQFD_FLAG', 'bits', {
  KVM_IRQFD_FLAG_DEASSIGN: 0x1,
  KVM_IRQFD_FLAG_RESAMPLE: 0x2,
});

/** `fd` is an eventfd. */
export const kvm_irqfd = struct(
  'kvm_irqfd',
  { fd: fd, gsi: u32, flags: named.u32(KVM_IRQFD_FLAG), resamplefd: fd, pad: bytes(16) },
  options,
);

export const KVM_IRQFD = defineIoctl('KVM_IRQFD', {
  nr: 0x76,
  direction: 'write',
  on: 'vm',
  arg: kvm_irqfd,
  since: '2.6.31',
});

export const KVM_IOEVENTFD_FLAG = defineNames('KVM_IOEVENTFD_FLAG', 'bits', {
  KVM_IOEVENTFD_FLAG_DATAMATCH: 0x1,
  KVM_IOEVENTFD_FLAG_PIO: 0x2,
  KVM_IOEVENTFD_FLAG_DEASSIGN: 0x4,
  KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY: 0x8,
});

/** `addr` is a gpa or a port; `len` 1, 2, 4, 8, or 0 for any. */
export const kvm_ioeventfd = struct(
  'kvm_ioeventfd',
  { datamatch: u64, addr: address, len: u32, fd: fd, flags: named.u32(KVM_IOEVENTFD_FLAG), pad: bytes(36) },
  options,
);

export const KVM_IOEVENTFD = defineIoctl('KVM_IOEVENTFD', {
  nr: 0x79,
  direction: 'write',
  on: 'vm',
  arg: kvm_ioeventfd,
  since: '2.6.32',
});

/** `pio` 1 for ports, 0 for memory. Size in bytes. */
export const kvm_coalesced_mmio_zone = struct(
  'kvm_coalesced_mmio_zone',
  { addr: address, size: u32, pio: u32 },
  options,
);

export const KVM_REGISTER_COALESCED_MMIO = defineIoctl('KVM_REGISTER_COALESCED_MMIO', {
  nr: 0x67,
  direction: 'write',
  on: 'vm',
  arg: kvm_coalesced_mmio_zone,
  since: '2.6.27',
});
export const KVM_UNREGISTER_COALESCED_MMIO = defineIoctl('KVM_UNREGISTER_COALESCED_MMIO', {
  nr: 0x68,
  direction: 'write',
  on: 'vm',
  arg: kvm_coalesced_mmio_zone,
  since: '2.6.27',
});

/** One write that was put off. */
export const kvm_coalesced_mmio = struct(
  'kvm_coalesced_mmio',
  { phys_addr: address, len: u32, pio: u32, data: array(u8, 8) },
  options,
);

/** Mapped from a vCPU's descriptor at KVM_COALESCED_MMIO_PAGE_OFFSET; userspace advances `first`. */
export const kvm_coalesced_mmio_ring = defineLayout(
  struct(
    'kvm_coalesced_mmio_ring',
    { first: u32, last: u32 },
    { ...options, flexible: { name: 'coalesced_mmio', element: kvm_coalesced_mmio } },
  ),
);
