/** What the machine and the kernel's configuration decide about KVM, besides the release. */

import { type Profile, type SimRelease, sinceRelease } from '../profile.ts';
import type { X64CpuOptions } from '../x64/index.ts';

/** What protects guests. `sw-protected` is CONFIG_KVM_SW_PROTECTED_VM=y. */
export type SimTechnology = 'sw-protected';

export interface MachineOptions {
  readonly technologies?: readonly SimTechnology[];
  /** EPT or NPT. Default: when there is a technology, since all of them need it. */
  readonly twoDimensionalPaging?: boolean;
  /**
   * KVM itself emulates every instruction of its guests, as it does inside another virtual machine whose processor has no virtualization of
   * its own. Then guests see only userspace_addr, never a guest_memfd, and take what cannot be reached there for MMIO. Default false.
   */
  readonly emulatesGuests?: boolean;
  /** Whose virtualization the host's processor has. Default intel. */
  readonly processor?: 'intel' | 'amd';
  /** CONFIG_KVM_SMM: a second address space for memslots, in VMs without private memory. Before 6.2 always. Default false. */
  readonly systemManagement?: boolean;
  /** Physical address bits of the processor. Default 48. */
  readonly physicalBits?: number;
  /** Linear address bits of the processor: 57 with LA57. Default 48. */
  readonly linearBits?: 48 | 57;
  /** Processors, which KVM_CAP_NR_VCPUS recommends as a limit. Default 4. */
  readonly cpus?: number;
}

export const VM_DEFAULT = 0;
export const VM_SW_PROTECTED = 1;

/** Releases whose KVM knows VM types, memory attributes, guest_memfd and memory-fault exits. */
const FIRST_WITH_TYPES = '6.8';
const MAX_PHYSICAL_BITS = 52;

export class KvmMachine {
  readonly profile: Profile;
  readonly technologies: ReadonlySet<SimTechnology>;
  readonly twoDimensionalPaging: boolean;
  readonly emulatesGuests: boolean;
  readonly processor: 'intel' | 'amd';
  readonly systemManagement: boolean;
  readonly physicalBits: number;
  readonly linearBits: 48 | 57;
  readonly cpus: number;

  constructor(profile: Profile, options: MachineOptions = {}) {
    const offered = profile.guestMemfd ? (['sw-protected'] as const) : [];
    this.profile = profile;
    this.technologies = new Set(options.technologies ?? offered);
    if (this.technologies.has('sw-protected') && !profile.guestMemfd) {
      throw new RangeError(`Linux ${profile.release} has no software-protected VMs: they came with 6.8`);
    }
    this.twoDimensionalPaging = options.twoDimensionalPaging ?? this.technologies.size > 0;
    if (!this.twoDimensionalPaging && this.technologies.size > 0) {
      throw new RangeError('software-protected VMs need two-dimensional paging');
    }
    this.emulatesGuests = options.emulatesGuests ?? false;
    if (this.emulatesGuests && this.technologies.size > 0) {
      throw new RangeError('a KVM that emulates its guests has no private memory');
    }
    this.processor = options.processor ?? 'intel';
    this.systemManagement = options.systemManagement === true || !this.since('6.2');
    this.physicalBits = options.physicalBits ?? 48;
    this.linearBits = options.linearBits ?? 48;
    this.cpus = options.cpus ?? 4;
  }

  since(release: string): boolean {
    return sinceRelease(this.profile.release, release);
  }

  get release(): SimRelease {
    return this.profile.release;
  }

  /** KVM_CAP_VM_TYPES: absent before 6.8, when KVM_CREATE_VM on x86 took type 0 only. */
  get vmTypes(): number {
    return (1 << VM_DEFAULT) | (this.technologies.has('sw-protected') ? 1 << VM_SW_PROTECTED : 0);
  }

  get knowsVmTypes(): boolean {
    return this.since(FIRST_WITH_TYPES);
  }

  /** CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES: selected by what needs it. */
  get memoryAttributes(): boolean {
    return this.technologies.size > 0;
  }

  /** CONFIG_KVM_PRIVATE_MEM, selected like the attributes; since 6.18 CONFIG_KVM_GUEST_MEMFD, which x86-64 always has. */
  get guestMemfd(): boolean {
    return this.profile.guestMemfdMmap || this.technologies.size > 0;
  }

  /** kvm_arch_has_private_mem. */
  hasPrivateMemory(type: number): boolean {
    return type === VM_SW_PROTECTED;
  }

  /** Of memslots, in a VM of a type. kvm_arch_nr_memslot_as_ids */
  addressSpaces(type: number): number {
    return this.systemManagement && !this.hasPrivateMemory(type) ? 2 : 1;
  }

  /** First gfn that no VM can have. kvm_mmu_max_gfn: shadow paging is not bound to the host's address width. */
  get gfnLimit(): number {
    return 2 ** ((this.twoDimensionalPaging ? this.physicalBits : MAX_PHYSICAL_BITS) - 12);
  }

  /**
   * First address that access_ok refuses: between 6.4 and 6.11 only the sign bit was looked at, before and after that it is TASK_SIZE_MAX.
   * arch/x86/include/asm/uaccess_64.h
   */
  get userLimit(): bigint {
    const signOnly = this.since('6.4') && !this.since('6.12');
    return signOnly ? (1n << 63n) - 1n : (1n << 47n) - 4096n;
  }

  /** What a vCPU must know of it. */
  get cpuOptions(): X64CpuOptions {
    const emulated = this.emulatesGuests;
    return this.since('6.13') ? { emulated, linearBits: this.linearBits } : { emulated };
  }

  /** On a shutdown an AMD processor leaves nothing that could be relied on, so KVM gives the vCPU an INIT. arch/x86/kvm/svm/svm.c, shutdown_interception */
  get resetsOnShutdown(): boolean {
    return this.processor === 'amd' && !this.emulatesGuests;
  }

  /** Since 6.14 kvm_run.hypercall.ret is 0 at the exit; before, it was what had been there. */
  get presetsHypercallResult(): boolean {
    return this.since('6.14');
  }
}
