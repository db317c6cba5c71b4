/** What the designs of 2022 have in common: memslots that take private memory from a memfd. */
import type { Vm } from '../../kvm/vm.ts';
import type { Memfd } from '../../memory/memfd.ts';
import { probeBind } from './memfd-region.ts';

/** Why a VM has no memslots with private memory; undefined when it has. Asked with a file of one page. */
export function noPrivateSlots(vm: Vm, makeFile: (vm: Vm) => Memfd): string | undefined {
  const file = makeFile(vm);
  try {
    const code = probeBind(vm, file);
    if (code === undefined) return undefined;
    return `KVM_SET_USER_MEMORY_REGION with KVM_MEM_PRIVATE: ${code}: VMs of this type do not opt in to private memslots`;
  } finally {
    file.close();
  }
}
