/** A memslot: a range of guest-physical memory and what backs it. */
import type { FdPlace } from '../kernel/descriptor.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { Owner } from '../kernel/owner.ts';
import type { Mapping } from '../memory/mapping.ts';
import {
  KVM_CLEAR_DIRTY_LOG,
  KVM_GET_DIRTY_LOG,
  KVM_SET_USER_MEMORY_REGION,
  kvm_clear_dirty_log,
  kvm_dirty_log,
  kvm_userspace_memory_region,
} from '../uapi/index.ts';
import type { GuestMemfd } from './guest-memfd.ts';
import type { Vm } from './vm.ts';

export interface MemslotOptions {
  /** Low 16 bits: slot id; high 16 bits: address space. */
  readonly slot: number;
  /** Guest-physical address in bytes, page aligned. */
  readonly gpa: number;
  /** Bytes, a multiple of the page size. */
  readonly size: number;
  /** Host memory for the shared side, and for KVM's own reads and writes: a mapping, or a bare hva. Default: none (0). */
  readonly backing?: Mapping | number | bigint;
  /** Offset into `backing` in bytes. */
  readonly backingOffset?: number;
  /** KVM_MEM bits; KVM_MEM_GUEST_MEMFD is added when there is a guestMemfd. */
  readonly flags?: number;
  readonly guestMemfd?: GuestMemfd;
  /** Offset into the guest_memfd in bytes, page aligned. */
  readonly guestMemfdOffset?: number;
}

interface Presence {
  deleted: boolean;
}

/** Deleting works by the old request for every slot (its flags must be 0 then), so one path serves all releases. */
function deleter(kernel: Kernel, vm: Readonly<FdPlace>, slot: number, presence: Presence, release: () => void) {
  return (): void => {
    // A slot collected together with its VM may come second.
    if (!presence.deleted && vm.fd !== undefined) {
      kernel.ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION.request, kvm_userspace_memory_region.encode({ slot }));
    }
    release();
  };
}

export class Memslot extends Owner {
  readonly vm: Vm;
  readonly slot: number;
  readonly size: number;
  /** Kept so that neither is collected while the slot uses it: a slot does not hold a guest_memfd, the kernel lets it die. */
  readonly guestMemfd: GuestMemfd | undefined;
  readonly backing: Mapping | undefined;
  readonly hva: bigint;
  readonly #presence: Presence;
  #gpa: number;
  #flags: number;

  /** Not for users: see {@link Vm.addMemslot}. */
  constructor(vm: Vm, options: MemslotOptions, hva: bigint, flags: number) {
    const presence: Presence = { deleted: false };
    const release = typeof options.backing === 'object' ? options.backing.retain() : () => {};
    super(vm.sys, vm, `memslot ${options.slot}`, deleter(vm.sys.kernel, vm.place, options.slot, presence, release));
    this.#presence = presence;
    this.vm = vm;
    this.slot = options.slot;
    this.size = options.size;
    this.guestMemfd = options.guestMemfd;
    this.backing = typeof options.backing === 'object' ? options.backing : undefined;
    this.hva = hva;
    this.#gpa = options.gpa;
    this.#flags = flags;
  }

  /** Guest-physical address of the first byte. */
  get gpa(): number {
    return this.#gpa;
  }

  /** KVM_MEM bits. */
  get flags(): number {
    return this.#flags;
  }

  /** Moves the slot to another gpa; its contents stay. EINVAL for a slot with a guest_memfd, EEXIST when another slot is there. */
  move(gpa: number): void {
    this.#change({ guest_phys_addr: gpa, flags: this.#flags });
    this.#gpa = gpa;
  }

  /** Turns KVM_MEM_LOG_DIRTY_PAGES on or off. EINVAL for any other change, and for a slot with a guest_memfd. */
  setFlags(flags: number): void {
    this.#change({ guest_phys_addr: this.#gpa, flags });
    this.#flags = flags;
  }

  #change(change: { guest_phys_addr: number; flags: number }): void {
    this.assertOpen();
    const { slot, size, hva } = this;
    this.vm.setUserMemoryRegion({ slot, memory_size: size, userspace_addr: hva, ...change });
  }

  /** Deletes the slot. Like `close`, but a refusal is a KernelError. The memory attributes of its range stay. */
  delete(): void {
    this.assertOpen();
    this.vm.setUserMemoryRegion({ slot: this.slot });
    this.#presence.deleted = true;
    this.close();
  }

  /**
   * KVM_GET_DIRTY_LOG: one bit per page of the slot, lowest first. Reading clears the log, unless KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 is enabled
   * for the VM. ENOENT when it is not kept.
   */
  dirtyLog(): Uint8Array {
    this.assertOpen();
    const bitmap = new Uint8Array(Math.ceil(this.size / 4096 / 64) * 8);
    const request = kvm_dirty_log.encode({ slot: this.slot });
    this.vm.ioctl(KVM_GET_DIRTY_LOG, request, [[kvm_dirty_log.offsets.dirty_bitmap, bitmap]]);
    return bitmap;
  }

  /**
   * KVM_CLEAR_DIRTY_LOG: takes the pages that `bitmap` names out of the log, so that they are noticed again when they are written. `bitmap` is
   * as `dirtyLog` gives it; `firstPage`, a multiple of 64, is the page of its first bit. `pages`: how many pages it is for; by default as
   * many as it has bits, up to the end of the slot. EINVAL for pages beyond the slot and for a part that neither is a multiple of 64 nor ends it,
   * ENOENT when no log is kept.
   */
  clearDirtyLog(
    bitmap: Uint8Array,
    { firstPage = 0, pages }: { readonly firstPage?: number; readonly pages?: number } = {},
  ): void {
    this.assertOpen();
    const count = pages ?? Math.min(8 * bitmap.length, Math.max(0, Math.ceil(this.size / 4096) - firstPage));
    if (bitmap.length < Math.ceil(count / 64) * 8) {
      throw new RangeError(
        `clearDirtyLog: ${count} pages need a bitmap of ${Math.ceil(count / 64) * 8} bytes (whole words of 8), got ${bitmap.length}`,
      );
    }
    const request = kvm_clear_dirty_log.encode({ slot: this.slot, num_pages: count, first_page: firstPage });
    this.vm.ioctl(KVM_CLEAR_DIRTY_LOG, request, [[kvm_clear_dirty_log.offsets.dirty_bitmap, bitmap]]);
  }
}
