/** The planted faults as data: they can be applied to the sources of 7.3, and the scenarios that shall notice them exist. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SCENARIOS } from '../../lib/conformance/scenarios/index.ts';
import { originalFile } from '../../lib/testvm/build/variant.ts';
import { listKernels } from '../../lib/testvm/store.ts';
import { foundBy } from './found-by.mjs';
import { MUTANTS } from './mutants/index.ts';

const names = new Set(SCENARIOS.map(({ name }) => name));

/** Where the sources of a 7.3 kernel lie that was built here. */
const sources = listKernels().find(
  ({ name, arch, tree }) => name === '7.3' && arch === 'x64' && existsSync(tree),
)?.tree;
if (sources === undefined)
  console.warn(
    'whether the planted faults can be applied is NOT checked: no sources of 7.3 here (`privmem vm --build 7.3`)',
  );

describe.each(Object.entries(MUTANTS))('planted faults: %s', (_, mutants) => {
  it('have names of their own', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  });

  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))('%s', (__, { original, replacement, expected }) => {
    expect(replacement).not.toBe(original);
    expect(names).toContain(expected);
  });

  it.skipIf(sources === undefined)(
    `can be applied: what they replace stands once in its file${sources === undefined ? ' (skipped: no sources of 7.3)' : ''}`,
    () => {
      const texts = new Map<string, string>();
      const textOf = (file: string): string => {
        const text = texts.get(file) ?? readFileSync(originalFile(dirname(sources ?? ''), file, undefined), 'utf8');
        texts.set(file, text);
        return text;
      };
      const occurrences = mutants.map(({ name, file, original }) => [name, textOf(file).split(original).length - 1]);
      expect(occurrences.filter(([, count]) => count !== 1)).toEqual([]);
    },
  );
});

describe('a run on a kernel with a fault', () => {
  const all = () => true;
  const suite = (...outcomes: readonly (readonly [name: string, outcome: string])[]) => ({
    outcome: 'exited',
    console: '',
    stdout: `${JSON.stringify({ scenarios: outcomes.map(([name, outcome]) => ({ name, outcome })) })}`,
  });
  const died = (console: string) => ({ outcome: 'panicked', console, stdout: '' });

  it('is found by a scenario that fails, unless that fails without the fault too', () => {
    const result = suite(['a/b/c', 'passed'], ['a/b/d', 'failed'], ['a/b/e', 'failed']);
    expect(foundBy(result, all)).toBe('a/b/d');
    expect(foundBy(result, (name) => name !== 'a/b/d')).toBe('a/b/e');
    expect(foundBy(suite(['a/b/c', 'passed']), all)).toBeUndefined();
  });

  it('that dies is found by the scenario under way, and by none before the first began', () => {
    const log = '[ 1.0] privmem: a/b/c\r\n[ 1.1] privmem: a/b/d\r\n[ 1.2] Kernel panic - not syncing: x';
    expect(foundBy(died(log), all)).toBe('a/b/d (the kernel panicked)');
    expect(foundBy({ ...died(`${log}\r\nprivmem: a/b/e`), outcome: 'oopsed' }, all)).toBe('a/b/d (the kernel oopsed)');
    expect(foundBy(died(log), (name) => name === 'a/b/c')).toBeUndefined();
    expect(() => foundBy(died('[ 0.1] Kernel panic - not syncing: VFS'), all)).toThrow(/before any scenario began/);
  });
});
