/**
 * The lifecycles that real private memory allows, in a test kernel, and the same on the simulation: step for step. pKVM is wherever PRIVMEM_PKVM_VM says:
 * a command that runs its arguments on arm64 with kvm-arm.mode=protected, with this directory as the working directory.
 */
import { spawnSync } from 'node:child_process';
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
const MODULES = path.dirname(path.dirname(MAIN));

/** One process for all: under emulation its start is what takes time. */
const script = (modules: string, technologies: readonly string[]): string => `
  import { compare } from '${modules}/lifecycle/compare.js';
  import { hostCandidate } from '${modules}/kernel/candidates.js';
  const options = { kernels: [hostCandidate()], size: ${SIZE}, technologies: ${JSON.stringify(technologies)} };
  console.log(JSON.stringify(await compare(options)));
`;

/** Each cell that was carried out is what the simulation comes to. */
async function checkCells({ cells }: Comparison, release: string): Promise<void> {
  for (const real of cells.filter(({ supported }) => supported)) {
    const { design, technology } = real;
    expect(real).toMatchObject({ backend: 'kvm', kernel: release, passed: true });
    const pair = { designs: [design], technologies: [technology], size: SIZE };
    const { cells: simulated } = await compare({ ...pair, kernels: [simulationCandidate()] });
    expect([design, technology, real.steps.map(essence)]).toEqual([
      ...[design, technology, simulated[0]?.steps.map(essence)],
    ]);
  }
  // Pairs that the kernel refuses say why.
  for (const { supported, reason: why } of cells) if (!supported) expect(why).toMatch(/^this host: /);
}

describe.skipIf(reason !== undefined)(titleOf('lifecycles in a test kernel', reason), () => {
  it('are equal to those of the simulation, step for step', { timeout: 420_000 }, async () => {
    // Default VMs and software-protected ones are what such a kernel has.
    const program = script(MODULES, ['none', 'sw-protected']);
    const result = await boot([process.execPath, '--input-type=module', '-e', program], { timeout: 360_000 });
    expect(result).toMatchObject({ outcome: 'passed', status: 0 });
    const comparison = JSON.parse(result.stdout) as Comparison;
    const done = comparison.cells.filter(({ supported }) => supported);
    expect(done.map(({ design, technology }) => `${design} ${technology}`)).toEqual([
      ...['unbound-first none', 'unbound-first sw-protected', 'guest-memfd sw-protected', 'guest-memfd-mmap none'],
    ]);
    await checkCells(comparison, result.kernel.release ?? '');
  });
});

const protectedVm = process.env.PRIVMEM_PKVM_VM;
const noPkvm = protectedVm === undefined ? 'PRIVMEM_PKVM_VM names no kernel to run on' : undefined;

describe.skipIf(noPkvm !== undefined)(titleOf('lifecycles on real pKVM', noPkvm), () => {
  it('are equal to those of the simulation, step for step', { timeout: 1_200_000 }, async () => {
    const program = script(MODULES, ['pkvm']);
    const args = ['-c', `${protectedVm} "$@"`, 'sh', 'node', '--input-type=module', '-e', program];
    const { status, stdout } = spawnSync('sh', args, { encoding: 'utf8', maxBuffer: 1 << 26 });
    expect(status).toBe(0);
    const comparison = JSON.parse(stdout.split('\n').find((line) => line.startsWith('{')) ?? '') as Comparison;
    const [done] = comparison.cells.filter(({ supported }) => supported);
    expect(done?.design).toBe('unbound-first');
    await checkCells(comparison, done?.kernel ?? '');
  });
});
