/** The differential tests are not blind: each mistake planted in the simulation is found within a few thousand commands. */
import { describe, expect, it } from 'vitest';
import { FAULTS } from './faults.ts';
import { openHost, pairOn } from './pair.ts';
import { firstFailure } from './search.ts';

const SEED = 1;
const COMMANDS = 20_000;
const title = 'planted faults';

const host = openHost();
if (typeof host === 'string') {
  console.warn(`SKIPPED ${title}: ${host}`);
  it.skip(`${title} [SKIPPED: ${host}]`, () => {});
} else {
  const make = pairOn(host);
  const hasVm = host.vm !== undefined;
  describe(title, () => {
    it('none planted, none found', () => {
      expect(firstFailure(make, hasVm, SEED, 1200)).toBeUndefined();
    });
    it.each(FAULTS.filter(({ gmem }) => hasVm || !gmem))('$name', { timeout: 60_000 }, ({ plant }) => {
      const take = plant();
      try {
        expect(firstFailure(make, hasVm, SEED, COMMANDS)).toBeDefined();
      } finally {
        take();
      }
    });
  });
}
