/** The planted faults as data: they can be applied, and the scenarios that shall notice them exist. */
import { describe, expect, it } from 'vitest';
import { SCENARIOS } from '../../lib/conformance/scenarios/index.ts';
import { MUTANTS } from './mutants/index.ts';

const names = new Set(SCENARIOS.map(({ name }) => name));

describe.each(Object.entries(MUTANTS))('planted faults: %s', (_, mutants) => {
  it('have names of their own', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  });

  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))('%s', (__, { original, replacement, expected }) => {
    expect(replacement).not.toBe(original);
    expect(names).toContain(expected);
  });
});
