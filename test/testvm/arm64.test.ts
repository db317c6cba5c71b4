/** A kernel for arm64 with pKVM, and programs for it: this host's own do not run there. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { findKernel, findPrograms, runInKernel } from '../../lib/testvm/index.ts';
import { foreignEnvironment } from '../../lib/testvm/programs.ts';
import { has, MAIN, privmem } from '../support/cli.ts';
import { titleOf, vm } from '../support/testvm.ts';

const KERNEL = process.env.PRIVMEM_TEST_KERNEL_ARM64 ?? '7.3';
const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** KVM_CREATE_VM with the types given, each answered by 0 or an errno. */
const PROGRAM = `
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
int main(int argc, char **argv) {
  int kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0) return perror("/dev/kvm"), 1;
  for (int i = 1; i < argc; i++) {
    int vm = ioctl(kvm, 0xae01, strtoul(argv[i], 0, 0));
    printf("%s %d\\n", argv[i], vm < 0 ? errno : 0);
  }
}
`;

function obstacle(): string | undefined {
  if (!has('qemu-system-aarch64')) return 'no qemu-system-aarch64';
  const compiler = process.arch === 'arm64' ? 'cc' : 'aarch64-linux-gnu-gcc';
  if (!has(compiler)) return `no ${compiler}`;
  try {
    findKernel(KERNEL, 'arm64');
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0] : String(error);
  }
  writeFileSync(join(work, 'vm.c'), PROGRAM);
  const built = spawnSync(compiler, ['-static', '-o', join(work, 'vm'), join(work, 'vm.c')], { encoding: 'utf8' });
  return built.status === 0 ? undefined : `${compiler}: ${built.stderr.split('\n')[0]}`;
}
const reason = obstacle();

describe.skipIf(reason !== undefined)(titleOf('a test kernel for arm64', reason), { timeout: 180_000 }, () => {
  const types = ['0', '0x80000000'];
  const run = (append?: string) =>
    runInKernel({ kernel: KERNEL, arch: 'arm64', timeout: 60_000, cwd: work, append }, [join(work, 'vm'), ...types]);

  test('makes protected VMs', async () => {
    const result = await run();
    expect(result).toMatchObject({ outcome: 'passed', accelerator: 'tcg', kernel: { arch: 'arm64' }, stderr: '' });
    expect(result.stdout).toBe('0 0\n0x80000000 0\n');
  });

  test('refuses them without protected mode', async () => {
    const result = await run('kvm-arm.mode=nvhe');
    expect(result.stdout).toBe('0 0\n0x80000000 22\n');
  });

  test('a panic is one there, too', async () => {
    expect(await run('rdinit=/nowhere')).toMatchObject({ outcome: 'panicked', booted: false });
  });
});

const ROOT = join(import.meta.dirname, '../..');

/** Node there, and our addon for it. */
function noNode(): string | undefined {
  if (reason !== undefined) return reason;
  if (process.arch === 'arm64') return undefined;
  if (findPrograms('arm64') === undefined) return 'no programs for it: privmem vm --programs --arch arm64';
  if (!existsSync(join(ROOT, 'prebuilds/linux-arm64'))) return 'no addon for it: npm run prebuilds -- arm64';
  return existsSync(MAIN) ? undefined : 'dist/ is missing: run `npm run build`';
}
const nodeless = noNode();
for (const skipped of new Set([reason, nodeless]))
  if (skipped !== undefined) console.warn(`SKIPPED a test kernel for arm64: ${skipped}`);

describe.skipIf(nodeless !== undefined)(titleOf('Node in a test kernel for arm64', nodeless), () => {
  const run = (...args: string[]) =>
    runInKernel({ kernel: KERNEL, arch: 'arm64', timeout: 900_000, bootTimeout: 120_000, cwd: ROOT }, args);

  test('scripts, a shell, and what does not run there', { timeout: 400_000 }, async () => {
    const script = `sh -c 'echo "$0"' from-sh; node -p process.arch; env node -p process.env.PRIVMEM_VM; ${process.execPath} -p 2+2`;
    expect(await run('bash', '-c', script)).toMatchObject({ outcome: 'passed', stdout: 'from-sh\narm64\n1\n4\n' });
    const foreign = await run('/usr/bin/perl', '-e', '1');
    expect(foreign).toMatchObject({ outcome: 'failed', status: 126 });
    expect(foreign.stderr).toContain('not a program for this architecture');
  });

  // Minutes on a busy host: the guest's pages are given away one by one, under emulation.
  test('the lifecycle keeps its promises on real pKVM', { timeout: 1_000_000 }, async () => {
    const result = await run('node', MAIN, 'lifecycle', '--technology', 'pkvm', '--json');
    expect(result, result.stderr.slice(-2000)).toMatchObject({ outcome: 'passed' });
    const document = JSON.parse(result.stdout);
    expect(document).toMatchObject({ backend: 'kvm', arch: 'arm64', technology: 'pkvm', passed: true });
    const outcome = (name: string) => document.steps.find((step: { name: string }) => step.name === name)?.outcome;
    expect(outcome('slot-reads-private')).toBe('fault');
    expect(outcome('vm-readv-private')).toBe('lost');
    expect(outcome('convert-to-shared')).toBe('ok');
    // The simulation says the same, step by step.
    const simulated = JSON.parse(privmem('lifecycle', '--backend', 'sim', '--technology', 'pkvm', '--json').stdout);
    const outcomes = ({ steps }: { steps: { name: string; outcome: string; errno?: string }[] }) =>
      steps.map((step) => `${step.name}: ${step.outcome} ${step.errno ?? ''}`);
    expect(outcomes(document)).toEqual(outcomes(simulated));
  });
});

describe('programs for another architecture', () => {
  test('come first in PATH, and addons are the prebuilt ones', () => {
    expect(foreignEnvironment({ PATH: '/opt/node/bin', HOME: '/root' })).toEqual({
      PREBUILDS_ONLY: '1',
      PATH: '/usr/local/bin:/usr/bin:/opt/node/bin',
      HOME: '/root',
    });
    expect(foreignEnvironment({ PREBUILDS_ONLY: '' })).toMatchObject({
      PREBUILDS_ONLY: '',
      PATH: '/usr/local/bin:/usr/bin',
    });
  });

  test('are for another one', () => {
    for (const args of [['--programs'], ['--programs', '--arch', process.arch]])
      expect(vm(...args)).toMatchObject({ status: 2, stderr: expect.stringContaining('another architecture') });
  });
});
