/** The KVM_RUNs of a replay, all on threads of their own, so that each can be interrupted. */
import type { Kernel } from '../kernel/kernel.ts';
import { exitBytes } from '../kernel/trace-exit.ts';
import type { RecordedOutcome } from './recording.ts';

const EINTR = 4;
/** Longer delays fire at once: timers count in 32 bits. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface Run {
  readonly began: number;
  /** Resolves when KVM_RUN came back, never rejects. */
  readonly over: Promise<RecordedOutcome>;
  outcome: RecordedOutcome | undefined;
}

const outcomeOf = (result: number, exit: RecordedOutcome['exit']): RecordedOutcome => ({
  result,
  out: new Map(),
  pointed: [],
  ...(exit === undefined ? {} : { exit }),
});

export class Runs {
  readonly #kernel: Kernel;
  /** Run page of each handle. */
  readonly #pages = new Map<number, number>();
  readonly #underWay = new Map<number, Run>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  attached(handle: number, page: number): void {
    this.#pages.set(handle, page);
  }

  detached(handle: number): void {
    this.#pages.delete(handle);
  }

  of(handle: number): Run | undefined {
    return this.#underWay.get(handle);
  }

  start(handle: number): Run {
    let settle: (outcome: RecordedOutcome) => void = () => {};
    const run: Run = {
      began: performance.now(),
      over: new Promise((resolve) => {
        settle = resolve;
      }),
      outcome: undefined,
    };
    const end = (result: number): void => {
      if (this.#underWay.get(handle) === run) this.#underWay.delete(handle);
      run.outcome = outcomeOf(result, this.#exit(handle, result));
      settle(run.outcome);
    };
    const started = this.#kernel.vcpuStart(handle, end);
    if (started < 0) {
      run.outcome = outcomeOf(started, undefined);
      settle(run.outcome);
    } else this.#underWay.set(handle, run);
    return run;
  }

  #exit(handle: number, result: number): RecordedOutcome['exit'] {
    const page = this.#pages.get(handle);
    if (page === undefined) return undefined;
    try {
      return exitBytes(result, (offset, into) => this.#kernel.copyOut(page + offset, into));
    } catch {
      // Unmapped behind our back.
      return undefined;
    }
  }

  /** Waits until the run is over; kicks it after `limitMs`, or when `signal` is aborted. True when it had to. */
  async wait(handle: number, run: Run, limitMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    if (run.outcome !== undefined) return false;
    let kicked = false;
    const kick = (): void => {
      if (run.outcome !== undefined) return;
      kicked = true;
      this.#kernel.vcpuKick(handle);
    };
    const left = limitMs - (performance.now() - run.began);
    const timer = setTimeout(kick, Math.min(Math.max(0, left), LONGEST_TIMER_MS));
    signal?.addEventListener('abort', kick, { once: true });
    if (signal?.aborted) kick();
    try {
      const { result } = await run.over;
      return kicked && result === -EINTR;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', kick);
    }
  }
}
