/** What a differential run has to say: as data, and in words. */
import { type Failure, replay, type Suite, sequences, shrink } from './engine.ts';
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
  readonly disagreement: DisagreementReport | null;
}

function describe<C>(name: SuiteName, suite: Suite<C>, { seed, commands }: Failure<C>): DisagreementReport {
  const short = shrink(suite, commands);
  const found = replay(suite, short);
  return {
    seed,
    what: found?.what ?? 'something that did not show again',
    simulated: found?.simulated ?? '-',
    real: found?.real ?? '-',
    script: asScript(name, short),
  };
}

/** Runs about `wanted` commands, one sequence with each turn; returns what came of it. */
export function* runSuite<C>(
  name: SuiteName,
  suite: Suite<C>,
  seed: number,
  wanted: number,
): Generator<number, SuiteReport> {
  const start = performance.now();
  let commands = 0;
  const run = sequences(suite, seed, wanted);
  for (;;) {
    const turn = run.next();
    const seconds = Math.round(performance.now() - start) / 1000;
    if (turn.done === true) {
      const disagreement = turn.value === undefined ? null : describe(name, suite, turn.value);
      return { suite: name, commands: commands + (turn.value?.commands.length ?? 0), seconds, disagreement };
    }
    commands = turn.value;
    yield commands;
  }
}

/** In words, with the script. */
export const disagreementText = (suite: SuiteName, found: DisagreementReport): string =>
  `${suite}, seed ${found.seed}: the kernels disagree on ${found.what}
  simulated: ${found.simulated}
  real:      ${found.real}
Repeat it: npm run test:differential -- --suite ${suite} --seed ${found.seed} --commands 1
As a test, in ${PASTE_INTO}:

${found.script}`;

/** The whole run of one suite at once, for tests: the text of the disagreement, or undefined. */
export function search<C>(name: SuiteName, suite: Suite<C>, seed: number, wanted: number): string | undefined {
  const run = runSuite(name, suite, seed, wanted);
  for (let turn = run.next(); ; turn = run.next()) {
    if (turn.done !== true) continue;
    const { disagreement } = turn.value;
    return disagreement === null ? undefined : disagreementText(name, disagreement);
  }
}
