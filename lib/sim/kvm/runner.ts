/**
 * The processor that vCPUs share: runs that somebody waits for, and runs in the background, in slices on the event loop. While one is
 * waited for, the others go on, as threads would: a guest may wait for another vCPU.
 */
import { EINTR } from '../errno.ts';
import { macrotask } from './macrotask.ts';
import type { Vcpu } from './vcpu.ts';

/** Between two looks at the clock. */
const INSTRUCTIONS = 2000;
/** How long the event loop waits for one vCPU. */
const SLICE_MS = 2;

const now = (): number => performance.now();

export class BackgroundRun {
  readonly vcpu: Vcpu;
  readonly #done: (result: number) => void;
  #entered = false;
  #interrupted = false;
  result: number | undefined;

  constructor(vcpu: Vcpu, done: (result: number) => void) {
    this.vcpu = vcpu;
    this.#done = done;
  }

  /** A signal: the run ends at its next slice. Before it was entered, immediate_exit says so. */
  interrupt(): void {
    this.#interrupted = true;
  }

  /** Runs for a while. */
  step(until: number): void {
    if (this.result !== undefined) return;
    if (!this.#entered) {
      // Somebody else's run holds the vCPU.
      if (this.vcpu.running) return;
      this.#entered = true;
      this.result = this.vcpu.enter();
    } else if (this.#interrupted) {
      this.result = this.vcpu.interrupt();
    }
    while (this.result === undefined) {
      this.result = this.vcpu.slice(INSTRUCTIONS);
      if (now() >= until) return;
    }
  }

  /** Ends the run at once: the one who waits for it goes away. */
  abandon(): void {
    if (this.result !== undefined) return;
    this.result = this.#entered ? this.vcpu.interrupt() : -EINTR;
  }

  report(): void {
    this.#done(this.result ?? -EINTR);
  }
}

export class Runner {
  readonly #runs = new Set<BackgroundRun>();
  #scheduled = false;

  /** KVM_RUN to its end; `limitMs` > 0 interrupts it after so many milliseconds. */
  run(vcpu: Vcpu, limitMs = 0): number {
    this.settle(vcpu);
    const atOnce = vcpu.enter();
    if (atOnce !== undefined) return atOnce;
    const deadline = limitMs > 0 ? now() + limitMs : Number.POSITIVE_INFINITY;
    for (;;) {
      const result = vcpu.slice(INSTRUCTIONS);
      if (result !== undefined) return result;
      if (now() >= deadline) return vcpu.interrupt();
      for (const other of this.#runs) other.step(0);
    }
  }

  /** KVM_RUN in the background, begun at once, as a thread would. `done` is called from a task of its own. */
  start(vcpu: Vcpu, done: (result: number) => void): BackgroundRun {
    const run = new BackgroundRun(vcpu, done);
    this.#runs.add(run);
    run.step(now() + SLICE_MS);
    this.#schedule();
    return run;
  }

  /** Waits for a vCPU, as every request does that needs its mutex while it runs. */
  settle(vcpu: Vcpu): void {
    const busy = (): boolean => [...this.#runs].some((run) => run.vcpu === vcpu && run.result === undefined);
    while (busy()) for (const run of this.#runs) run.step(0);
  }

  #schedule(): void {
    if (this.#scheduled || this.#runs.size === 0) return;
    this.#scheduled = true;
    macrotask(() => this.#tick());
  }

  #tick(): void {
    this.#scheduled = false;
    const finished: BackgroundRun[] = [];
    for (const run of this.#runs) {
      run.step(now() + SLICE_MS);
      if (run.result !== undefined) finished.push(run);
    }
    for (const run of finished) this.#runs.delete(run);
    this.#schedule();
    report(finished);
  }
}

/** One that throws does not keep the others from being told. */
function report(finished: BackgroundRun[]): void {
  for (let run = finished.shift(); run !== undefined; run = finished.shift()) {
    try {
      run.report();
    } catch (error) {
      macrotask(() => report(finished));
      throw error;
    }
  }
}
