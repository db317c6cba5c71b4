/** Scenarios of users: modules that export `SCENARIOS`, made by `topic`. */
import type { Scenario } from './scenario.ts';

function isScenario(value: unknown): value is Scenario {
  if (typeof value !== 'object' || value === null) return false;
  const { name, promise, needs, run } = value as Record<string, unknown>;
  return (
    typeof name === 'string' && typeof promise === 'string' && typeof needs === 'object' && typeof run === 'function'
  );
}

/** RangeError for a module that cannot be loaded or exports something else. */
export async function loadModules(urls: readonly string[]): Promise<Scenario[]> {
  const all: Scenario[] = [];
  for (const url of urls) {
    let loaded: Record<string, unknown>;
    try {
      loaded = (await import(url)) as Record<string, unknown>;
    } catch (error) {
      throw new RangeError(`${url}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    const { SCENARIOS: scenarios } = loaded;
    if (!Array.isArray(scenarios) || !scenarios.every(isScenario))
      throw new RangeError(
        `${url}: must export SCENARIOS, a list of scenarios as topic() of privmem/conformance makes them`,
      );
    all.push(...scenarios);
  }
  return all;
}
