/** Runs scenarios one after the other on one kernel, in this process. */
import type { Sys } from '../kernel/sys.ts';
import { Broken, checksMade } from './check.ts';
import { Context } from './context.ts';
import { Environment, missing } from './needs.ts';
import { Random } from './random.ts';
import { DEFAULT_TIMEOUT_MS, type Scenario } from './scenario.ts';

export type ScenarioOutcome = 'passed' | 'failed' | 'skipped';

export interface ScenarioResult {
  readonly name: string;
  readonly outcome: ScenarioOutcome;
  /** What was broken, or what is missing. */
  readonly detail?: string;
  readonly millis: number;
}

export interface RunOptions {
  /** Of the random numbers. */
  readonly seed: number;
  /** How often each scenario is carried out; the first failure is its result. Default 1. */
  readonly repeat?: number;
  readonly signal?: AbortSignal;
}

class TooLong extends Error {}

/** A scenario that looks at nothing passes on every kernel. */
class Idle extends Error {
  constructor() {
    super(
      'it checked nothing: expect something of the kernel, by accepted, refused, faulted, same, holds or filledWith of its context',
    );
  }
}

function words(error: unknown): string {
  if (error instanceof Broken) return error.message;
  if (error instanceof TooLong || error instanceof Idle) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

async function once(scenario: Scenario, environment: Environment, random: Random, signal?: AbortSignal): Promise<void> {
  const limit = scenario.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new TooLong(`not done after ${limit} ms`)), limit);
  const all = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
  const context = new Context(environment, scenario.needs.vmType ?? 'default', random, all);
  let failure: { error: unknown } | undefined;
  const checks = checksMade();
  try {
    // A body that never settles must not keep the suite; what it opened is closed under it.
    await Promise.race([
      scenario.run(context),
      new Promise<never>((_, reject) => all.addEventListener('abort', () => reject(all.reason), { once: true })),
    ]);
    if (checksMade() === checks) throw new Idle();
  } catch (error) {
    failure = { error };
  } finally {
    clearTimeout(timer);
  }
  try {
    context.close();
  } catch (error) {
    failure ??= { error };
  }
  if (failure !== undefined) throw failure.error;
}

export class Runner {
  readonly environment: Environment;
  readonly #options: RunOptions;

  constructor(sys: Sys, options: RunOptions) {
    this.environment = new Environment(sys);
    this.#options = options;
  }

  /** Never rejects but for the signal's reason. */
  async run(scenario: Scenario): Promise<ScenarioResult> {
    const { seed, repeat = 1, signal } = this.#options;
    const { name } = scenario;
    const begin = performance.now();
    const result = (outcome: ScenarioOutcome, detail?: string): ScenarioResult => ({
      name,
      outcome,
      ...(detail === undefined ? {} : { detail }),
      millis: performance.now() - begin,
    });
    let round = 0;
    try {
      const lack = missing(scenario.needs, this.environment);
      if (lack !== undefined) return result('skipped', lack);
      for (; round < repeat; round++) await once(scenario, this.environment, new Random(seed + round, name), signal);
      return result('passed');
    } catch (error) {
      signal?.throwIfAborted();
      return result('failed', repeat > 1 ? `round ${round + 1}, seed ${seed + round}: ${words(error)}` : words(error));
    }
  }

  close(): void {
    this.environment.close();
  }
}
