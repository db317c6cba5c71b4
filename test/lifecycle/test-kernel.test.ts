/** The lifecycles that real private memory allows, in a test kernel, and the same on the simulation: step for step. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { simulationCandidate } from '../../lib/kernel/candidates.ts';
import { type Comparison, compare } from '../../lib/lifecycle/compare.ts';
import type { Step } from '../../lib/lifecycle/words.ts';
import { MAIN } from '../support/cli.ts';
import { boot, noTestKernel, titleOf } from '../support/testvm.ts';

const reason = noTestKernel();

/** What a step comes to, whoever carries it out: no times, no addresses, no counts of calls that owners make. */
const essence = ({ name, from, to, outcome, errno, fault, enforcedBy, reported, memory }: Step) => ({
  ...{ name, from, to, outcome, errno, fault, enforcedBy, reported, memory },
});

const SIZE = 0x1_0000;
/** What such a kernel has: default VMs and software-protected ones. */
const TECHNOLOGIES = ['none', 'sw-protected'];

/** One process for all: under emulation its start is what takes time. */
const script = (modules: string): string => `
  import { compare } from '${modules}/lifecycle/compare.js';
  import { hostCandidate } from '${modules}/kernel/candidates.js';
  const options = { kernels: [hostCandidate()], size: ${SIZE}, technologies: ${JSON.stringify(TECHNOLOGIES)} };
  console.log(JSON.stringify(await compare(options)));
`;

describe.skipIf(reason !== undefined)(titleOf('lifecycles in a test kernel', reason), () => {
  it('are equal to those of the simulation, step for step', { timeout: 420_000 }, async () => {
    const modules = path.dirname(path.dirname(MAIN));
    const command = [process.execPath, '--input-type=module', '-e', script(modules)];
    const result = await boot(command, { timeout: 360_000 });
    expect(result).toMatchObject({ outcome: 'passed', status: 0 });
    const { cells } = JSON.parse(result.stdout) as Comparison;
    const done = cells.filter(({ supported }) => supported);
    expect(done.map(({ design, technology }) => `${design} ${technology}`)).toEqual([
      ...['unbound-first none', 'unbound-first sw-protected', 'guest-memfd sw-protected', 'guest-memfd-mmap none'],
    ]);
    for (const real of done) {
      const { design, technology } = real;
      expect(real).toMatchObject({ backend: 'kvm', kernel: result.kernel.release, passed: true });
      const pair = { designs: [design], technologies: [technology], size: SIZE };
      const { cells: simulated } = await compare({ ...pair, kernels: [simulationCandidate()] });
      expect([design, technology, real.steps.map(essence)]).toEqual([
        ...[design, technology, simulated[0]?.steps.map(essence)],
      ]);
    }
    // Pairs that this kernel refuses say why, as the simulation of it does.
    for (const { supported, reason: why } of cells) if (!supported) expect(why).toMatch(/^this host: /);
  });
});
