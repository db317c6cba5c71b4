/**
 * KVM_CHECK_EXTENSION of x86-64: what the simulation can do, per release. A capability that is not here is 0, as it would be in a kernel
 * that lacks it. arch/x86/kvm/x86.c
 */
import { KVM_CAP } from '../../../uapi/kvm-caps.ts';
import type { X64Machine } from './machine.ts';
import { VM_DEFAULT, VM_TDX } from './types.ts';

/** Bit 12: KVM_HC_MAP_GPA_RANGE. */
export const EXIT_HYPERCALL_MASK = 1n << 12n;

const C = KVM_CAP.value;

type Answer = number | ((machine: X64Machine, type: number | undefined) => number);

/** A kernel that could not have two does not know the question. */
const multiAddressSpace = (machine: X64Machine, type: number = VM_DEFAULT): number =>
  machine.systemManagement ? machine.addressSpaces(type) : 0;

export const X64_CAPABILITIES: ReadonlyMap<number, Answer> = new Map<number, Answer>([
  [C.KVM_CAP_HLT, 1],
  [C.KVM_CAP_SET_TSS_ADDR, 1],
  [C.KVM_CAP_EXT_CPUID, 1],
  [C.KVM_CAP_NR_VCPUS, (machine) => machine.cpus],
  [C.KVM_CAP_MP_STATE, 1],
  [C.KVM_CAP_SET_IDENTITY_MAP_ADDR, 1],
  [C.KVM_CAP_MAX_VCPUS, (machine, type) => (type === VM_TDX ? machine.cpus : machine.limits.vcpus)],
  // Elsewhere there are no interrupt controllers to split.
  [C.KVM_CAP_SPLIT_IRQCHIP, (_machine, type) => (type === VM_TDX ? 1 : 0)],
  [C.KVM_CAP_READONLY_MEM, (machine, type) => (type !== undefined && machine.hasProtectedState(type) ? 0 : 1)],
  [C.KVM_CAP_MULTI_ADDRESS_SPACE, multiAddressSpace],
  [C.KVM_CAP_MAX_VCPU_ID, (machine) => machine.limits.vcpuIds],
  [C.KVM_CAP_IMMEDIATE_EXIT, 1],
  [C.KVM_CAP_SYS_ATTRIBUTES, 1],
  [C.KVM_CAP_EXIT_HYPERCALL, Number(EXIT_HYPERCALL_MASK)],
  [C.KVM_CAP_MEMORY_FAULT_INFO, (machine) => (machine.since('6.8') ? 1 : 0)],
  [C.KVM_CAP_VM_TYPES, (machine) => (machine.knowsVmTypes ? machine.vmTypes : 0)],
  [C.KVM_CAP_PRE_FAULT_MEMORY, (machine) => (machine.profile.preFault && machine.twoDimensionalPaging ? 1 : 0)],
]);
