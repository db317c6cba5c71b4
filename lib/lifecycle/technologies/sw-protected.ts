/**
 * KVM_X86_SW_PROTECTED_VM (Linux 6.8): private memory without hardware, for development and tests. The guest has one kind of access; the
 * memory attribute alone decides which side it reaches, so that no access ever mismatches.
 */
import { KVM_VM_TYPE } from '../../uapi/index.ts';
import type { Technology } from './technology.ts';

/** KVM_HC_MAP_GPA_RANGE, as a bit of KVM_CAP_EXIT_HYPERCALL. */
const MAP_GPA_RANGE = 1 << 12;

export const swProtected: Technology = {
  name: 'sw-protected',
  summary: 'a software-protected VM: KVM keeps the host out of private pages, no hardware does',
  createVm: (kvm) => {
    const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
    try {
      vm.enableExitHypercall(MAP_GPA_RANGE);
      return vm;
    } catch (error) {
      vm.close();
      throw error;
    }
  },
  initialContents: 'guest-accepts',
  conversion: 'hypercall',
};
