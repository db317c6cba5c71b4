/**
 * KVM_X86_SW_PROTECTED_VM (Linux 6.8): private memory without hardware, for development and tests. The guest has one kind of access; the
 * memory attribute alone decides which side it reaches, so that no access ever mismatches. A kernel with a series of 2022 has the same type of
 * VM for the same purpose, and there the guest names the side by an address bit.
 */
import { KVM_VM_TYPE } from '../../uapi/index.ts';
import { initVcpu } from '../guest-start.ts';
import { MAP_GPA_RANGE, openWith } from './open-with.ts';
import { NO_LAUNCH, type Technology } from './technology.ts';

export const swProtected: Technology = {
  name: 'sw-protected',
  summary: 'a software-protected VM: KVM keeps the host out of private pages, no hardware does',
  arch: 'x64',
  guest: 'none',
  initialContents: 'guest-accepts',
  conversion: 'asks-host',
  conversionKeeps: true,
  open: (kvm) =>
    openWith(kvm, KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM, (vm) => {
      vm.enableExitHypercall(MAP_GPA_RANGE);
      return {
        ...NO_LAUNCH,
        vm,
        createVcpu: () => initVcpu(kvm, vm.createVcpu()),
        close: () => vm.close(),
      };
    }),
};
