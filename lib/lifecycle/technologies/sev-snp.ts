/**
 * SEV-SNP: encryption, and a table of the processor that says whose each page is. Private pages come from a guest_memfd; the launch copies the
 * host's bytes into them. The guest asks for page state changes and validates what it gets.
 */
import { Sev } from '../../kvm/sev.ts';
import { KVM_VM_TYPE } from '../../uapi/index.ts';
import { initVcpu } from '../guest-start.ts';
import { MAP_GPA_RANGE, openWith } from './open-with.ts';
import type { Technology } from './technology.ts';

/** SMT allowed, and the bit that must be set. */
const POLICY = 0x3_0000n;

export const sevSnp: Technology = {
  name: 'sev-snp',
  summary: 'SEV-SNP: private pages belong to the guest alone, and the processor keeps the table',
  arch: 'x64',
  guest: 'sev-snp',
  initialContents: 'copied-in',
  conversion: 'asks-host',
  conversionKeeps: false,
  open: (kvm) =>
    openWith(kvm, KVM_VM_TYPE.value.KVM_X86_SNP_VM, (vm) => {
      const sev = Sev.open(vm);
      sev.init2();
      vm.enableExitHypercall(MAP_GPA_RANGE);
      return {
        vm,
        createVcpu: () => initVcpu(kvm, vm.createVcpu()),
        start: () => {
          sev.snpLaunchStart(POLICY);
          return 'INIT2 and SNP_LAUNCH_START';
        },
        load: (_vcpu, { gpa, length, hva }) => sev.snpLaunchUpdateAll(gpa, hva, length),
        finish: () => {
          sev.snpLaunchFinish();
          return 'SNP_LAUNCH_FINISH: vCPUs measured and sealed';
        },
        close: () => vm.close(),
      };
    }),
};
