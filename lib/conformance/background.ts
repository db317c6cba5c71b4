/** A guest that goes on by itself while the host does something, and tells how far it is through memory of its own. */
import type { X64Builder } from '../guest/x64/builder.ts';
import type { Exit } from '../kvm/exits.ts';
import { Broken, countCheck } from './check.ts';
import type { Guest, GuestRun } from './guest.ts';
import { AREA, PAGE } from './two-sided.ts';

/** Guest-physical page 0 is free: one line per vCPU. */
const LINE = 64;
const at = (id: number) => ({ stop: 0x40 + id * LINE, rounds: 0x48 + id * LINE, last: 0x50 + id * LINE });
const PATIENCE_MS = 6000;

/** Lets timers, messages and simulated vCPUs have their turn. */
export const breathe = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Repeats `body` until the host stops it; what `body` gives can be seen from outside. */
export function untilStopped(g: X64Builder, id: number, body: () => Parameters<X64Builder['store']>[1]): void {
  const { stop, rounds, last } = at(id);
  const round = g.variable(0);
  g.loopWhile(
    () => g.load(stop).eq(0),
    () => {
      g.store(last, body());
      round.set(round.add(1));
      g.store(rounds, round);
    },
  );
}

/** A spurious fault: an attribute changed between KVM's two looks at it. Plain re-entry answers it. */
export const spurious =
  (gpa = AREA, size = PAGE) =>
  (exit: Exit): boolean =>
    exit.name === 'KVM_EXIT_MEMORY_FAULT' && exit.gpa >= gpa && exit.gpa < gpa + size && exit.size === PAGE;

export class Background {
  readonly #guest: Guest;
  readonly #id: number;
  readonly #run: Promise<GuestRun>;
  #ended: GuestRun | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** @param goOn exits that are dealt with: the vCPU is run again. */
  constructor(guest: Guest, write: (g: X64Builder) => void, id = 0, goOn: (exit: Exit) => boolean = () => false) {
    this.#guest = guest;
    this.#id = id;
    const { stop, rounds } = at(id);
    guest.low.writeU64(stop, 0);
    guest.low.writeU64(rounds, 0);
    guest.load(write, id);
    this.#run = this.#go(goOn);
    this.#run.then(
      (run) => {
        this.#ended = run;
      },
      (error: unknown) => {
        this.#failure = { error };
      },
    );
  }

  async #go(goOn: (exit: Exit) => boolean): Promise<GuestRun> {
    const events: GuestRun['events'][number][] = [];
    const reports = new Map<number, bigint>();
    for (;;) {
      const run = await this.#guest.resume(this.#id);
      events.push(...run.events);
      for (const [tag, value] of run.reports) reports.set(tag, value);
      if (!goOn(run.last)) return { last: run.last, events, reports };
    }
  }

  get rounds(): bigint {
    return this.#guest.low.readU64(at(this.#id).rounds);
  }

  /** What the last round gave. */
  get last(): bigint {
    return this.#guest.low.readU64(at(this.#id).last);
  }

  /** Until at least so many rounds were begun and ended from now on. */
  async progress(rounds = 1): Promise<void> {
    // The round under way began before.
    countCheck();
    const goal = this.rounds + BigInt(rounds) + 1n;
    const deadline = performance.now() + PATIENCE_MS;
    while (this.rounds < goal) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#ended !== undefined)
        throw new Broken('the guest', 'that it goes on', this.#ended.last.name ?? 'an exit');
      if (performance.now() > deadline) throw new Broken('the guest', 'that it goes on', 'no progress');
      await breathe();
    }
  }

  /** The end, without asking for it. */
  end(): Promise<GuestRun> {
    return this.#run;
  }

  /** Asks the guest to leave its loop, and gives its end. */
  stop(): Promise<GuestRun> {
    this.#guest.low.writeU64(at(this.#id).stop, 1);
    return this.#run;
  }
}
