/** All scenarios, in the order in which they run. */
import type { Scenario } from '../scenario.ts';
import { guestMemfdCreate } from './guest-memfd/create.ts';

export const SCENARIOS: readonly Scenario[] = [...guestMemfdCreate];

/** Those whose name contains one of the filters; a filter with `*` is a pattern for the whole name. All, without filters. */
export function selectScenarios(
  filters: readonly string[],
  from: readonly Scenario[] = SCENARIOS,
): readonly Scenario[] {
  if (filters.length === 0) return from;
  const tests = filters.map((filter) => {
    if (!filter.includes('*')) return (name: string) => name.includes(filter);
    const pattern = new RegExp(`^${filter.split('*').map(literally).join('.*')}$`);
    return (name: string) => pattern.test(name);
  });
  return from.filter(({ name }) => tests.some((test) => test(name)));
}

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
