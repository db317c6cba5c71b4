/** A memslot whose private memory is a memfd: KVM_SET_USER_MEMORY_REGION with KVM_MEM_PRIVATE, as the series of 2022 has it. */

import type { Kvm } from '../../kvm/kvm.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import { Memfd } from '../../memory/memfd.ts';
import {
  KVM_MEM_PRIVATE,
  KVM_VM_TYPE,
  kvm_userspace_memory_region_ext,
  MFD_INACCESSIBLE,
  privateMemoryRegion,
} from '../../uapi/index.ts';
import { notBound } from '../words.ts';
import type { BoundSlot, Done, Memfile, Range } from './design.ts';

const PAGE = 4096;
/** Above everything that a lifecycle has. */
const PROBE_SLOT = 9;
const PROBE_GPA = 0x2_0000_0000;

export interface Region {
  readonly slot: number;
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
  readonly fd: number;
}

export function setPrivateRegion(vm: Vm, { slot, gpa, size, hva, fd }: Region): void {
  const region = { slot, flags: KVM_MEM_PRIVATE, guest_phys_addr: gpa, memory_size: size, userspace_addr: hva };
  vm.ioctl(privateMemoryRegion, kvm_userspace_memory_region_ext.encode({ ...region, private_fd: fd }));
}

/** A memfd beside anonymous memory. Pages that the file holds are private; the rest of the slot is the memory. */
export class MemfdMemfile implements Memfile {
  readonly file: Memfd;
  readonly sharedFile: Memfd;
  readonly startsAs: 'private' | 'shared';
  readonly #vm: Vm;
  readonly #size: number;
  readonly #shared: Mapping;
  #bound: BoundSlot | undefined;

  constructor(vm: Vm, size: number, file: Memfd, startsAs: 'private' | 'shared') {
    this.#vm = vm;
    this.#size = size;
    this.file = file;
    this.startsAs = startsAs;
    let sharedFile: Memfd | undefined;
    try {
      sharedFile = Memfd.create(vm.sys, { name: 'privmem-shared-side', size });
      this.#shared = sharedFile.map();
      this.sharedFile = sharedFile;
    } catch (error) {
      sharedFile?.close();
      file.close();
      throw error;
    }
  }

  get slotMapping(): Mapping | undefined {
    return this.#bound === undefined ? undefined : this.#shared;
  }

  bind(slot: number, gpa: number): BoundSlot {
    setPrivateRegion(this.#vm, this.#region(slot, gpa));
    this.#bound = { slot, gpa };
    return this.#bound;
  }

  #region(slot: number, gpa: number, fd = this.file.fd): Region {
    return { slot, gpa, size: this.#size, hva: this.#shared.hva, fd };
  }

  bindElsewhere(other: Vm, fd = this.file.fd): void {
    if (this.#bound === undefined) throw notBound();
    setPrivateRegion(other, this.#region(this.#bound.slot, this.#bound.gpa, fd));
  }

  hostMap({ offset, length }: Range): Mapping {
    return this.file.map({ offset, length });
  }

  sharedMap({ offset, length }: Range): Mapping {
    return this.sharedFile.map({ offset, length });
  }

  complete(): Done {
    return { detail: 'the series has no such operation: nobody can reach the file as it is', enforcedBy: 'nobody' };
  }

  /** The conversion of the series: allocated is private. */
  toPrivate({ offset, length }: Range): Done {
    this.file.fallocate(0, offset, length);
    this.sharedFile.punchHole(offset, length);
    return { detail: 'fallocate: the pages exist, empty, and so are private', enforcedBy: 'kernel' };
  }

  toShared({ offset, length }: Range): Done {
    this.file.punchHole(offset, length);
    return {
      detail: 'hole punched: the private contents are gone, and the ordinary memory shows',
      enforcedBy: 'kernel',
    };
  }

  close(): void {
    if (this.#bound !== undefined && !this.#vm.closed) this.#vm.raw.setUserMemoryRegion({ slot: this.#bound.slot });
    this.#bound = undefined;
    this.#shared.close();
    this.sharedFile.close();
    this.file.close();
  }
}

/** Binds a file of one page to a VM and unbinds it: the errno by name, or undefined when it went through. */
export function probeBind(vm: Vm, file: Memfd): string | undefined {
  const region = kvm_userspace_memory_region_ext.encode({
    ...{ slot: PROBE_SLOT, flags: KVM_MEM_PRIVATE, guest_phys_addr: PROBE_GPA, memory_size: PAGE },
    // No guest ever runs there: an address that is well formed will do.
    ...{ userspace_addr: PAGE, private_fd: file.fd },
  });
  const asked = vm.raw.ioctl(privateMemoryRegion, region);
  if (!asked.ok) return asked.code;
  // Best effort: a kernel that only said yes has no such slot.
  vm.raw.setUserMemoryRegion({ slot: PROBE_SLOT });
  return undefined;
}

/** A VM of the type that opts in to private slots; undefined where there is none. */
export function optingVm(kvm: Kvm): Vm | undefined {
  const vm = kvm.raw.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
  return vm.ok ? vm.value : undefined;
}

export const inaccessibleFile = (vm: Vm, size: number): Memfd =>
  Memfd.create(vm.sys, { name: 'privmem-private', size, sealable: false, flags: MFD_INACCESSIBLE });
