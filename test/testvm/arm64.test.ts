/** A kernel for arm64 with pKVM, and a program cross-compiled for it: this host's own programs do not run there. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { findKernel, runInKernel } from '../../lib/testvm/index.ts';
import { has } from '../support/cli.ts';
import { titleOf } from '../support/testvm.ts';

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
