/** A VM of arm64: what its vCPUs share besides memory. */
import type { Process } from '../../process.ts';
import { GuestMemory } from '../guest-memory.ts';
import { Vm, type VmMemory } from '../vm.ts';
import type { Arm64Machine } from './machine.ts';
import { ProtectedMemory } from './protected-memory.ts';
import { SmcccFilter } from './smccc-filter.ts';
import type { Arm64Vcpu } from './vcpu.ts';

export class Arm64Vm extends Vm {
  declare readonly machine: Arm64Machine;
  override readonly memory: VmMemory;
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

  constructor(machine: Arm64Machine, process: Process, type: number) {
    super(machine, process, type);
    const { slots } = this;
    this.memory = machine.isProtected(type)
      ? new ProtectedMemory(slots, process)
      : new GuestMemory({ slots, isPrivate: () => false, space: process.space, hasPrivate: false, emulated: false });
  }

  /** The hypervisor knows the VM from its first run on. */
  get hasHypervisorVm(): boolean {
    return this.hasRunOnce;
  }

  protected override release(): void {
    if (this.memory instanceof ProtectedMemory) this.memory.tearDown();
  }
}
