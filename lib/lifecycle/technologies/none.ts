/** No protection: a default VM. The host may always read and write; what is private is so by convention. */
import { initVcpu } from '../guest-start.ts';
import { NO_LAUNCH, type Technology } from './technology.ts';

export const none: Technology = {
  name: 'none',
  summary: 'a default VM: nothing but convention protects guest memory from the host',
  arch: 'any',
  guest: 'none',
  initialContents: 'host-writes',
  conversion: 'host',
  conversionKeeps: true,
  open: (kvm) => {
    const vm = kvm.createVm();
    return {
      ...NO_LAUNCH,
      vm,
      createVcpu: () => initVcpu(kvm, vm.createVcpu()),
      close: () => vm.close(),
    };
  },
};
