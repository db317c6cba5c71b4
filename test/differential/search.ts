/** Looks for a disagreement by random sequences. */
import type { Command } from './commands.ts';
import { Generator } from './generate.ts';
import { type Host, pairOn } from './pair.ts';
import { Random } from './random.ts';
import { asScript, type Disagreement, lastLook, type MakePair, replay, shrink, step } from './run.ts';

/** Commands in fresh worlds: long enough that files and mappings get in each other's way. */
const SEQUENCE = 60;

/** One sequence: undefined, or the commands up to the first disagreement. */
function tryOne(make: MakePair, random: Random, hasVm: boolean): Command[] | undefined {
  const pair = make();
  const generator = new Generator(random, pair.real, hasVm);
  const commands: Command[] = [];
  try {
    for (let i = 0; i < SEQUENCE; i++) {
      const command = generator.next();
      commands.push(command);
      if (step(pair, command, i) !== undefined) return commands;
    }
    return lastLook(pair, SEQUENCE) === undefined ? undefined : commands;
  } finally {
    pair.simulated.end();
    pair.real.end();
  }
}

function report(seed: number, commands: readonly Command[], found: Disagreement | undefined): string {
  const what = found === undefined ? 'something that did not show again' : found.what;
  const sides = found === undefined ? '' : `\n  simulated: ${found.simulated}\n  real:      ${found.real}`;
  return `PRIVMEM_SEED=${seed}: the kernels disagree on ${what}${sides}\nafter\n${asScript(commands)}`;
}

/** Runs about `wanted` commands. The commands up to the first disagreement, and the seed that leads straight to it. */
export function firstFailure(
  make: MakePair,
  hasVm: boolean,
  seed: number,
  wanted: number,
): { readonly seed: number; readonly commands: Command[] } | undefined {
  for (let done = 0, run = 0; done < wanted; done += SEQUENCE, run++) {
    const seedOfRun = (seed + run * 1_000_003) >>> 0;
    const commands = tryOne(make, new Random(seedOfRun), hasVm);
    if (commands !== undefined) return { seed: seedOfRun, commands };
  }
  return undefined;
}

/** The report of the first disagreement, cut down; undefined when there is none. */
export function search(host: Host, seed: number, wanted: number): string | undefined {
  const make = pairOn(host);
  const found = firstFailure(make, host.vm !== undefined, seed, wanted);
  if (found === undefined) return undefined;
  const short = shrink(make, found.commands);
  return report(found.seed, short, replay(make, short));
}
