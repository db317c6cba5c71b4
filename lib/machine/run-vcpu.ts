/**
 * One vCPU's turns in KVM_RUN. Handing an exit from the vCPU's thread to the event loop and back costs more than the exit itself, so while exits come
 * thick and fast the vCPU runs on the caller's thread, a millisecond at most at a time; a guest that computes or sleeps has its own thread.
 */
import { KernelError } from '../kernel/errors.ts';
import type { Exit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { KVM_EXIT } from '../uapi/index.ts';

/** The least limit that a run on the caller's thread can have. */
const LIMIT_MS = 1;
/** How long a burst keeps the event loop waiting. */
const BURST_MS = 4;
/** After bursts in which no exit came, so many exits are taken from the thread first. */
const MOST_PATIENCE = 256;

/** Exits that seldom come alone. */
const BURSTS: ReadonlySet<number> = new Set([KVM_EXIT.value.KVM_EXIT_IO, KVM_EXIT.value.KVM_EXIT_MMIO]);

/** KVM_RUN of a processor that was woken from waiting for its INIT gives EAGAIN: run again. arch/x86/kvm/x86.c */
function isRetry(error: unknown): boolean {
  return error instanceof KernelError && error.code === 'EAGAIN';
}

export class VcpuRunner {
  readonly vcpu: Vcpu;
  #patience = 0;
  #wait = 0;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  /** The next exit, from the vCPU's own thread. */
  async next(): Promise<Exit> {
    for (;;) {
      try {
        return await this.vcpu.run();
      } catch (error) {
        if (!isRetry(error)) throw error;
      }
    }
  }

  /** Undefined where the thread is to try again. */
  #runHere(): Exit | undefined {
    try {
      return this.vcpu.runSync({ timeoutMs: LIMIT_MS });
    } catch (error) {
      if (!isRetry(error)) throw error;
      return undefined;
    }
  }

  /** After an exit of those that seldom come alone, runs here while more come at once; `answer` says whether to go on. False when it said no. */
  burst(after: Exit, answer: (exit: Exit) => boolean): boolean {
    if (!BURSTS.has(after.reason)) return true;
    if (this.#wait > 0) {
      this.#wait--;
      return true;
    }
    const until = performance.now() + BURST_MS;
    for (let exits = 0; ; exits++) {
      const exit = this.#runHere();
      if (exit === undefined || exit.name === 'KVM_EXIT_INTR') {
        this.#patience = exits === 0 ? Math.min(MOST_PATIENCE, Math.max(1, this.#patience * 2)) : 0;
        this.#wait = this.#patience;
        return true;
      }
      if (!answer(exit)) return false;
      if (performance.now() > until) return true;
    }
  }
}
