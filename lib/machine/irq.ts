/** Interrupts from devices into the in-kernel controllers. */
import type { Vm } from '../kvm/vm.ts';
import { Eventfd } from '../memory/eventfd.ts';
import type { IrqLine } from './words.ts';

/** For devices of a machine without interrupt controllers: polled only. */
export const NO_IRQ: IrqLine = { set() {}, pulse() {} };

/** By KVM_IRQ_LINE: a level. One system call for each change. */
export class LevelIrq implements IrqLine {
  readonly #vm: Vm;
  readonly gsi: number;
  #level = false;

  constructor(vm: Vm, gsi: number) {
    this.#vm = vm;
    this.gsi = gsi;
  }

  set(level: boolean): void {
    if (level === this.#level) return;
    this.#level = level;
    // A device may say so once more while its machine goes down.
    if (!this.#vm.closed) this.#vm.setIrqLine(this.gsi, level);
  }

  pulse(): void {
    this.set(true);
    this.set(false);
  }
}

/** By irqfd: an edge for each signal of an eventfd. */
export class EdgeIrq implements IrqLine {
  readonly event: Eventfd;
  readonly gsi: number;

  constructor(vm: Vm, gsi: number) {
    this.gsi = gsi;
    this.event = Eventfd.create(vm.sys, vm);
    try {
      vm.irqfd(this.event, gsi);
    } catch (error) {
      this.event.close();
      throw error;
    }
  }

  set(level: boolean): void {
    if (level) this.pulse();
  }

  pulse(): void {
    if (!this.event.closed) this.event.signal();
  }
}
