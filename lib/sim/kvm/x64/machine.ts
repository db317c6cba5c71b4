/** KVM on x86-64: VM types, attributes, limits that differ between releases. */

import { EINVAL } from '../../errno.ts';
import type { Process } from '../../process.ts';
import type { Profile } from '../../profile.ts';
import type { X64CpuOptions } from '../../x64/index.ts';
import { GMEM_INIT_SHARED, GMEM_MMAP, lookUp } from '../capabilities.ts';
import { KvmMachine, type MachineOptions, type SimTechnology, type SlotChange, type SlotPlan } from '../machine.ts';
import { X64_CAPABILITIES } from './capabilities.ts';
import { deviceRequest } from './device-requests.ts';
import { X64_LIMITS } from './limits.ts';
import { VM_DEFAULT, VM_MEMFILE, VM_SEV, VM_SEV_ES, VM_SNP, VM_SW_PROTECTED, VM_TDX } from './types.ts';
import { X64Vcpu } from './vcpu.ts';
import { X64Vm } from './vm.ts';
import { enableCapability, vmRequest } from './vm-requests.ts';

type X64Technology = Exclude<SimTechnology, 'pkvm'>;

const TYPE_OF: Readonly<Record<X64Technology, number>> = {
  none: VM_DEFAULT,
  'sw-protected': VM_SW_PROTECTED,
  sev: VM_SEV,
  'sev-es': VM_SEV_ES,
  'sev-snp': VM_SNP,
  tdx: VM_TDX,
};
/** The first release whose KVM has VMs of the type. SEV is older, but was asked for in other ways. */
const SINCE: Readonly<Record<X64Technology, string>> = {
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

export class X64Machine extends KvmMachine {
  override readonly limits = X64_LIMITS;
  readonly twoDimensionalPaging: boolean;
  readonly emulatesGuests: boolean;
  readonly processor: 'intel' | 'amd';
  readonly systemManagement: boolean;
  readonly memoryKeys: number;
  readonly linearBits: 48 | 57;
  readonly fiveLevels: boolean;

  constructor(profile: Profile, options: MachineOptions = {}) {
    const offered = profile.guestMemfd ? (['sw-protected'] as const) : [];
    const asked = options.technologies ?? offered;
    super(
      profile,
      asked.flatMap((technology) => [technology, ...(IMPLIES[technology] ?? [])]),
      options,
    );
    for (const technology of this.technologies) {
      if (technology === 'pkvm') throw new RangeError('pKVM is a technology of arm64');
      const first = SINCE[technology];
      // The series of 2022 were written for what became of these; the requests are those that were merged.
      if (this.since(first) || (this.hasMemfiles && technology !== 'sw-protected')) continue;
      throw new RangeError(
        `Linux ${profile.release} has no VMs of the technology ${technology}: they came with ${first}`,
      );
    }
    this.linearBits = options.linearBits ?? 48;
    this.fiveLevels = options.fiveLevels ?? false;
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
  }

  /** KVM_CAP_VM_TYPES: absent before 6.8, when KVM_CREATE_VM on x86 took type 0 only. */
  get vmTypes(): number {
    const patched = this.hasMemfiles ? 1 << VM_MEMFILE : 0;
    return [...this.technologies].reduce(
      (mask, technology) => mask | (1 << TYPE_OF[technology as X64Technology]),
      (1 << VM_DEFAULT) | patched,
    );
  }

  get knowsVmTypes(): boolean {
    return this.since(FIRST_WITH_TYPES) || (this.hasMemfiles && this.technologies.size > 0);
  }

  override judgeType(type: bigint): number {
    const known = type === BigInt(VM_DEFAULT) || (type < 32n && (this.vmTypes & (1 << Number(type))) !== 0);
    return known ? 0 : -EINVAL;
  }

  /** Selected by what needs it. */
  override get memoryAttributes(): boolean {
    return this.technologies.size > 0 && !this.hasMemfiles;
  }

  /** CONFIG_KVM_PRIVATE_MEM, selected like the attributes; since 6.18 CONFIG_KVM_GUEST_MEMFD, which x86-64 always has. */
  override get guestMemfd(): boolean {
    return this.profile.guestMemfdMmap || this.memoryAttributes;
  }

  /** A series of 2022, by which memslots take private memory from a memfd. */
  get hasMemfiles(): boolean {
    const { patches } = this.profile;
    return patches.has('inaccessible-memfd-v5') || patches.has('register-converts');
  }

  /** Whether VMs of a type have private memory in memfds: those whose guests say in a fault which side they mean. SEV and SEV-ES do not. */
  optsIn(type: number): boolean {
    return this.hasMemfiles && (type === VM_MEMFILE || type === VM_SNP || type === VM_TDX);
  }

  /** SEV in some form: VMs of the default type can have it too. */
  get sev(): boolean {
    return this.technologies.has('sev');
  }

  override hasPrivateMemory(type: number): boolean {
    return (type === VM_SW_PROTECTED && !this.hasMemfiles) || type === VM_SNP || type === VM_TDX;
  }

  /** has_protected_state: no memory that only userspace writes, no registers once they are sealed. */
  hasProtectedState(type: number): boolean {
    return type === VM_SEV_ES || type === VM_SNP || type === VM_TDX;
  }

  /** Since 6.18 those of every VM. */
  override takesGuestMemfd(type: number): boolean {
    if (this.hasMemfiles) return this.optsIn(type);
    return this.guestMemfd && (this.profile.guestMemfdMmap || this.hasPrivateMemory(type));
  }

  override guestMemfdFlags(type: number | undefined): number {
    if (!this.profile.guestMemfdMmap) return 0;
    const initPrivate = type !== undefined && this.hasPrivateMemory(type) && !this.convertsInPlace;
    return initPrivate ? GMEM_MMAP : GMEM_MMAP | GMEM_INIT_SHARED;
  }

  /** Of memslots, in a VM of a type. kvm_arch_nr_memslot_as_ids */
  override addressSpaces(type: number): number {
    return this.systemManagement && !this.hasPrivateMemory(type) ? 2 : 1;
  }

  /** First gfn that no VM can have. kvm_mmu_max_gfn: shadow paging is not bound to the host's address width. */
  get gfnLimit(): number {
    return 2 ** ((this.twoDimensionalPaging ? this.physicalBits : MAX_PHYSICAL_BITS) - 12);
  }

  /** Between 6.4 and 6.11 only the sign bit was looked at, before and after that it is TASK_SIZE_MAX. arch/x86/include/asm/uaccess_64.h */
  override get userLimit(): bigint {
    const signOnly = this.since('6.4') && !this.since('6.12');
    return signOnly ? (1n << 63n) - 1n : (1n << (this.fiveLevels ? 56n : 47n)) - 4096n;
  }

  /** What a vCPU must know of it. */
  get cpuOptions(): X64CpuOptions {
    const emulated = this.emulatesGuests;
    const taskType = this.processor === 'amd' && !emulated ? 3 : 11;
    return this.since('6.13') ? { emulated, taskType, linearBits: this.linearBits } : { emulated, taskType };
  }

  /** On a shutdown an AMD processor leaves nothing that could be relied on, so KVM gives the vCPU an INIT. arch/x86/kvm/svm/svm.c, shutdown_interception */
  get resetsOnShutdown(): boolean {
    return this.processor === 'amd' && !this.emulatesGuests;
  }

  /** Since 6.14 kvm_run.hypercall.ret is 0 at the exit; before, it was what had been there. */
  get presetsHypercallResult(): boolean {
    return this.since('6.14');
  }

  override extension(capability: number, type: number | undefined): number {
    return lookUp(X64_CAPABILITIES, capability, this, type) ?? 0;
  }

  override deviceRequest(process: Process, request: number, arg: bigint): number | undefined {
    return deviceRequest(this, process, request, arg);
  }

  override vmRequest(vm: X64Vm, request: number, arg: bigint): number {
    return vmRequest(vm, request, arg);
  }

  override enableCapability(vm: X64Vm, capability: number, args: readonly bigint[]): number {
    return enableCapability(vm, capability, args[0] ?? 0n);
  }

  /** A gfn that is a second address of another page makes no slot: kvm_is_gfn_alias. */
  override prepareSlot({ technology }: X64Vm, change: SlotChange, { gfn, pages }: SlotPlan): number {
    if (change !== 'create' && change !== 'move') return 0;
    return gfn + pages > this.gfnLimit || technology?.isAlias(gfn + pages - 1) === true ? -EINVAL : 0;
  }

  override createVm(process: Process, type: number): X64Vm {
    return new X64Vm(this, process, type);
  }

  override createVcpu(vm: X64Vm, id: number): X64Vcpu {
    return new X64Vcpu(this, vm, id);
  }
}
