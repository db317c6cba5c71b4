/** Which behaviours differ between two runs of the suite. */
import type { ConformanceReport } from './report.ts';
import type { ScenarioResult } from './run.ts';

export interface Difference {
  readonly name: string;
  /** Undefined: this run has no such scenario. */
  readonly a: Pick<ScenarioResult, 'outcome' | 'detail'> | undefined;
  readonly b: Pick<ScenarioResult, 'outcome' | 'detail'> | undefined;
}

/** By name, in the order of `a`, then what only `b` has. Only outcomes count: details hold addresses. */
export function compareReports(a: ConformanceReport, b: ConformanceReport): Difference[] {
  const inB = new Map(b.scenarios.map((result) => [result.name, result]));
  const inA = new Set(a.scenarios.map(({ name }) => name));
  const differences: Difference[] = [];
  for (const result of a.scenarios) {
    const other = inB.get(result.name);
    if (other?.outcome !== result.outcome) differences.push({ name: result.name, a: result, b: other });
  }
  for (const result of b.scenarios)
    if (!inA.has(result.name)) differences.push({ name: result.name, a: undefined, b: result });
  return differences;
}

const OUTCOMES: readonly unknown[] = ['passed', 'failed', 'skipped'];

/** Checks a parsed document. TypeError naming the first place that does not fit. */
export function parseReport(value: unknown, name: string): ConformanceReport {
  const bad = (what: string): never => {
    throw new TypeError(`${name}: ${what}; it must be the JSON document of privmem conformance`);
  };
  if (typeof value !== 'object' || value === null) return bad('not an object');
  const { scenarios, kernel, backend, arch } = value as Record<string, unknown>;
  for (const [key, text] of Object.entries({ kernel, backend, arch }))
    if (typeof text !== 'string') bad(`"${key}" is no string`);
  if (!Array.isArray(scenarios)) return bad('"scenarios" is no list');
  for (const [i, item] of scenarios.entries()) {
    const { name: scenario, outcome } = (item ?? {}) as Record<string, unknown>;
    if (typeof scenario !== 'string') bad(`scenarios[${i}] has no name`);
    if (!OUTCOMES.includes(outcome)) bad(`scenarios[${i}] (${String(scenario)}) has no outcome`);
  }
  return value as ConformanceReport;
}
