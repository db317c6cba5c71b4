/** What protects guest memory, as far as a lifecycle has to know. */
import type { GuestArch, GuestTechnology } from '../../guest/index.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import type { Vm } from '../../kvm/vm.ts';

/** Memory that is to be part of the launch. */
export interface LaunchRegion {
  readonly gpa: number;
  /** Bytes, whole pages. */
  readonly length: number;
  /** Where the bytes are in this process. 0: they lie in the memfile already (conversion in place). */
  readonly hva: number;
}

/** One VM, and what its technology keeps for it. Requests that the kernel turns down are KernelErrors. */
export interface ProtectedVm {
  readonly vm: Vm;
  /** Creates the guest's vCPU, ready to get its registers. */
  createVcpu(kvm: Kvm): Vcpu;
  /** Begins the launch, when vCPU and memslots are there; in words what was done. */
  start(): string;
  /** Makes memory part of the launch. */
  load(vcpu: Vcpu, region: LaunchRegion): void;
  /** Ends the launch: the guest may run; in words what was done. */
  finish(vcpu: Vcpu): string;
  close(): void;
}

export interface Technology {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Where it is. `any`: everywhere. */
  readonly arch: GuestArch | 'any';
  /** What the guest's programs are written for. */
  readonly guest: GuestTechnology;
  /**
   * How initial contents get in. `host-writes`: the host writes guest memory. `guest-accepts`: nobody outside can fill a private page, so the
   * guest starts from shared memory and carries it over. `encrypted-in-place`: the host writes guest memory, and a launch command encrypts it
   * where it lies. `copied-in`: a launch command copies it from the host's memory into private pages.
   */
  readonly initialContents: 'host-writes' | 'guest-accepts' | 'encrypted-in-place' | 'copied-in';
  /**
   * Who starts a conversion. `host`: there is none in the technology's sense, the host gives a range up by punching it. `asks-host`: the guest
   * asks, by hypercall or page state change, and userspace carries it out. `guest-alone`: the guest changes a bit of its own page tables and
   * tells nobody. `hypervisor`: the guest asks the hypervisor, which does it without userspace.
   */
  readonly conversion: 'host' | 'asks-host' | 'guest-alone' | 'hypervisor';
  /** Whether contents outlast a conversion where the file does not lose them. */
  readonly conversionKeeps: boolean;
  /** Makes a VM of it, ready for memslots and vCPUs. */
  open(kvm: Kvm): ProtectedVm;
}

/** The vCPU of a VM without a launch. */
export const NO_LAUNCH = {
  start: (): string => 'the technology has no launch: nothing is measured',
  load: (): void => {},
  finish: (): string => 'the technology has no such operation',
} as const;
