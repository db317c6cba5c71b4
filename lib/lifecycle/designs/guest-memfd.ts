/**
 * guest_memfd as merged in Linux 6.8: a file of one VM that nobody can map or read, beside ordinary memory. Each page of the slot has two
 * sides; KVM's memory attributes say which one the guest gets. The host's policy here: what a side held is discarded when the guest leaves
 * it, so that memory does not double and stale data does not come back.
 */

import { KernelError } from '../../kernel/errors.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import type { Memslot } from '../../kvm/memslot.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import { Memfd } from '../../memory/memfd.ts';
import { KVM_CAP, KVM_MEM, KVM_MEMORY_ATTRIBUTE, KVM_VM_TYPE } from '../../uapi/index.ts';
import { notBound, refusedBy } from '../words.ts';
import type { Design, Done, Memfile, Range } from './design.ts';

const PAGE = 4096;

export class TwoSidedMemfile implements Memfile {
  readonly file: GuestMemfd;
  readonly startsAs = 'shared';
  readonly #shared: Memfd;
  readonly #sharedMapping: Mapping;
  readonly #size: number;
  #slot: Memslot | undefined;

  constructor(vm: Vm, size: number) {
    this.file = vm.createGuestMemfd(size);
    this.#size = size;
    let shared: Memfd | undefined;
    try {
      shared = Memfd.create(vm.sys, { name: 'privmem-shared-side', size });
      this.#sharedMapping = shared.map();
      this.#shared = shared;
    } catch (error) {
      shared?.close();
      this.file.close();
      throw error;
    }
  }

  get slotMapping(): Mapping | undefined {
    return this.#slot === undefined ? undefined : this.#sharedMapping;
  }

  get sharedFile(): Memfd {
    return this.#shared;
  }

  bind(slot: number, gpa: number): Memslot {
    this.#slot = this.file.vm.addMemslot({
      slot,
      gpa,
      size: this.#size,
      backing: this.#sharedMapping,
      guestMemfd: this.file,
    });
    return this.#slot;
  }

  #need(): Memslot {
    if (this.#slot === undefined) throw notBound();
    return this.#slot;
  }

  bindElsewhere(other: Vm, fd = this.file.fd): void {
    const { slot, gpa, size, hva } = this.#need();
    other.setUserMemoryRegion2({
      slot,
      flags: KVM_MEM.value.KVM_MEM_GUEST_MEMFD,
      guest_phys_addr: gpa,
      memory_size: size,
      userspace_addr: hva,
      guest_memfd: fd,
    });
  }

  hostMap({ offset, length }: Range): Mapping {
    return this.file.map({ offset, length });
  }

  sharedMap({ offset, length }: Range): Mapping {
    return this.#shared.map({ offset, length });
  }

  complete(): Done {
    return {
      detail: 'the kernel has no such operation on the file: nobody could map it at any time',
      enforcedBy: 'nobody',
    };
  }

  setState({ offset, length }: Range, state: 'private' | 'shared'): void {
    const { vm, gpa } = this.#need();
    const attributes = state === 'private' ? KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
    vm.setMemoryAttributes(gpa + offset, length, attributes);
  }

  toShared(range: Range): Done {
    this.setState(range, 'shared');
    this.file.punchHole(range.offset, range.length);
    return { detail: 'attribute cleared, then the private side punched: its contents are gone', enforcedBy: 'kernel' };
  }

  toPrivate(range: Range): Done {
    this.setState(range, 'private');
    this.#shared.punchHole(range.offset, range.length);
    return { detail: 'attribute PRIVATE, then the shared side punched: its contents are gone', enforcedBy: 'kernel' };
  }

  close(): void {
    this.#slot?.close();
    this.#sharedMapping.close();
    this.#shared.close();
    this.file.close();
  }
}

export function noPrivateMemory(vm: Vm): string | undefined {
  if (vm.checkExtension(KVM_CAP.value.KVM_CAP_GUEST_MEMFD) === 0) return 'KVM_CAP_GUEST_MEMFD of the VM is 0';
  if (vm.memoryAttributes() !== 0) return undefined;
  return 'KVM_CAP_MEMORY_ATTRIBUTES of the VM is 0: a VM of this type has no private memory';
}

/** Why a VM of this type has no private page in a guest_memfd; undefined when one could be made. */
function refusesPrivate(kvm: Kvm, type: number): string | undefined {
  const made = kvm.raw.createVm(type);
  if (!made.ok) return `KVM_CREATE_VM, type ${type}: ${made.code}`;
  const vm = made.value;
  try {
    vm.createGuestMemfd(PAGE).close();
    vm.setPrivate(0, PAGE);
    return undefined;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return `${error.request ?? error.syscall} of a VM of type ${type}: ${error.code}`;
  } finally {
    vm.close();
  }
}

export const guestMemfd: Design = {
  name: 'guest-memfd',
  summary:
    'guest_memfd of Linux 6.8: a file that nobody can map beside ordinary memory; attributes say which side the guest gets',
  initialState: 'unbound',
  fillsBeforeBind: false,
  convertsInPlace: false,
  sided: false,
  promises: {
    hostAccessBeforeBind: refusedBy('mmap ENODEV'),
    bindToSecondVm: refusedBy('KVM_SET_USER_MEMORY_REGION2 EINVAL'),
    completeWithLiveMapping: 'ok',
    hostAccessAfterComplete: refusedBy('mmap ENODEV'),
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: refusedBy('mmap ENODEV'),
  },
  missing: (kvm) => {
    if (kvm.checkExtension(KVM_CAP.value.KVM_CAP_GUEST_MEMFD) === 0)
      return { reason: 'KVM_CAP_GUEST_MEMFD is absent', nextStep: 'run Linux 6.8 or newer' };
    const nextStep =
      'run a kernel built with CONFIG_KVM_SW_PROTECTED_VM, on a CPU with two-dimensional paging or an emulated one';
    if (kvm.checkExtension(KVM_CAP.value.KVM_CAP_MEMORY_ATTRIBUTES) === 0)
      return { reason: 'KVM_CAP_MEMORY_ATTRIBUTES is 0: no VM type with private memory', nextStep };
    const { KVM_X86_SW_PROTECTED_VM, KVM_X86_SNP_VM, KVM_X86_TDX_VM } = KVM_VM_TYPE.value;
    const said = [KVM_X86_SW_PROTECTED_VM, KVM_X86_SNP_VM, KVM_X86_TDX_VM].map((type) => refusesPrivate(kvm, type));
    return said.includes(undefined) ? undefined : { reason: said.join('; '), nextStep };
  },
  obstacle: noPrivateMemory,
  create: (vm, size) => new TwoSidedMemfile(vm, size),
};
