/** The result of a suite, as the JSON document has it. */
import type { ScenarioOutcome, ScenarioResult } from './run.ts';
import type { SuiteRun } from './supervise.ts';

export interface ConformanceReport {
  readonly backend: 'kvm' | 'sim';
  readonly kernel: string;
  readonly arch: string;
  /** Of the random numbers: the same seed repeats the run. */
  readonly seed: number;
  readonly totals: Readonly<Record<ScenarioOutcome, number>>;
  readonly scenarios: readonly ScenarioResult[];
  /** Left out after the first failure (`--bail`). */
  readonly notRun?: readonly string[];
}

export function reportOf({ results, notRun, ...identity }: SuiteRun, seed: number): ConformanceReport {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  for (const { outcome } of results) totals[outcome]++;
  const scenarios = results.map((result) => ({ ...result, millis: Math.round(result.millis * 10) / 10 }));
  return { ...identity, seed, totals, scenarios, ...(notRun.length === 0 ? {} : { notRun }) };
}

/** First part of a name. */
export const areaOf = (name: string): string => name.split('/', 1)[0] ?? name;

/** Results by key, in the order in which keys first come. */
export function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}
