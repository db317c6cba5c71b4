/** Each mistake is refused by the kernel, and the message leads out of it. */
import { describe, expect, it } from 'vitest';
import { simulationCandidate } from '../../../lib/kernel/candidates.ts';
import { Kvm } from '../../../lib/kvm/kvm.ts';
import { needOf, TECHNOLOGY_NAMES } from '../../../lib/lifecycle/pairs.ts';
import { hostState } from '../../support/host-state.ts';
import { describeKvm, SHARED_GMEM } from '../../support/kvm.ts';
import { MISTAKES, messageOf } from './table.ts';

describe('mistakes', () => {
  it('are five for each technology', () => {
    for (const technology of TECHNOLOGY_NAMES)
      expect([technology, MISTAKES.filter((mistake) => mistake.technology === technology).length]).toEqual([
        technology,
        5,
      ]);
  });

  it.each(MISTAKES.map((mistake) => [mistake.technology, mistake.mistake, mistake] as const))(
    '%s: %s',
    async (technology, _, mistake) => {
      const sys = simulationCandidate().open(needOf('guest-memfd', technology));
      const kvm = Kvm.open(sys);
      const message = await messageOf(mistake, { sys, kvm });
      for (const part of mistake.shown) expect(message).toMatch(part);
      kvm.close();
    },
  );
});

describeKvm(
  'the same mistakes on the kernel at hand',
  ({ sys }) => {
    it.each(MISTAKES.filter(({ technology }) => technology === 'none'))('$mistake', async (mistake) => {
      const before = hostState(sys);
      const kvm = Kvm.open(sys);
      const message = await messageOf(mistake, { sys, kvm });
      for (const part of mistake.shown) expect(message).toMatch(part);
      kvm.close();
      expect(hostState(sys).descriptors).toEqual(before.descriptors);
    });
  },
  { arch: 'x64', ...SHARED_GMEM },
);
