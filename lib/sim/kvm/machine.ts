/** What the machine and the kernel's configuration decide about KVM, besides the release. */
import { type Profile, type SimRelease, sinceRelease } from '../profile.ts';

/** What protects guests. `none` stands for itself: default VMs are always there. `sw-protected` is CONFIG_KVM_SW_PROTECTED_VM=y. */
export type SimTechnology = 'none' | 'sw-protected' | 'sev' | 'sev-es' | 'sev-snp' | 'tdx';

export interface MachineOptions {
  /**
   * What the machine and the kernel's configuration have. A processor with SEV and TDX at once does not exist; here it does, so that one kernel
   * serves a comparison. sev-es implies sev, sev-snp both.
   */
  readonly technologies?: readonly SimTechnology[];
  /** How many VMs of one kind can have a memory key at the same time (SEV ASIDs, TDX key ids). Default 15. */
  readonly memoryKeys?: number;
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
  /** Processors, which KVM_CAP_NR_VCPUS recommends as a limit. Default 4. */
  readonly cpus?: number;
}

export const VM_DEFAULT = 0;
export const VM_SW_PROTECTED = 1;
export const VM_SEV = 2;
export const VM_SEV_ES = 3;
export const VM_SNP = 4;
export const VM_TDX = 5;
/** The VM type that opts in to private memslots in a kernel of 2022: that of the TDX series of the time. */
export const VM_MEMFILE = 1;

const TYPE_OF: Readonly<Record<SimTechnology, number>> = {
  none: VM_DEFAULT,
  'sw-protected': VM_SW_PROTECTED,
  sev: VM_SEV,
  'sev-es': VM_SEV_ES,
  'sev-snp': VM_SNP,
  tdx: VM_TDX,
};
/** The first release whose KVM has VMs of the type. SEV is older, but was asked for in other ways. */
const SINCE: Readonly<Record<SimTechnology, string>> = {
  none: '0',
  'sw-protected': '6.8',
  sev: '6.10',
  'sev-es': '6.10',
  'sev-snp': '6.11',
  tdx: '6.16',
};
const IMPLIES: Partial<Record<SimTechnology, readonly SimTechnology[]>> = {
  'sev-es': ['sev'],
  'sev-snp': ['sev', 'sev-es'],
};
const DEFAULT_KEYS = 15;

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
  readonly cpus: number;
  readonly memoryKeys: number;

  constructor(profile: Profile, options: MachineOptions = {}) {
    const offered = profile.guestMemfd ? (['sw-protected'] as const) : [];
    this.profile = profile;
    const asked = (options.technologies ?? offered).filter((technology) => technology !== 'none');
    this.technologies = new Set(asked.flatMap((technology) => [technology, ...(IMPLIES[technology] ?? [])]));
    for (const technology of this.technologies) {
      const first = SINCE[technology];
      if (sinceRelease(profile.release, first)) continue;
      throw new RangeError(
        `Linux ${profile.release} has no VMs of the technology ${technology}: they came with ${first}`,
      );
    }
    this.memoryKeys = options.memoryKeys ?? DEFAULT_KEYS;
    this.twoDimensionalPaging = options.twoDimensionalPaging ?? (this.technologies.size > 0 || this.hasMemfiles);
    if (!this.twoDimensionalPaging && this.technologies.size > 0) {
      throw new RangeError('protected VMs need two-dimensional paging');
    }
    this.emulatesGuests = options.emulatesGuests ?? false;
    if (this.emulatesGuests && this.technologies.size > 0) {
      throw new RangeError('a KVM that emulates its guests has no private memory');
    }
    this.processor = options.processor ?? 'intel';
    this.systemManagement = options.systemManagement === true || !this.since('6.2');
    this.physicalBits = options.physicalBits ?? 48;
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
    const patched = this.hasMemfiles ? 1 << VM_MEMFILE : 0;
    return [...this.technologies].reduce(
      (mask, technology) => mask | (1 << TYPE_OF[technology]),
      (1 << VM_DEFAULT) | patched,
    );
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

  /** A series of 2022, by which memslots take private memory from a memfd. */
  get hasMemfiles(): boolean {
    const { patches } = this.profile;
    return patches.has('inaccessible-memfd-v5') || patches.has('register-converts');
  }

  /** Files decide which of their pages are private, not VMs. */
  get convertsInPlace(): boolean {
    return this.profile.patches.has('in-place-v8');
  }

  /** SEV in some form: VMs of the default type can have it too. */
  get sev(): boolean {
    return this.technologies.has('sev');
  }

  /** kvm_arch_has_private_mem. */
  hasPrivateMemory(type: number): boolean {
    return (type === VM_SW_PROTECTED && !this.hasMemfiles) || type === VM_SNP || type === VM_TDX;
  }

  /** has_protected_state: no memory that only userspace writes, no registers once they are sealed. */
  hasProtectedState(type: number): boolean {
    return type === VM_SEV_ES || type === VM_SNP || type === VM_TDX;
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

  /** On a shutdown an AMD processor leaves nothing that could be relied on, so KVM gives the vCPU an INIT. arch/x86/kvm/svm/svm.c, shutdown_interception */
  get resetsOnShutdown(): boolean {
    return this.processor === 'amd' && !this.emulatesGuests;
  }

  /** Since 6.14 kvm_run.hypercall.ret is 0 at the exit; before, it was what had been there. */
  get presetsHypercallResult(): boolean {
    return this.since('6.14');
  }
}
