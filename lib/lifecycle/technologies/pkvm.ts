/**
 * pKVM (arm64, kvm-arm.mode=protected): ordinary memory, page by page given to the guest at its first access, contents kept, and taken from the
 * host. There is no launch: the first KVM_RUN makes the protected VM. The guest shares pages and takes them back by hypervisor calls.
 */
import { initVcpu } from '../guest-start.ts';
import { openWith } from './open-with.ts';
import { NO_LAUNCH, type Technology } from './technology.ts';

/** KVM_VM_TYPE_ARM_PROTECTED. */
export const ARM_PROTECTED_VM = 2 ** 31;

export const pkvm: Technology = {
  name: 'pkvm',
  summary: 'pKVM: pages are given to the guest at its first access, and taken from the host',
  arch: 'arm64',
  guest: 'none',
  initialContents: 'host-writes',
  conversion: 'hypervisor',
  conversionKeeps: true,
  open: (kvm) =>
    openWith(kvm, ARM_PROTECTED_VM, (vm) => ({
      ...NO_LAUNCH,
      vm,
      createVcpu: () => initVcpu(kvm, vm.createVcpu()),
      close: () => vm.close(),
    })),
};
