/** Commands in a test kernel: what goes in and what comes out. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { MAIN, ROOT } from '../support/cli.ts';
import { boot, KERNEL, noTestKernel, titleOf, vm } from '../support/testvm.ts';

const reason = noTestKernel();
const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe.skipIf(reason !== undefined)(titleOf('a command in a test kernel', reason), { timeout: 180_000 }, () => {
  test('outputs apart, status, directory, environment, kernel and /dev/kvm', async () => {
    const script =
      'echo out; echo err >&2; uname -r; pwd; echo "$PRIVMEM_X"; test -c /dev/kvm || exit 9; (sleep 99 &); exit 3';
    const result = await boot(['sh', '-c', script], {
      cwd: work,
      env: { PATH: process.env.PATH ?? '', PRIVMEM_X: 'a b' },
    });
    expect(result).toMatchObject({
      outcome: 'failed',
      status: 3,
      booted: true,
      timedOut: false,
      splats: [],
      stderr: 'err\n',
    });
    expect(result.stdout).toBe(`out\n${result.kernel.release}\n${work}\na b\n`);
    expect(result.timings.boot).toBeGreaterThan(0);
    // What is left in the background holds nothing up.
    expect(result.timings.command).toBeLessThan(20_000);
  });

  test('megabytes of input come out as they went in', async () => {
    const input = randomBytes(3_000_001);
    const hash = createHash('sha256');
    const result = await boot(['cat'], { stdin: input, keep: 10, onStdout: (bytes) => hash.update(bytes) });
    expect(result).toMatchObject({ outcome: 'passed', truncated: true });
    expect(hash.digest('hex')).toBe(createHash('sha256').update(input).digest('hex'));
  });

  test('a command that does not read its input, and one that is not there', async () => {
    expect(await boot(['true'], { stdin: Buffer.alloc(1_000_000) })).toMatchObject({ outcome: 'passed', status: 0 });
    const result = await boot(['no-such-command']);
    expect(result).toMatchObject({ outcome: 'failed', status: 127, stdout: '' });
    expect(result.stderr).toContain('no-such-command: command not found');
  });

  test('the host is not written to, but for shares', async () => {
    const share = mkdtempSync(join(work, 'share,'));
    writeFileSync(join(work, 'old'), 'old');
    const layer = mkdtempSync(join(work, 'layer'));
    mkdirSync(join(layer, work), { recursive: true });
    writeFileSync(join(layer, work, 'laid'), 'laid over\n');
    const script = `cat laid; echo new > fresh && echo new > old && cat old && echo shared > '${share}/file' && kill -9 $$`;
    const result = await boot(['sh', '-c', script], { cwd: work, shares: [share], layers: [layer] });
    expect(result).toMatchObject({ outcome: 'failed', status: 137, stdout: 'laid over\nnew\n', stderr: '' });
    expect(existsSync(join(work, 'fresh'))).toBe(false);
    expect(readFileSync(join(work, 'old'), 'utf8')).toBe('old');
    expect(readFileSync(join(share, 'file'), 'utf8')).toBe('shared\n');
  });

  test('Node, the addon and KVM of the test kernel, through the command line', () => {
    const ended = vm('--json', '--kernel', KERNEL, '--', process.execPath, MAIN, 'probe', '--json');
    const document = JSON.parse(ended.stdout);
    expect(document).toMatchObject({ outcome: 'passed', status: 0, exitStatus: 0, kernel: { arch: 'x64' } });
    const probe = JSON.parse(document.stdout);
    expect(probe.kernel).toBe(document.kernel.release);
    expect(probe.kvm.available).toBe(true);
    expect(probe.kvm.vmTypes).toContain('KVM_X86_SW_PROTECTED_VM');
    expect(probe.kvm.capabilities.KVM_CAP_GUEST_MEMFD).toBe(1);
    expect(ended.status).toBe(0);
  });

  test('what cannot be started is refused in words', async () => {
    await expect(boot([], {})).rejects.toThrow(/no command/);
    await expect(boot(['true'], { kernel: 'no-such-kernel' })).rejects.toThrow(/next step: build it/);
    await expect(boot(['true'], { kernel: './no/such' })).rejects.toThrow(/no such kernel image/);
    await expect(boot(['true'], { arch: 'arm64', kernel: 'no-such-kernel' })).rejects.toThrow(/arm64/);
    await expect(boot(['true'], { root: join(work, 'nowhere') })).rejects.toThrow(/root: .*ENOENT/);
    await expect(boot(['true'], { memory: 1 })).rejects.toThrow(/memory must be at least/);
    expect(vm('--kernel', KERNEL).status).toBe(2);
    expect(vm('--', 'true').status).toBe(2);
    const missing = vm('--kernel', 'no-such-kernel', '--', 'true');
    expect(missing.status).toBe(4);
    expect(missing.stderr).toContain('next step: build it');
    const notOne = vm('--kernel', join(ROOT, 'package.json'), '--', 'true');
    expect(notOne.status).toBe(125);
    expect(notOne.stderr).toContain('is not a kernel image');
  });
});
