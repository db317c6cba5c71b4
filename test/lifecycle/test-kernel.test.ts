/** The lifecycle on real private memory, in a test kernel, and the same on the simulation: step for step. */
import { describe, expect, it } from 'vitest';
import { simulate } from '../../lib/index.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { runLifecycle } from '../../lib/lifecycle/lifecycle.ts';
import type { LifecycleReport, Step } from '../../lib/lifecycle/words.ts';
import { MAIN } from '../support/cli.ts';
import { boot, noTestKernel, titleOf } from '../support/testvm.ts';

const reason = noTestKernel();

/** What a step comes to, whoever carries it out: no times, no addresses, no counts of calls that owners make. */
const essence = ({ name, from, to, outcome, errno, fault, enforcedBy, reported }: Step) => ({
  name,
  from,
  to,
  outcome,
  errno,
  fault,
  enforcedBy,
  reported,
});

const SIZE = 0x1_0000;

/** What that kernel can do: compare() says so, and why not the rest. */
const PAIRS = [
  ['guest-memfd', 'sw-protected'],
  ['unbound-first', 'sw-protected'],
  ['unbound-first', 'none'],
  ['guest-memfd-mmap', 'none'],
] as const;

describe.skipIf(reason !== undefined)(titleOf('lifecycles in a test kernel', reason), () => {
  it('are equal to those of the simulation, step for step', { timeout: 300_000 }, async () => {
    // One boot for all: under emulation that is most of the time.
    const each = PAIRS.map(
      ([design, technology]) => `"$@" --size ${SIZE} --design ${design} --technology ${technology}`,
    );
    const command = [process.execPath, MAIN, 'lifecycle', '--backend', 'kvm', '--json'];
    const script = each.join(' && echo , && ');
    const result = await boot(['sh', '-c', script, 'sh', ...command], { timeout: 240_000 });
    expect(result).toMatchObject({ outcome: 'passed', status: 0 });
    const reals = JSON.parse(`[${result.stdout}]`) as LifecycleReport[];
    expect(reals.length).toBe(PAIRS.length);
    for (const real of reals) {
      const { design, technology } = real;
      expect(real).toMatchObject({ backend: 'kvm', kernel: result.kernel.release, passed: true });
      const simulated = await runLifecycle(new Sys(simulate({ release: '7.3' })), { design, technology, size: SIZE });
      expect(real.steps.map(essence)).toEqual(simulated.steps.map(essence));
    }
  });
});
