/**
 * SEV: the processor encrypts what the guest marks with its C-bit. The memory stays the host's to reach: it reads ciphertext, and its writes
 * spoil. KVM knows no private memory in such VMs. The launch encrypts in place what the host has written.
 */
import { Sev } from '../../kvm/sev.ts';
import { Mapping } from '../../memory/mapping.ts';
import { KVM_VM_TYPE } from '../../uapi/index.ts';
import { initVcpu } from '../guest-start.ts';
import { openWith } from './open-with.ts';
import type { Technology } from './technology.ts';

const PAGE = 4096;
/** Guest policy: debugging forbidden; with SEV-ES. */
const NODBG = 1;
const ES = 4;

/** SEV, or SEV-ES with its sealed registers. */
export function sevTechnology(name: 'sev' | 'sev-es', summary: string): Technology {
  const es = name === 'sev-es';
  const { KVM_X86_SEV_VM, KVM_X86_SEV_ES_VM } = KVM_VM_TYPE.value;
  return {
    name,
    summary,
    arch: 'x64',
    guest: name,
    initialContents: 'encrypted-in-place',
    conversion: 'guest-alone',
    conversionKeeps: false,
    open: (kvm) =>
      openWith(kvm, es ? KVM_X86_SEV_ES_VM : KVM_X86_SEV_VM, (vm) => {
        const sev = Sev.open(vm);
        sev.init2();
        return {
          vm,
          createVcpu: () => initVcpu(kvm, vm.createVcpu()),
          start: () => {
            const handle = sev.launchStart(NODBG | (es ? ES : 0));
            return `INIT2 and LAUNCH_START: guest ${handle} of the firmware`;
          },
          load: (_vcpu, { hva, length }) => {
            // A page that is moved afterwards would be lost: its ciphertext belongs to its place.
            sev.registerRegion(hva, length);
            sev.launchUpdateData(hva, length);
          },
          finish: () => {
            if (es) sev.launchUpdateVmsa();
            const into = Mapping.anonymous(vm.sys, PAGE);
            try {
              sev.launchMeasure(into.hva);
            } finally {
              into.close();
            }
            sev.launchFinish();
            return `${es ? 'LAUNCH_UPDATE_VMSA, ' : ''}LAUNCH_MEASURE and LAUNCH_FINISH`;
          },
          close: () => vm.close(),
        };
      }),
  };
}

export const sev = sevTechnology(
  'sev',
  'SEV: the guest’s private memory is encrypted in place; the host reaches ciphertext',
);
