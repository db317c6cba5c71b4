/** A VM of arm64: what its vCPUs share besides memory. */
import { Vm } from '../vm.ts';
import { ProtectedMemory } from './protected-memory.ts';
import { SmcccFilter } from './smccc-filter.ts';
import type { Arm64Vcpu } from './vcpu.ts';

export class Arm64Vm extends Vm {
  /** In the order of their creation. */
  readonly vcpus: Arm64Vcpu[] = [];
  readonly filter = new SmcccFilter();
  /** Features of every vCPU, once the first was initialised. */
  features: number | undefined;
  /** KVM_REG_ARM_PSCI_VERSION, when it was set. */
  psciVersion: bigint | undefined;
  /** KVM_REG_ARM_*_BMAP by number: which optional firmware calls are offered. */
  readonly bitmaps: bigint[] = [0n, 0n, 3n, 0n];
  /** Accesses that the processor does not describe become exits: KVM_CAP_ARM_NISV_TO_USER. */
  tellsUndescribed = false;
  /** PSCI SYSTEM_SUSPEND is offered: KVM_CAP_ARM_SYSTEM_SUSPEND. */
  suspends = false;
  hasRunOnce = false;

  /** The hypervisor knows the VM from its first run on. */
  get hasHypervisorVm(): boolean {
    return this.hasRunOnce;
  }

  protected override release(): void {
    if (this.memory instanceof ProtectedMemory) this.memory.tearDown();
  }
}
