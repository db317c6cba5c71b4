/** KVM_CHECK_EXTENSION of arm64: what the simulation can do. arch/arm64/kvm/arm.c, kvm_vm_ioctl_check_extension */
import { KVM_CAP } from '../../../uapi/kvm-caps.ts';
import { EINVAL } from '../../errno.ts';
import { lookUp } from '../capabilities.ts';
import type { Arm64Machine } from './machine.ts';

const C = KVM_CAP.value;

type Answer = number | ((machine: Arm64Machine, type: number | undefined) => number);

const TABLE: ReadonlyMap<number, Answer> = new Map<number, Answer>([
  [C.KVM_CAP_USER_MEMORY, 1],
  [C.KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1],
  [C.KVM_CAP_ONE_REG, 1],
  [C.KVM_CAP_ARM_PSCI, 1],
  [C.KVM_CAP_ARM_PSCI_0_2, 1],
  [C.KVM_CAP_READONLY_MEM, 1],
  [C.KVM_CAP_MP_STATE, 1],
  [C.KVM_CAP_IMMEDIATE_EXIT, 1],
  [C.KVM_CAP_ARM_NISV_TO_USER, 1],
  [C.KVM_CAP_VCPU_ATTRIBUTES, 1],
  [C.KVM_CAP_ARM_SYSTEM_SUSPEND, 1],
  [C.KVM_CAP_NR_VCPUS, (machine) => Math.min(machine.cpus, machine.limits.vcpus)],
  [C.KVM_CAP_MAX_VCPUS, (machine) => machine.limits.vcpus],
  [C.KVM_CAP_MAX_VCPU_ID, (machine) => machine.limits.vcpus],
  [C.KVM_CAP_ARM_VM_IPA_SIZE, (machine) => machine.physicalBits],
  [C.KVM_CAP_SYSTEM_EVENT_DATA, 1],
  // Asked of the system they are refused.
  [C.KVM_CAP_MSI_DEVID, (_, type) => (type === undefined ? -EINVAL : 0)],
]);

/** kvm_pkvm_ext_allowed: what is left for a protected VM. Those that virt/kvm answers itself are not asked about. */
const PROTECTED: ReadonlySet<number> = new Set([
  C.KVM_CAP_ARM_PSCI,
  C.KVM_CAP_ARM_PSCI_0_2,
  C.KVM_CAP_NR_VCPUS,
  C.KVM_CAP_MAX_VCPUS,
  C.KVM_CAP_MAX_VCPU_ID,
  C.KVM_CAP_MSI_DEVID,
  C.KVM_CAP_ARM_VM_IPA_SIZE,
]);
/** Answered by virt/kvm, which does not ask about protection. */
const GENERIC: ReadonlySet<number> = new Set([C.KVM_CAP_SYSTEM_EVENT_DATA, C.KVM_CAP_USER_MEMORY]);

export function arm64Extension(machine: Arm64Machine, capability: number, type: number | undefined): number {
  const restricted = type !== undefined && machine.isProtected(type) && !GENERIC.has(capability);
  if (restricted && !PROTECTED.has(capability)) return 0;
  return lookUp(TABLE, capability, machine, type) ?? 0;
}

/** kvm_vm_ioctl_enable_cap asks whether the capability is allowed at all. */
export const isAllowed = (machine: Arm64Machine, capability: number, type: number): boolean =>
  !machine.isProtected(type) || PROTECTED.has(capability);
