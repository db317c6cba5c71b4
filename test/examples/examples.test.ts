/** Every example, on the simulation and on the best real kernel for it. They check themselves: an assertion that fails is an exit status. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { noKvm, ROOT, run } from '../support/cli.ts';
import { boot, noTestKernel, titleOf } from '../support/testvm.ts';

const DIRECTORY = path.join(ROOT, 'examples');
const EXAMPLES = readdirSync(DIRECTORY).filter((name) => name.endsWith('.mjs'));
const MINUTES = 60_000;

/** What a real kernel must have for it. Private memory is in the test kernel; pKVM wherever PRIVMEM_PKVM_VM says. */
const NEEDS: Readonly<Record<string, 'kvm' | 'private memory' | 'pkvm' | 'sev-snp' | 'tdx'>> = {
  'balloon.mjs': 'private memory',
  'bounce-buffer.mjs': 'private memory',
  'cloud-hypervisor-snp.mjs': 'sev-snp',
  'dirty-log.mjs': 'private memory',
  'handover.mjs': 'kvm',
  'live-conversion.mjs': 'private memory',
  'pkvm-swiotlb.mjs': 'pkvm',
  'qemu-ram.mjs': 'private memory',
  'tdx-td-hob.mjs': 'tdx',
};
const having = (need: string): string[] => EXAMPLES.filter((name) => NEEDS[name] === need);

it('names a real kernel for every example, and each is short enough to be read', () => {
  expect(Object.keys(NEEDS).sort()).toEqual([...EXAMPLES].sort());
  for (const name of EXAMPLES) {
    const lines = readFileSync(path.join(DIRECTORY, name), 'utf8').trimEnd().split('\n');
    expect([name, lines.length < 80]).toEqual([name, true]);
  }
});

describe('on the simulation', () => {
  it.each(EXAMPLES)('%s', { timeout: MINUTES }, (name) => {
    const { status, stdout, stderr } = run(process.execPath, [path.join(DIRECTORY, name), 'sim'], { cwd: ROOT });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).not.toBe('');
  });
});

const without = noKvm();
describe.skipIf(without !== undefined)(titleOf('on the KVM of this host', without), () => {
  it.each(having('kvm'))('%s', { timeout: MINUTES }, (name) => {
    const { status, stderr } = run(process.execPath, [path.join(DIRECTORY, name), 'kvm'], { cwd: ROOT });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
});

const noKernel = noTestKernel();
describe.skipIf(noKernel !== undefined)(titleOf('in a test kernel', noKernel), () => {
  const names = [...having('private memory'), ...having('kvm')];
  it(names.join(', '), { timeout: 6 * MINUTES }, async () => {
    // One boot for all: under emulation that is most of the time.
    const script = 'for e; do echo "$e"; "$0" "examples/$e" kvm || exit 1; done';
    const command = ['sh', '-c', script, process.execPath, ...names];
    const { outcome, stdout, stderr } = await boot(command, { cwd: ROOT, cpus: 4, timeout: 5 * MINUTES });
    expect({ outcome, stderr }).toEqual({ outcome: 'passed', stderr: '' });
    expect(stdout.split('\n').filter((line) => line.endsWith('.mjs'))).toEqual(names);
  });
});

const pkvm = process.env.PRIVMEM_PKVM_VM;
const noPkvm = pkvm === undefined ? 'PRIVMEM_PKVM_VM names no kernel to run on' : undefined;
describe.skipIf(noPkvm !== undefined)(titleOf('on pKVM', noPkvm), () => {
  it.each(having('pkvm'))('%s', { timeout: 10 * MINUTES }, (name) => {
    const { status, stderr } = spawnSync('sh', ['-c', `${pkvm} node examples/${name} kvm`], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect({ status, stderr }).toMatchObject({ status: 0 });
  });
});

// Hardware that was not at hand so far: said, not counted as passed.
for (const need of ['sev-snp', 'tdx'] as const) {
  describe(`on ${need} hardware`, () => {
    it.skip(`${having(need).join(', ')} (skipped: no machine with ${need} is known to this suite; run it there with the argument kvm)`, () => {});
  });
}
