/** What a differential run has to say: as data, and in words. */
import { type Failure, nextSeed, replay, type Suite, sequences, shrink } from './engine.ts';
import { asScript, PASTE_INTO } from './script.ts';
import type { SuiteName } from './suites.ts';

export interface DisagreementReport {
  /** Of the sequence: with `--commands 1` it leads straight there. */
  readonly seed: number;
  readonly what: string;
  readonly simulated: string;
  readonly real: string;
  /** To be pasted into a file of its own and run. */
  readonly script: string;
}

export interface SuiteReport {
  readonly suite: SuiteName;
  readonly commands: number;
  readonly seconds: number;
  readonly disagreements: readonly DisagreementReport[];
}

async function describe<C>(
  name: SuiteName,
  suite: Suite<C>,
  { seed, commands }: Failure<C>,
): Promise<DisagreementReport> {
  const short = await shrink(suite, commands);
  const found = await replay(suite, short);
  return {
    seed,
    what: found?.what ?? 'something that did not show again',
    simulated: found?.simulated ?? '-',
    real: found?.real ?? '-',
    script: asScript(name, short),
  };
}

export interface Limits {
  readonly seed: number;
  /** About so many commands. */
  readonly commands: number;
  /** Ends after so many disagreements: the first usually hides others. */
  readonly most: number;
}

/** One sequence with each turn, which tells the commands done; returns what came of it. */
export async function* runSuite<C>(
  name: SuiteName,
  suite: Suite<C>,
  limits: Limits,
): AsyncGenerator<number, SuiteReport> {
  const start = performance.now();
  const disagreements: DisagreementReport[] = [];
  let { seed } = limits;
  let commands = 0;
  while (commands < limits.commands && disagreements.length < limits.most) {
    const before = commands;
    const run = sequences(suite, seed, limits.commands - before);
    let turn = await run.next();
    for (; turn.done !== true; turn = await run.next()) {
      commands = before + turn.value;
      yield commands;
    }
    if (turn.value === undefined) break;
    commands += turn.value.commands.length;
    disagreements.push(await describe(name, suite, turn.value));
    seed = nextSeed(turn.value.seed);
  }
  return { suite: name, commands, seconds: Math.round(performance.now() - start) / 1000, disagreements };
}

/** In words, with the script. */
export const disagreementText = (suite: SuiteName, found: DisagreementReport): string =>
  `${suite}, seed ${found.seed}: the kernels disagree on ${found.what}
  simulated: ${found.simulated}
  real:      ${found.real}
Repeat it: npm run test:differential -- --suite ${suite} --seed ${found.seed} --commands 1
As a test, in ${PASTE_INTO}:

${found.script}`;

/** The whole run of one suite at once, for tests: the text of the first disagreement, or undefined. */
export async function search<C>(
  name: SuiteName,
  suite: Suite<C>,
  seed: number,
  commands: number,
): Promise<string | undefined> {
  const run = runSuite(name, suite, { seed, commands, most: 1 });
  let turn = await run.next();
  while (turn.done !== true) turn = await run.next();
  const [first] = turn.value.disagreements;
  return first === undefined ? undefined : disagreementText(name, first);
}
