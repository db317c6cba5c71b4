/** KVM on x86-64: VM types, attributes, limits that differ between releases. */

import { KVM_CAP } from '../../../uapi/kvm-caps.ts';
import { EINVAL } from '../../errno.ts';
import type { Process } from '../../process.ts';
import type { Profile } from '../../profile.ts';
import { GMEM_INIT_SHARED, GMEM_MMAP, lookUp } from '../capabilities.ts';
import { GuestMemory } from '../guest-memory.ts';
import { KvmMachine, type MachineOptions, type SlotChange, type SlotPlan } from '../machine.ts';
import { Vm, type VmMemory } from '../vm.ts';
import { EXIT_HYPERCALL_MASK, X64_CAPABILITIES } from './capabilities.ts';
import { deviceRequest } from './device-requests.ts';
import { X64_LIMITS } from './limits.ts';
import { X64Vcpu } from './vcpu.ts';
import { vmRequest } from './vm-requests.ts';

export const VM_DEFAULT = 0;
export const VM_SW_PROTECTED = 1;

/** Releases whose KVM knows VM types, memory attributes, guest_memfd and memory-fault exits. */
const FIRST_WITH_TYPES = '6.8';
const MAX_PHYSICAL_BITS = 52;

export class X64Machine extends KvmMachine {
  override readonly limits = X64_LIMITS;
  readonly twoDimensionalPaging: boolean;
  readonly emulatesGuests: boolean;

  constructor(profile: Profile, options: MachineOptions = {}) {
    const offered = profile.guestMemfd ? (['sw-protected'] as const) : [];
    super(profile, options.technologies ?? offered, options);
    if (this.technologies.has('pkvm')) throw new RangeError('pKVM is a technology of arm64');
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
  }

  /** KVM_CAP_VM_TYPES: absent before 6.8, when KVM_CREATE_VM on x86 took type 0 only. */
  get vmTypes(): number {
    return (1 << VM_DEFAULT) | (this.technologies.has('sw-protected') ? 1 << VM_SW_PROTECTED : 0);
  }

  get knowsVmTypes(): boolean {
    return this.since(FIRST_WITH_TYPES);
  }

  override judgeType(type: bigint): number {
    const known = type === BigInt(VM_DEFAULT) || (type < 32n && (this.vmTypes & (1 << Number(type))) !== 0);
    return known ? 0 : -EINVAL;
  }

  /** Selected by what needs it. */
  override get memoryAttributes(): boolean {
    return this.technologies.size > 0;
  }

  /** CONFIG_KVM_PRIVATE_MEM, selected like the attributes; since 6.18 CONFIG_KVM_GUEST_MEMFD, which x86-64 always has. */
  override get guestMemfd(): boolean {
    return this.profile.guestMemfdMmap || this.technologies.size > 0;
  }

  override hasPrivateMemory(type: number): boolean {
    return type === VM_SW_PROTECTED;
  }

  /** Since 6.18 those of every VM. */
  override takesGuestMemfd(type: number): boolean {
    return this.guestMemfd && (this.profile.guestMemfdMmap || this.hasPrivateMemory(type));
  }

  override guestMemfdFlags(type: number | undefined): number {
    if (!this.profile.guestMemfdMmap) return 0;
    return type !== undefined && this.hasPrivateMemory(type) ? GMEM_MMAP : GMEM_MMAP | GMEM_INIT_SHARED;
  }

  /** Without CONFIG_KVM_SMM one; before 6.2 x86 always had the second, for system management mode. */
  get mostAddressSpaces(): number {
    return this.since('6.2') ? 1 : 2;
  }

  override addressSpaces(type: number): number {
    return this.hasPrivateMemory(type) ? 1 : this.mostAddressSpaces;
  }

  /** First gfn that no VM can have. kvm_mmu_max_gfn: shadow paging is not bound to the host's address width. */
  get gfnLimit(): number {
    return 2 ** ((this.twoDimensionalPaging ? this.physicalBits : MAX_PHYSICAL_BITS) - 12);
  }

  /** Between 6.4 and 6.11 only the sign bit was looked at, before and after that it is TASK_SIZE_MAX. arch/x86/include/asm/uaccess_64.h */
  override get userLimit(): bigint {
    const signOnly = this.since('6.4') && !this.since('6.12');
    return signOnly ? (1n << 63n) - 1n : (1n << 47n) - 4096n;
  }

  /** Since 6.14 kvm_run.hypercall.ret is 0 at the exit; before, it was what had been there. */
  get presetsHypercallResult(): boolean {
    return this.since('6.14');
  }

  override extension(capability: number): number {
    return lookUp(X64_CAPABILITIES, capability, this, undefined) ?? 0;
  }

  override deviceRequest(process: Process, request: number, arg: bigint): number | undefined {
    return deviceRequest(this, process, request, arg);
  }

  override vmRequest(vm: Vm, request: number, arg: bigint): number {
    return vmRequest(vm, request, arg);
  }

  override enableCapability(vm: Vm, capability: number, args: readonly bigint[]): number {
    const mask = args[0] ?? 0n;
    if (capability !== KVM_CAP.value.KVM_CAP_EXIT_HYPERCALL || (mask & ~EXIT_HYPERCALL_MASK) !== 0n) return -EINVAL;
    vm.exitHypercalls = mask;
    return 0;
  }

  override prepareSlot(_vm: Vm, change: SlotChange, { gfn, pages }: SlotPlan): number {
    return (change === 'create' || change === 'move') && gfn + pages > this.gfnLimit ? -EINVAL : 0;
  }

  override createVm(process: Process, type: number): Vm {
    return new Vm(this, process, type);
  }

  override createMemory({ slots, attributes, process, type }: Vm): VmMemory {
    return new GuestMemory({
      slots,
      attributes,
      space: process.space,
      hasPrivate: this.hasPrivateMemory(type),
      emulated: this.emulatesGuests,
    });
  }

  override createVcpu(vm: Vm, id: number): X64Vcpu {
    return new X64Vcpu(this, vm, id);
  }
}
