/** A virtual machine: its memory layout, its private memory, its vCPUs. */
import { Descriptor } from '../kernel/descriptor.ts';
import { StateError } from '../kernel/errors.ts';
import type { Int } from '../kernel/kernel.ts';
import type { Eventfd } from '../memory/eventfd.ts';
import { Mapping } from '../memory/mapping.ts';
import {
  GUEST_MEMFD_FLAG,
  KVM_CAP,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_PIT2,
  KVM_CREATE_VCPU,
  KVM_ENABLE_CAP,
  KVM_IOEVENTFD,
  KVM_IOEVENTFD_FLAG,
  KVM_IRQ_LINE,
  KVM_IRQ_ROUTING,
  KVM_IRQFD,
  KVM_IRQFD_FLAG,
  KVM_MEM,
  KVM_MEMORY_ATTRIBUTE,
  KVM_PIT_CONFIG,
  KVM_REGISTER_COALESCED_MMIO,
  KVM_SET_GSI_ROUTING,
  KVM_SET_IDENTITY_MAP_ADDR,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SET_TSS_ADDR,
  KVM_SET_USER_MEMORY_REGION,
  KVM_SET_USER_MEMORY_REGION2,
  KVM_SIGNAL_MSI,
  kvm_coalesced_mmio_zone,
  kvm_create_guest_memfd,
  kvm_enable_cap,
  kvm_ioeventfd,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irq_routing_msi,
  kvm_irqfd,
  kvm_memory_attributes,
  kvm_msi,
  kvm_pit_config,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
  u64_argument,
} from '../uapi/index.ts';
import { GuestMemfd } from './guest-memfd.ts';
import type { Kvm } from './kvm.ts';
import { Memslot, type MemslotOptions } from './memslot.ts';
import { Vcpu } from './vcpu.ts';

type Region = Parameters<typeof kvm_userspace_memory_region.encode>[0];
type Region2 = Parameters<typeof kvm_userspace_memory_region2.encode>[0];

export class Vm extends Descriptor {
  /** The VM type that it was created with. */
  readonly type: bigint;
  readonly #vcpuMmapSize: number;
  /** Weak, so that a closed slot and its memory can be collected; open ones are held as children. */
  readonly #slots = new Map<number, WeakRef<Memslot>>();

  /** Not for users: see {@link Kvm.createVm}. */
  constructor(kvm: Kvm, fd: number, type: Int, vcpuMmapSize: number) {
    super(kvm.sys, kvm, 'vm', fd);
    this.type = BigInt(type);
    this.#vcpuMmapSize = vcpuMmapSize;
  }

  /** KVM_CHECK_EXTENSION for this VM: 0 when the capability is absent. */
  checkExtension(capability: number): number {
    return this.ioctl(KVM_CHECK_EXTENSION, capability);
  }

  /** KVM_ENABLE_CAP. EINVAL for a capability that cannot be enabled, or for flags or arguments that it does not take. */
  enableCap(capability: number, args: readonly Int[] = [], flags = 0): number {
    return this.ioctl(KVM_ENABLE_CAP, kvm_enable_cap.encode({ cap: capability, flags, args }));
  }

  /**
   * Lets hypercalls end KVM_RUN: a mask of 1 << number; 1 << 12 is KVM_HC_MAP_GPA_RANGE, 0 turns it off. EINVAL for other bits. Before
   * the guest asks, or it gets -KVM_ENOSYS.
   */
  enableExitHypercall(mask: Int): void {
    this.enableCap(KVM_CAP.value.KVM_CAP_EXIT_HYPERCALL, [mask]);
  }

  /** GUEST_MEMFD_FLAG bits that this VM's files may have (KVM_CAP_GUEST_MEMFD_FLAGS; 0 before Linux 6.18). */
  guestMemfdFlags(): number {
    return this.checkExtension(KVM_CAP.value.KVM_CAP_GUEST_MEMFD_FLAGS);
  }

  /**
   * KVM_CREATE_GUEST_MEMFD, Linux 6.8; virt/kvm/guest_memfd.c. `size` in bytes. EINVAL when the size is no positive multiple of the page
   * size or a flag is not offered, ENOTTY on older kernels. The descriptor is close-on-exec, unlike what the kernel hands out.
   */
  createGuestMemfd(size: Int, flags: Int | { readonly mmap?: boolean; readonly initShared?: boolean } = 0): GuestMemfd {
    const bits = typeof flags === 'object' ? flagBits(flags) : BigInt(flags);
    const fd = this.ioctl(KVM_CREATE_GUEST_MEMFD, kvm_create_guest_memfd.encode({ size, flags: bits }));
    return new GuestMemfd(this, fd, bits);
  }

  /** KVM_SET_USER_MEMORY_REGION as it is: create, move, change or (size 0) delete a slot. The checks and errnos are listed at addMemslot. */
  setUserMemoryRegion(region: Region): void {
    this.ioctl(KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region.encode(region));
  }

