/** Arbitrary values in every argument of every call: the process must answer each and be there at the end. */
import { expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import { childScript } from './host.ts';

const RUNS = 30_000;
const LIMIT_MS = 60_000;

// One seed each time new (or PRIVMEM_SEED), the others always the same. The output names it.
const seeds: Record<string, string>[] = [{}, { PRIVMEM_SEED: '1' }, { PRIVMEM_SEED: '20240607' }];

async function survives(script: string, env: Record<string, string>): Promise<void> {
  const result = await runChild(childScript(script), {
    env: { PRIVMEM_FUZZ_RUNS: String(RUNS), ...env },
    limitMs: LIMIT_MS,
  });
  expect(result).toMatchObject({ status: 0, signal: null, timedOut: false, stderr: '' });
  const counts: unknown = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '');
  expect(counts).toMatchObject({
    values: expect.any(Number),
    errnos: expect.any(Number),
    refusals: expect.any(Number),
  });
}

it.concurrent.each(seeds)(`survives ${RUNS} calls %o`, (env) => survives('fuzz.cjs', env), LIMIT_MS + 5000);

it.concurrent.each(seeds)(
  `the addon's own functions survive ${RUNS} calls %o`,
  (env) => survives('fuzz-addon.cjs', env),
  LIMIT_MS + 5000,
);
