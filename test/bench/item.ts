/** What is measured: items, each with one batch in C and contestants that do the same work. */

import type { Reference } from './reference.ts';

/** Makes so many operations and returns how many nanoseconds they took, set-up not counted. */
export type Batch = (ops: number) => number | Promise<number>;

/** A batch that can be run now, with everything it needs open. */
export interface Ready {
  readonly batch: Batch;
  close(): void;
}

export interface Contestant {
  /** What does the work: `addon`, `strict`, … */
  readonly name: string;
  /** The most that it may cost, as a multiple of C. */
  readonly aim?: number;
  /** For operations that leave something behind until the event loop turns. */
  readonly mostOps?: number;
  /** Throws when it cannot be had on this host; the message says why. Gets the C program, for what is C itself. */
  open(c: Reference | string): Ready | Promise<Ready>;
}

export interface Item {
  /** What `--filter` looks at: `ioctl`, `copy-out-64KiB`, … */
  readonly id: string;
  readonly title: string;
  /** The batch of the C program, and its bytes. Left out for what has no counterpart in C. */
  readonly reference?: readonly [batch: string, bytes: number];
  readonly contestants: readonly Contestant[];
}

/** Times a loop. The loop is the caller's own, so that the engine compiles it for what it calls and nothing else. */
export function timed(loop: (ops: number) => void): Batch {
  return (ops) => {
    const start = process.hrtime.bigint();
    loop(ops);
    return Number(process.hrtime.bigint() - start);
  };
}

/** Like {@link timed}, for loops that wait. */
export function timedAsync(loop: (ops: number) => Promise<void>): Batch {
  return async (ops) => {
    const start = process.hrtime.bigint();
    await loop(ops);
    return Number(process.hrtime.bigint() - start);
  };
}

/** A batch of the C program; `c` is a string, the reason, when there is none. */
export function inC(c: Reference | string, batch: string, bytes: number): Ready {
  if (typeof c === 'string') throw new Error(c);
  return { batch: (ops) => c.batch(batch, ops, bytes), close: () => {} };
}

/** A measured call that does not do its work makes the numbers worthless. */
export function mustBe(got: number, want: number, what: string): void {
  if (got !== want) throw new Error(`${what} gave ${got}, not ${want}`);
}
