/** Which technology protects a VM, by its type and the machine. */
import { MemfileVm } from '../../patches/memfile-vm.ts';
import { SevVm } from '../../sev/sev-vm.ts';
import { SnpVm } from '../../sev/snp-vm.ts';
import { TdxVm } from '../../tdx/tdx-vm.ts';

import type { VmTechnology } from './technology.ts';
import { VM_DEFAULT, VM_MEMFILE, VM_SEV, VM_SEV_ES, VM_SNP, VM_TDX } from './types.ts';
import type { X64Vm } from './vm.ts';

export function technologyOf(vm: X64Vm): VmTechnology | undefined {
  if (vm.machine.hasMemfiles && vm.type === VM_MEMFILE) return new MemfileVm(vm);
  switch (vm.type) {
    case VM_DEFAULT:
      // Before there were VM types, SEV was asked for on default VMs; it still can be.
      return vm.machine.sev ? new SevVm(vm) : undefined;
    case VM_SEV:
    case VM_SEV_ES:
      return new SevVm(vm);
    case VM_SNP:
      return new SnpVm(vm);
    case VM_TDX:
      return new TdxVm(vm);
    default:
      return undefined;
  }
}
