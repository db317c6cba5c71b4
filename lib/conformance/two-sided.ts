/** Guest memory with two sides: a guest_memfd for what is private, memory of this process for what is shared. */
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Memslot } from '../kvm/memslot.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Mapping } from '../memory/mapping.ts';
import type { Context } from './context.ts';
import type { Needs } from './needs.ts';

export const PAGE = 4096;
export const HUGE = 0x20_0000;
/** Far from the memory of programs, at a multiple of every page size. */
export const AREA = 0x1_0000_0000;

/** VMs whose memory can be private. */
export const PRIVATE_VM: Needs = { vmType: 'sw-protected', vmCaps: { KVM_CAP_MEMORY_ATTRIBUTES: 8 } };
/** The same with a guest in it. */
export const PRIVATE_GUEST: Needs = { ...PRIVATE_VM, guest: true, mmu: true };

export interface TwoSidedOptions {
  /** Bytes. */
  readonly size: number;
  /** Default {@link AREA}. */
  readonly gpa?: number;
  /** Slot id, default 0. */
  readonly slot?: number;
  /** Default: a file of its own that ends where the slot ends. */
  readonly file?: GuestMemfd;
  /** Offset into the file in bytes, default 0. */
  readonly offset?: number;
  /** The shared side, default anonymous memory; from `sharedOffset` (default 0) on. */
  readonly shared?: Mapping;
  readonly sharedOffset?: number;
}

export interface TwoSided {
  readonly gpa: number;
  readonly size: number;
  readonly file: GuestMemfd;
  readonly shared: Mapping;
  readonly slot: Memslot;
}

/** A slot with both sides. Shared at first, and zero. */
export function twoSided(t: Context, vm: Vm, options: TwoSidedOptions): TwoSided {
  const { size, gpa = AREA, slot = 0, offset = 0, sharedOffset = 0 } = options;
  const file = options.file ?? t.guestMemfd(vm, offset + size);
  const shared = options.shared ?? t.anonymous(size);
  const made = vm.addMemslot({
    slot,
    gpa,
    size,
    backing: shared,
    backingOffset: sharedOffset,
    guestMemfd: file,
    guestMemfdOffset: offset,
  });
  return { gpa, size, file, shared, slot: t.use(made) };
}
