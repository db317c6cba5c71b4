/** The planted faults as data: they can be applied, and the scenarios that shall notice them exist. */
import { describe, expect, it } from 'vitest';
import { SCENARIOS } from '../../lib/conformance/scenarios/index.ts';
import { GUEST_MEMFD_MUTANTS } from './mutants/guest-memfd.ts';
import { MEMSLOT_MUTANTS } from './mutants/memslot.ts';
import { PRIVATE_MEMORY_MUTANTS } from './mutants/private-memory.ts';

const names = new Set(SCENARIOS.map(({ name }) => name));

describe.each([
  ['private memory', PRIVATE_MEMORY_MUTANTS],
  ['guest_memfd', GUEST_MEMFD_MUTANTS],
  ['memslots', MEMSLOT_MUTANTS],
] as const)('planted faults: %s', (_, mutants) => {
  it('have names of their own', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  });

  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))('%s', (__, { original, replacement, expected }) => {
    expect(replacement).not.toBe(original);
    expect(names).toContain(expected);
  });
});
