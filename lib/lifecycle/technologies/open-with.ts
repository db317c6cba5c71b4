/** Making a VM and what belongs to it: all of it, or nothing that stays open. */
import type { Kvm } from '../../kvm/kvm.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { ProtectedVm } from './technology.ts';

/** KVM_HC_MAP_GPA_RANGE, as a bit of KVM_CAP_EXIT_HYPERCALL. */
export const MAP_GPA_RANGE = 1 << 12;

export function openWith(kvm: Kvm, type: number, prepare: (vm: Vm) => ProtectedVm): ProtectedVm {
  const vm = kvm.createVm(type);
  try {
    return prepare(vm);
  } catch (error) {
    vm.close();
    throw error;
  }
}
