/**
 * What protects the guests of one VM, as KVM's generic code sees it: kvm_x86_ops of a vendor module, and the hardware behind it. A plain VM
 * has none. Results are values of zero or more, or negated errnos.
 */
import type { GuestMemfdFile } from '../../files/guest-memfd.ts';
import type { PageStore } from '../../page-store.ts';
import type { GuestBus } from '../../vcpu/bus.ts';
import type { SecureStop } from '../../x64/stop.ts';
import type { Memslot } from '../slot.ts';
import type { X64Vcpu } from './vcpu.ts';

/** What a run comes back with; undefined when the guest goes on; `wait` when the vCPU cannot go on now, and the run does not end either. */
export type RunResult = number | 'wait' | undefined;

export interface VmTechnology {
  /** KVM_MEMORY_ENCRYPT_OP on the VM; `arg` is the address of its command. */
  vmCommand(arg: bigint): number;
  /** … and on a vCPU. */
  vcpuCommand(vcpu: X64Vcpu, arg: bigint): number;
  /** KVM_MEMORY_ENCRYPT_REG_REGION and _UNREG_REGION: an address and a length of the process. */
  registerRegion(address: bigint, size: bigint): number;
  unregisterRegion(address: bigint, size: bigint): number;

  /** Before a vCPU is made. */
  mayCreateVcpu(): number;
  vcpuCreated(vcpu: X64Vcpu): void;
  /** Whether KVM_GET_REGS and its like are refused. */
  hidesState(vcpu: X64Vcpu): boolean;
  /** kvm_x86_vcpu_pre_run: what KVM_RUN fails with before the guest is entered. */
  mayRun(vcpu: X64Vcpu): number;
  /** The reason for which the hardware does not enter the guest: KVM_EXIT_FAIL_ENTRY. */
  entryFailure(vcpu: X64Vcpu): bigint | undefined;
  /** Guest-physical memory as this vCPU reaches it. */
  bus(vcpu: X64Vcpu): GuestBus;
  /** An instruction that only its guests have. */
  secure(vcpu: X64Vcpu, stop: SecureStop): RunResult;
  /** A guest-physical address without what the guest marks it with. */
  address(gpa: number): number;
  /** The vCPU stops executing for now: what it wrote is in memory afterwards. */
  leaveGuest(): void;

  /** KVM_PRE_FAULT_MEMORY is allowed. */
  readonly preFaults: boolean;
  /** A page was brought in by KVM_PRE_FAULT_MEMORY. */
  preFaulted(gfn: number, isPrivate: boolean): number;
  /** Whether `gfn` is a page's second address. */
  isAlias(gfn: number): boolean;
  /** Pages [from, to) became private or shared. */
  converted(from: number, to: number, isPrivate: boolean): void;
  slotRemoved(slot: Memslot): void;
  /** Pages [from, to) of a file of the VM became private or shared in place. */
  fileConverted?(file: GuestMemfdFile, from: number, to: number, isPrivate: boolean): void;
  /** A file for the VM's private memory came to be: a guest_memfd, or the memfd of a memslot of 2022. */
  fileCreated(file: { readonly pages: PageStore }): void;
  /** Nothing refers to the VM any more. */
  destroy(): void;
}
