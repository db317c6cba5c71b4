/** What an architecture and the kernel's configuration decide about KVM: all that virt/kvm leaves to arch/. One subclass per architecture. */
import type { Process } from '../process.ts';
import { type Profile, type SimRelease, sinceRelease } from '../profile.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/**
 * What protects guests. `none` stands for itself: default VMs are always there. `sw-protected` is CONFIG_KVM_SW_PROTECTED_VM=y on x86-64; `pkvm` is
 * kvm-arm.mode=protected on arm64.
 */
export type SimTechnology = 'none' | 'sw-protected' | 'sev' | 'sev-es' | 'sev-snp' | 'tdx' | 'pkvm';

export interface MachineOptions {
  /**
   * What the machine and the kernel's configuration have. A processor with SEV and TDX at once does not exist; here it does, so that one kernel
   * serves a comparison. sev-es implies sev, sev-snp both.
   */
  readonly technologies?: readonly SimTechnology[];
  /** How many VMs of one kind can have a memory key at the same time (SEV ASIDs, TDX key ids). Default 15. */
  readonly memoryKeys?: number;
  /** x86-64: EPT or NPT. Default: when there is a technology, since all of them need it. */
  readonly twoDimensionalPaging?: boolean;
  /**
   * x86-64: KVM itself emulates every instruction of its guests, as it does inside another virtual machine whose processor has no virtualization of
   * its own. Then guests see only userspace_addr, never a guest_memfd, and take what cannot be reached there for MMIO. Default false.
   */
  readonly emulatesGuests?: boolean;
  /** x86-64: whose virtualization the host's processor has. Default intel. */
  readonly processor?: 'intel' | 'amd';
  /** x86-64, CONFIG_KVM_SMM: a second address space for memslots, in VMs without private memory. Before 6.2 always. Default false. */
  readonly systemManagement?: boolean;
  /** Physical address bits of the processor. Default 48. */
  readonly physicalBits?: number;
  /** Linear address bits of the processor: 57 with LA57. Default 48. */
  readonly linearBits?: 48 | 57;
  /** Page tables of the host's processes have five levels: their addresses have 56 bits, not 47. */
  readonly fiveLevels?: boolean;
  /** Processors, which KVM_CAP_NR_VCPUS recommends as a limit. Default 4. */
  readonly cpus?: number;
}

export interface MachineLimits {
  readonly memslots: number;
  /** Of one VM. */
  readonly vcpus: number;
  /** First id that no vCPU has. */
  readonly vcpuIds: number;
  /** Pages of a vCPU's descriptor: kvm_run, the ring of coalesced MMIO, on x86 the bytes of port accesses. */
  readonly runPages: number;
}

/** What KVM_SET_USER_MEMORY_REGION is about to do. */
export type SlotChange = 'create' | 'delete' | 'move' | 'flags';

/** A slot as it will be. */
export interface SlotPlan {
  readonly gfn: number;
  readonly pages: number;
  readonly flags: number;
  /** Its guest_memfd was made with GUEST_MEMFD_FLAG_MMAP; undefined without guest_memfd. */
  readonly mappable: boolean | undefined;
}

export abstract class KvmMachine {
  readonly profile: Profile;
  readonly technologies: ReadonlySet<SimTechnology>;
  readonly cpus: number;
  readonly physicalBits: number;

  abstract readonly limits: MachineLimits;
  /** First address that access_ok refuses. */
  abstract readonly userLimit: bigint;
  /** CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES. */
  abstract readonly memoryAttributes: boolean;
  /** CONFIG_KVM_GUEST_MEMFD. */
  abstract readonly guestMemfd: boolean;

  constructor(profile: Profile, technologies: readonly SimTechnology[], options: MachineOptions) {
    this.profile = profile;
    this.technologies = new Set(technologies.filter((technology) => technology !== 'none'));
    this.cpus = options.cpus ?? 4;
    this.physicalBits = options.physicalBits ?? 48;
  }

  since(release: string): boolean {
    return sinceRelease(this.profile.release, release);
  }

  /** Files decide which of their pages are private, not VMs. */
  get convertsInPlace(): boolean {
    return this.profile.patches.has('in-place-v8');
  }

  get release(): SimRelease {
    return this.profile.release;
  }

  /** KVM_CREATE_VM takes the type: 0, or a negated errno. */
  abstract judgeType(type: bigint): number;
  /** kvm_arch_has_private_mem. */
  abstract hasPrivateMemory(type: number): boolean;
  abstract addressSpaces(type: number): number;
  /** Whether a VM's slots take KVM_MEM_GUEST_MEMFD. */
  abstract takesGuestMemfd(type: number): boolean;
  /** GUEST_MEMFD_FLAG bits; those that any VM could take without a type. */
  abstract guestMemfdFlags(type: number | undefined): number;
  /** KVM_CHECK_EXTENSION; without a type for /dev/kvm. */
  abstract extension(capability: number, type: number | undefined): number;
  /** Requests of /dev/kvm that virt/kvm does not know; undefined when nobody does. */
  abstract deviceRequest(process: Process, request: number, arg: bigint): number | undefined;
  /** Requests of a VM that virt/kvm does not know: a result, or the errno for unknown ones. */
  abstract vmRequest(vm: Vm, request: number, arg: bigint): number;
  /** kvm_vm_ioctl_enable_cap: a result, or -EINVAL. */
  abstract enableCapability(vm: Vm, capability: number, args: readonly bigint[]): number;
  /** kvm_arch_prepare_memory_region. */
  abstract prepareSlot(vm: Vm, change: SlotChange, plan: SlotPlan): number;
  abstract createVm(process: Process, type: number): Vm;
  abstract createVcpu(vm: Vm, id: number): Vcpu;
}
