/** Runs commands on two kernels, finds the first place at which they differ, and cuts a sequence that differs down to what is needed. */
import { Random } from './random.ts';

export interface Disagreement {
  /** Index of the command after which it showed. */
  readonly index: number;
  readonly what: 'the outcome' | 'what is seen afterwards';
  readonly simulated: string;
  readonly real: string;
}

/** Line by line. */
export type Seen = readonly [simulated: readonly string[], real: readonly string[]];

/** Two kernels with the same things in them. */
export interface Worlds<C> {
  /** Carries out a command on both: what came of it, then what can be seen, as lines that must be equal. */
  step(command: C): Seen | Promise<Seen>;
  /** What only a last look may see, since it changes something. */
  lastLook(): Seen;
  /** The next command of a random sequence, which may depend on what there is. */
  generator(random: Random): { next(): C };
  /** Gives everything back. */
  end(): void | Promise<void>;
}

export interface Suite<C> {
  /** Commands in fresh worlds: long enough that things get in each other's way. */
  readonly sequence: number;
  begin(): Worlds<C>;
}

function compare(index: number, [simulated, real]: Seen, first: Disagreement['what']): Disagreement | undefined {
  for (let i = 0; i < Math.max(simulated.length, real.length); i++) {
    if (simulated[i] === real[i]) continue;
    const what = i === 0 ? first : 'what is seen afterwards';
    return { index, what, simulated: simulated[i] ?? '-', real: real[i] ?? '-' };
  }
  return undefined;
}

/** The whole sequence in fresh worlds. */
export async function replay<C>(suite: Suite<C>, commands: readonly C[]): Promise<Disagreement | undefined> {
  const worlds = suite.begin();
  try {
    for (const [index, command] of commands.entries()) {
      const found = compare(index, await worlds.step(command), 'the outcome');
      if (found !== undefined) return found;
    }
    return compare(commands.length - 1, worlds.lastLook(), 'what is seen afterwards');
  } finally {
    await worlds.end();
  }
}

/** One random sequence: how many commands it had, and the commands up to the first disagreement when there was one. */
async function tryOne<C>(suite: Suite<C>, random: Random): Promise<{ readonly count: number; readonly failed?: C[] }> {
  const worlds = suite.begin();
  const commands: C[] = [];
  try {
    const generator = worlds.generator(random);
    while (commands.length < suite.sequence) {
      const command = generator.next();
      commands.push(command);
      if (compare(0, await worlds.step(command), 'the outcome') !== undefined) break;
      if (commands.length < suite.sequence) continue;
      if (compare(0, worlds.lastLook(), 'the outcome') === undefined) return { count: commands.length };
    }
    return { count: commands.length, failed: commands };
  } finally {
    await worlds.end();
  }
}

/** Takes out whatever is not needed for a disagreement to show: halves first, then single commands. */
export async function shrink<C>(suite: Suite<C>, commands: readonly C[]): Promise<C[]> {
  let rest = [...commands];
  for (let size = Math.ceil(rest.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < rest.length; ) {
      const without = [...rest.slice(0, at), ...rest.slice(at + size)];
      if ((await replay(suite, without)) !== undefined) rest = without;
      else at += size;
    }
  }
  return rest;
}

export interface Failure<C> {
  /** Leads straight to the sequence. */
  readonly seed: number;
  readonly commands: readonly C[];
}

/** Of the sequence after that of `seed`. */
export const nextSeed = (seed: number): number => (seed + 1_000_003) >>> 0;

/** One sequence after the other, until about `wanted` commands are done: yields how many, and returns the first failure. */
export async function* sequences<C>(
  suite: Suite<C>,
  seed: number,
  wanted: number,
): AsyncGenerator<number, Failure<C> | undefined> {
  for (let done = 0, at = seed; done < wanted; at = nextSeed(at)) {
    const { count, failed } = await tryOne(suite, new Random(at));
    if (failed !== undefined) return { seed: at, commands: failed };
    done += count;
    yield done;
  }
  return undefined;
}

/** The first failure of about `wanted` commands. */
export async function firstFailure<C>(suite: Suite<C>, seed: number, wanted: number): Promise<Failure<C> | undefined> {
  const run = sequences(suite, seed, wanted);
  for (let turn = await run.next(); ; turn = await run.next()) if (turn.done === true) return turn.value;
}
