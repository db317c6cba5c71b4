/**
 * guest_memfd as of Linux 6.18: created with MMAP and INIT_SHARED, it is an ordinary shared file of one VM for all its life. The kernel
 * knows no UNBOUND and no completion: the requests of the discussion that need them succeed here, and nobody enforces their rules.
 */

import { KernelError, MemoryFaultError } from '../../kernel/errors.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import type { Memslot } from '../../kvm/memslot.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import { GUEST_MEMFD_FLAG, KVM_MEM } from '../../uapi/index.ts';
import { initVcpu } from '../guest-start.ts';
import { notBound, refusedBy } from '../words.ts';
import type { Design, Done, Memfile, Range } from './design.ts';

const PAGE = 4096;

export class MmapMemfile implements Memfile {
  readonly file: GuestMemfd;
  readonly startsAs = 'shared';
  readonly #size: number;
  #slot: Memslot | undefined;
  #slotMapping: Mapping | undefined;

  constructor(vm: Vm, size: number) {
    this.file = vm.createGuestMemfd(size, { mmap: true, initShared: true });
    this.#size = size;
  }

  get slotMapping(): Mapping | undefined {
    return this.#slotMapping;
  }

  get sharedFile(): GuestMemfd {
    return this.file;
  }

  /**
   * The guest is served from the file, but KVM's own reads and writes of guest memory (its instruction emulator, its page walks) go through
   * userspace_addr. So the same pages are mapped there; nobody is given that mapping.
   */
  bind(slot: number, gpa: number): Memslot {
    const mapping = this.file.map();
    try {
      this.#slot = this.file.vm.addMemslot({ slot, gpa, size: this.#size, backing: mapping, guestMemfd: this.file });
    } catch (error) {
      mapping.close();
      throw error;
    }
    this.#slotMapping = mapping;
    return this.#slot;
  }

  /** The very request that the file's own VM took. */
  bindElsewhere(other: Vm, fd = this.file.fd): void {
    const slot = this.#slot;
    if (slot === undefined) throw notBound();
    other.setUserMemoryRegion2({
      slot: slot.slot,
      flags: KVM_MEM.value.KVM_MEM_GUEST_MEMFD,
      guest_phys_addr: slot.gpa,
      memory_size: slot.size,
      userspace_addr: slot.hva,
      guest_memfd: fd,
    });
  }

  hostMap({ offset, length }: Range): Mapping {
    return this.file.map({ offset, length });
  }

  sharedMap(range: Range): Mapping {
    return this.hostMap(range);
  }

  complete(): Done {
    return { detail: 'the kernel has no such operation, and the file stays as it was', enforcedBy: 'nobody' };
  }

  toShared(range: Range): Done {
    return this.#punch(
      range,
      'the hole is punched: contents are gone, and the host could reach the range before as well',
    );
  }

  toPrivate(range: Range): Done {
    return this.#punch(range, 'the hole is punched again: the host can still map the range');
  }

  #punch({ offset, length }: Range, detail: string): Done {
    this.file.punchHole(offset, length);
    return { detail, enforcedBy: 'nobody' };
  }

  close(): void {
    this.#slot?.close();
    this.#slotMapping?.close();
    this.file.close();
  }
}

const NEEDED = GUEST_MEMFD_FLAG.value.GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG.value.GUEST_MEMFD_FLAG_INIT_SHARED;

/** Why a VM has no files that start shared and can be mapped. */
export function noSharedFiles(vm: Vm): string | undefined {
  const have = vm.guestMemfdFlags();
  if ((have & NEEDED) !== NEEDED)
    return `KVM_CAP_GUEST_MEMFD_FLAGS of the VM is ${have}, without MMAP and INIT_SHARED (${NEEDED})`;
  try {
    const file = vm.createGuestMemfd(PAGE, { mmap: true, initShared: true });
    try {
      const mapping = file.map();
      mapping.readU64(0);
      mapping.close();
    } finally {
      file.close();
    }
    return undefined;
  } catch (error) {
    if (error instanceof KernelError) return `${error.request ?? error.syscall}: ${error.code}`;
    if (error instanceof MemoryFaultError) return `a read of a guest_memfd with INIT_SHARED: ${error.fault.code}`;
    throw error;
  }
}

/** The same, of a default VM. */
export function noSharedFilesAtAll(kvm: Kvm): { reason: string; nextStep: string } | undefined {
  const vm = kvm.createVm();
  try {
    const reason = noSharedFiles(vm);
    return reason === undefined ? undefined : { reason, nextStep: 'run Linux 6.18 or newer' };
  } finally {
    vm.close();
  }
}

/**
 * Why a protected guest of pKVM does not run from a guest_memfd: asked by running one. Its pages come from userspace_addr, and those of a guest_memfd
 * cannot be given away.
 */
function noDonation(vm: Vm): string | undefined {
  const memfile = new MmapMemfile(vm, PAGE);
  const vcpu = vm.createVcpu();
  try {
    memfile.bind(0, 0);
    initVcpu(undefined, vcpu);
    const run = vcpu.raw.runSync({ timeoutMs: 1000 });
    return run.ok
      ? undefined
      : `KVM_RUN of a guest whose memory is a guest_memfd: ${run.code}: its pages cannot be given to a protected guest`;
  } finally {
    vcpu.close();
    memfile.close();
  }
}

export const guestMemfdMmap: Design = {
  name: 'guest-memfd-mmap',
  summary: 'guest_memfd of Linux 6.18, mappable and initially shared: an ordinary shared file of one VM',
  initialState: 'brand-new',
  fillsBeforeBind: false,
  convertsInPlace: false,
  sided: false,
  promises: {
    hostAccessBeforeBind: 'ok',
    bindToSecondVm: refusedBy('KVM_SET_USER_MEMORY_REGION2 EINVAL'),
    completeWithLiveMapping: 'ok',
    hostAccessAfterComplete: 'ok',
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: 'ok',
  },
  missing: noSharedFilesAtAll,
  obstacle: (vm, technology) =>
    noSharedFiles(vm) ?? (technology.conversion === 'hypervisor' ? noDonation(vm) : undefined),
  create: (vm, size) => new MmapMemfile(vm, size),
};
