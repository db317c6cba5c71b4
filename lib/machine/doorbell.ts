/** Doorbells by ioeventfd: the guest's write does not end KVM_RUN; the machine looks at the counters between exits and every millisecond. */
import type { IoeventfdPlace, Vm } from '../kvm/vm.ts';
import { Eventfd } from '../memory/eventfd.ts';

const LOOK_MS = 1;

interface Doorbell {
  readonly event: Eventfd;
  readonly ring: (times: number) => void;
}

export class Doorbells {
  readonly #vm: Vm;
  #bells: readonly Doorbell[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #failed: (error: unknown) => void;

  constructor(vm: Vm, failed: (error: unknown) => void) {
    this.#vm = vm;
    this.#failed = failed;
  }

  /** Returns how to take it off. KernelError where the kernel has no ioeventfd, or the place is taken. */
  add(place: IoeventfdPlace, ring: (times: number) => void): () => void {
    const event = Eventfd.create(this.#vm.sys, this.#vm);
    try {
      this.#vm.ioeventfd(event, place);
    } catch (error) {
      event.close();
      throw error;
    }
    const bell: Doorbell = { event, ring };
    this.#bells = [...this.#bells, bell];
    return () => {
      this.#bells = this.#bells.filter((one) => one !== bell);
      if (event.closed) return;
      this.#vm.ioeventfd(event, place, { remove: true });
      event.close();
    };
  }

  get any(): boolean {
    return this.#bells.length > 0;
  }

  /** Rings those that were rung. */
  look(): void {
    for (const { event, ring } of this.#bells) {
      if (event.closed) continue;
      const times = Number(event.drain());
      if (times > 0) ring(times);
    }
  }

  start(): void {
    if (!this.any || this.#timer !== undefined) return;
    this.#timer = setInterval(() => {
      try {
        this.look();
      } catch (error) {
        this.#failed(error);
      }
    }, LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
