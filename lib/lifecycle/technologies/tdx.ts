/**
 * TDX: a trust domain. Private pages come from a guest_memfd and belong to the TDX module; the launch copies the host's bytes into them. The guest
 * asks for conversions by MapGPA and accepts what becomes private; what it accepts is empty.
 */
import { Tdx } from '../../kvm/tdx.ts';
import { KVM_VM_TYPE } from '../../uapi/index.ts';
import { MAP_GPA_RANGE, openWith } from './open-with.ts';
import type { Technology } from './technology.ts';

const PAGE = 4096;

export const tdx: Technology = {
  name: 'tdx',
  summary: 'TDX: a trust domain, whose private pages belong to the TDX module',
  arch: 'x64',
  guest: 'tdx',
  initialContents: 'copied-in',
  conversion: 'asks-host',
  conversionKeeps: false,
  open: (kvm) =>
    openWith(kvm, KVM_VM_TYPE.value.KVM_X86_TDX_VM, (vm) => {
      const domain = new Tdx(vm);
      vm.enableExitHypercall(MAP_GPA_RANGE);
      domain.splitIrqchip();
      const { supported_attrs } = domain.capabilities();
      domain.initVm();
      return {
        vm,
        createVcpu: () => {
          const vcpu = vm.createVcpu();
          vcpu.x64.setCpuid(domain.cpuid(vcpu));
          domain.initVcpu(vcpu);
          return vcpu;
        },
        start: () => `CAPABILITIES (attributes 0x${supported_attrs.toString(16)}), INIT_VM and INIT_VCPU`,
        load: (vcpu, { gpa, length, hva }) => {
          let left = { source_addr: hva, gpa, nr_pages: length / PAGE };
          while (left.nr_pages > 0) left = { ...domain.initMemRegion(vcpu, left) };
        },
        finish: () => {
          domain.finalize();
          return 'FINALIZE_VM: the measurement is closed';
        },
        close: () => vm.close(),
      };
    }),
};