  /** KVM_SET_USER_MEMORY_REGION2 as it is (Linux 6.8; ENOTTY before). */
  setUserMemoryRegion2(region: Region2): void {
    this.ioctl(KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2.encode(region));
  }

  /**
   * Creates a memslot; by KVM_SET_USER_MEMORY_REGION2 when it has a guest_memfd, by the older request otherwise. EINVAL: unaligned, too
   * large, slot id or flags not offered, file of another VM or too small. EEXIST: the gpa range is taken, or (since 7.2; EINVAL before)
   * the file's range is bound already. EBADF: no such guest_memfd. RangeError for a slot that reaches beyond its mapping: the kernel would
   * let the guest at whatever this process has there. virt/kvm/kvm_main.c
   */
  addMemslot(options: MemslotOptions): Memslot {
    const { slot, gpa, size, backing = 0, backingOffset = 0, guestMemfd, guestMemfdOffset = 0 } = options;
    // The kernel would move or delete the slot that is there, behind the back of its owner; setUserMemoryRegion does that openly.
    if (this.#slots.get(slot)?.deref()?.closed === false)
      throw new StateError(`memslot ${slot} exists: move it, or close it first`);
    if (size === 0) throw new RangeError('a memslot of size 0 is a deletion: close the slot');
    if (backing instanceof Mapping && (backingOffset < 0 || backingOffset + size > backing.length)) {
      throw new RangeError(`${size} bytes at offset ${backingOffset} are beyond the mapping's ${backing.length} bytes`);
    }
    const hva = BigInt(backing instanceof Mapping ? backing.hva : backing) + BigInt(backingOffset);
    const flags = (options.flags ?? 0) | (guestMemfd === undefined ? 0 : KVM_MEM.value.KVM_MEM_GUEST_MEMFD);
    const region = { slot, flags, guest_phys_addr: gpa, memory_size: size, userspace_addr: hva };
    if (guestMemfd === undefined) this.setUserMemoryRegion(region);
    else this.setUserMemoryRegion2({ ...region, guest_memfd_offset: guestMemfdOffset, guest_memfd: guestMemfd.fd });
    const memslot = new Memslot(this, options, hva, flags);
    this.#slots.set(slot, new WeakRef(memslot));
    return memslot;
  }

  /** KVM_MEMORY_ATTRIBUTE bits that this VM knows (KVM_CAP_MEMORY_ATTRIBUTES): 0 for a VM without private memory. */
  memoryAttributes(): number {
    return this.checkExtension(KVM_CAP.value.KVM_CAP_MEMORY_ATTRIBUTES);
  }

  /**
   * KVM_SET_MEMORY_ATTRIBUTES, Linux 6.8: sets the attributes of a range of gpas, with or without slots. ENOTTY on a kernel without
   * attributes; EINVAL for bits that this VM lacks, an unaligned or empty range. Contents are not touched.
   */
  setMemoryAttributes(gpa: Int, size: Int, attributes: Int, flags: Int = 0): void {
    this.ioctl(KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes.encode({ address: gpa, size, attributes, flags }));
  }

  /** Marks a range private: setMemoryAttributes with KVM_MEMORY_ATTRIBUTE_PRIVATE. */
  setPrivate(gpa: Int, size: Int): void {
    this.setMemoryAttributes(gpa, size, KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE);
  }

  /** Marks a range shared: setMemoryAttributes with no bit. */
  setShared(gpa: Int, size: Int): void {
    this.setMemoryAttributes(gpa, size, 0);
  }

  /** KVM_CREATE_VCPU. EEXIST for an id in use, EINVAL beyond KVM_CAP_MAX_VCPU_ID. */
  createVcpu(id = 0): Vcpu {
    return new Vcpu(this, this.ioctl(KVM_CREATE_VCPU, id), id, this.#vcpuMmapSize);
  }

  /** x86: KVM_CREATE_IRQCHIP: PIC, IOAPIC and local APICs in the kernel. Before any vCPU. */
  createIrqchip(): void {
    this.ioctl(KVM_CREATE_IRQCHIP);
  }

  /**
   * x86: KVM_CAP_SPLIT_IRQCHIP: local APICs in the kernel; PIC and IOAPIC, if any, are the caller's. The end of interrupts that are routed as levels
   * to one of the first `pins` GSIs is an exit, KVM_EXIT_IOAPIC_EOI. Before any vCPU; EEXIST after it, or when there are controllers already.
   */
  createSplitIrqchip(pins: number): void {
    this.enableCap(KVM_CAP.value.KVM_CAP_SPLIT_IRQCHIP, [pins]);
  }

  /** KVM_SIGNAL_MSI: a message to the local APICs. Returns how many took it; 0 or less when the guest blocked it. EINVAL without in-kernel local APICs. */
  signalMsi({ address, data }: Msi): number {
    return this.ioctl(KVM_SIGNAL_MSI, kvm_msi.encode({ address_lo: address, data }));
  }

  /** KVM_SET_GSI_ROUTING: the message of each GSI, in place of the table that there was. */
  setMsiRoutes(routes: readonly MsiRoute[]): void {
    const { KVM_IRQ_ROUTING_MSI: type } = KVM_IRQ_ROUTING.value;
    const entries = routes.map(({ gsi, address, data }) => ({
      gsi,
      type,
      u: kvm_irq_routing_msi.encode({ address_lo: address, data }),
    }));
    this.ioctl(KVM_SET_GSI_ROUTING, kvm_irq_routing.encode({ nr: entries.length }, entries));
  }

  /** x86, Intel: KVM_SET_TSS_ADDR: three pages below 4 GiB that no slot covers. */
  setTssAddr(gpa: number): void {
    this.ioctl(KVM_SET_TSS_ADDR, gpa);
  }

  /** x86, Intel: KVM_SET_IDENTITY_MAP_ADDR: a page below 4 GiB that no slot covers. EINVAL once there are vCPUs. */
  setIdentityMapAddr(gpa: number): void {
    this.ioctl(KVM_SET_IDENTITY_MAP_ADDR, u64_argument.encode({ value: gpa }));
  }

  /**
   * x86: KVM_CREATE_PIT2, the interval timer at ports 0x40-0x43 (and 0x61 with `speaker`). Needs an in-kernel interrupt controller;
   * EEXIST when there is one already.
   */
  createPit({ speaker = true }: { readonly speaker?: boolean } = {}): void {
    const flags = speaker ? KVM_PIT_CONFIG.value.KVM_PIT_SPEAKER_DUMMY : 0;
    this.ioctl(KVM_CREATE_PIT2, kvm_pit_config.encode({ flags }));
  }

  /** KVM_IRQ_LINE: the level of an input of the in-kernel interrupt controllers. ENXIO when there are none. */
  setIrqLine(gsi: number, level: boolean): void {
    this.ioctl(KVM_IRQ_LINE, kvm_irq_level.encode({ irq: gsi, level: level ? 1 : 0 }));
  }

  /** KVM_IRQFD: each signal of the eventfd is an edge on the input. EINVAL without in-kernel interrupt controllers, EBUSY when it is tied already. */
  irqfd(event: Eventfd, gsi: number, { remove = false }: { readonly remove?: boolean } = {}): void {
    const flags = remove ? KVM_IRQFD_FLAG.value.KVM_IRQFD_FLAG_DEASSIGN : 0;
    this.ioctl(KVM_IRQFD, kvm_irqfd.encode({ fd: event.fd, gsi, flags }));
  }

  /**
   * KVM_IOEVENTFD: writes of the guest there signal the eventfd and do not end KVM_RUN. `length` is 1, 2, 4 or 8 bytes, or 0 for any; with `match`
   * only writes of that value. EEXIST for a place that is taken, ENOENT when there is none to remove.
   */
  ioeventfd(event: Eventfd, place: IoeventfdPlace, { remove = false }: { readonly remove?: boolean } = {}): void {
    const F = KVM_IOEVENTFD_FLAG.value;
    const flags =
      (place.bus === 'port' ? F.KVM_IOEVENTFD_FLAG_PIO : 0) |
      (place.match === undefined ? 0 : F.KVM_IOEVENTFD_FLAG_DATAMATCH) |
      (remove ? F.KVM_IOEVENTFD_FLAG_DEASSIGN : 0);
    const { address: addr, length: len, match: datamatch = 0 } = place;
    this.ioctl(KVM_IOEVENTFD, kvm_ioeventfd.encode({ addr, len, fd: event.fd, datamatch, flags }));
  }

  /**
   * KVM_REGISTER_COALESCED_MMIO: writes of the guest there are kept in a ring that every vCPU's run page has, and do not end KVM_RUN until the
   * ring is full. Ports since 4.20 (KVM_CAP_COALESCED_PIO). Bytes.
   */
  coalesce(bus: 'port' | 'memory', address: number, size: number): void {
    const zone = { addr: address, size, pio: bus === 'port' ? 1 : 0 };
    this.ioctl(KVM_REGISTER_COALESCED_MMIO, kvm_coalesced_mmio_zone.encode(zone));
  }
}

/** A message-signalled interrupt: the lower half of its address, and its data. */
export interface Msi {
  readonly address: number;
  readonly data: number;
}

export interface MsiRoute extends Msi {
  readonly gsi: number;
}

/** Where an ioeventfd listens. */
export interface IoeventfdPlace {
  readonly bus: 'port' | 'memory';
  /** Port, or guest-physical address in bytes. */
  readonly address: number;
  readonly length: 0 | 1 | 2 | 4 | 8;
  readonly match?: Int;
}

function flagBits(flags: { readonly mmap?: boolean; readonly initShared?: boolean }): bigint {
  const { GUEST_MEMFD_FLAG_MMAP, GUEST_MEMFD_FLAG_INIT_SHARED } = GUEST_MEMFD_FLAG.value;
  return BigInt((flags.mmap ? GUEST_MEMFD_FLAG_MMAP : 0) | (flags.initShared ? GUEST_MEMFD_FLAG_INIT_SHARED : 0));
}
