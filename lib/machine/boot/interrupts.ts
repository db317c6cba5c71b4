/** The interrupt controllers of a PC: all of them in the kernel, or the local APICs alone. */
import { UnsupportedError } from '../../kernel/errors.ts';
import type { Vm } from '../../kvm/vm.ts';
import { KVM_CAP } from '../../uapi/index.ts';
import { IOAPIC_PINS, IOAPIC_SIZE, Ioapic } from '../devices/ioapic.ts';
import { EdgeIrq, LevelIrq } from '../irq.ts';
import type { Machine } from '../machine.ts';
import type { IrqLine } from '../words.ts';
import { IOAPIC } from './layout.ts';

/** `kernel`: KVM_CREATE_IRQCHIP and an interval timer. `split`: local APICs in the kernel, an IOAPIC here, neither PIC nor interval timer. */
export type IrqchipMode = 'kernel' | 'split';

export interface Interrupts {
  /** Whether there is a pair of 8259s. */
  readonly pic: boolean;
  /** How virtio devices signal. */
  readonly virtioTrigger: 'edge' | 'level';
  /** A line of an ISA device. */
  isa(irq: number): IrqLine;
  virtio(gsi: number): IrqLine;
  attach(machine: Machine): void;
}

function needs(vm: Vm, capability: 'KVM_CAP_IRQCHIP' | 'KVM_CAP_SPLIT_IRQCHIP', mode: IrqchipMode, next: string): void {
  if (vm.checkExtension(KVM_CAP.value[capability]) > 0) return;
  throw new UnsupportedError(`irqchip '${mode}'`, `${capability} is 0 for this VM on ${vm.sys.kernel.backend}`, next);
}

/** Before any vCPU. UnsupportedError where the kernel has no such controllers. */
export function createInterrupts(vm: Vm, mode: IrqchipMode): Interrupts {
  return mode === 'kernel' ? inKernel(vm) : split(vm);
}

function inKernel(vm: Vm): Interrupts {
  needs(vm, 'KVM_CAP_IRQCHIP', 'kernel', 'take a KVM that has interrupt controllers');
  vm.createIrqchip();
  vm.createPit();
  return {
    pic: true,
    virtioTrigger: 'edge',
    isa: (irq) => new LevelIrq(vm, irq),
    virtio: (gsi) => new EdgeIrq(vm, gsi),
    attach: () => {},
  };
}

function split(vm: Vm): Interrupts {
  needs(vm, 'KVM_CAP_SPLIT_IRQCHIP', 'split', "take 'kernel', or Linux 4.5 and newer on real x86");
  vm.createSplitIrqchip(IOAPIC_PINS);
  const ioapic = new Ioapic({
    // Devices may say a last word while their machine goes down.
    deliver: (msi) => void (vm.closed || vm.signalMsi(msi)),
    routed: (routes) => vm.setMsiRoutes(routes),
  });
  return {
    pic: false,
    virtioTrigger: 'level',
    isa: (irq) => ioapic.line(irq),
    virtio: (gsi) => ioapic.line(gsi),
    attach: (machine) => {
      machine.attach('memory', ioapic, { address: IOAPIC, size: IOAPIC_SIZE });
      machine.onEndOfInterrupt((vector) => ioapic.endOfInterrupt(vector));
    },
  };
}
