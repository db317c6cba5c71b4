/** The differential tests are not blind: each mistake planted in the simulation is found within so many commands. */
import { describe, expect, it } from 'vitest';
import { firstFailure } from './engine.ts';
import { faultsOf, findFault, MOST_COMMANDS } from './find-faults.ts';
import { openHost } from './pair.ts';
import { lacking, SUITES, type SuiteName, suiteOf } from './suites.ts';

const SEED = 1;
const host = openHost();

describe.each(SUITES)('mistakes planted in %s', (name) => {
  const reason = typeof host === 'string' ? host : lacking(host, name);
  if (typeof host === 'string' || reason !== undefined) {
    console.warn(`SKIPPED mistakes planted in ${name}: ${reason}`);
    it.skip(`are found [SKIPPED: ${reason}]`, () => {});
    return;
  }
  it('none planted, none found', async () => {
    const run = <N extends SuiteName>(suite: N) => firstFailure(suiteOf(host, suite), SEED, 1200);
    expect(await run(name)).toBeUndefined();
  });
  it.each(faultsOf(host, name))(`$name: within ${MOST_COMMANDS} commands`, { timeout: 120_000 }, async (fault) => {
    expect((await findFault(host, fault, SEED)).foundAfter).not.toBeNull();
  });
});
