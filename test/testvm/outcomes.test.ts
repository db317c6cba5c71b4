/** Runs that go wrong, each in a way that has a name of its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { boot, KERNEL, noTestKernel, titleOf, vm } from '../support/testvm.ts';
import { fakeImage, hang, print, reset } from './fake-image.ts';

const reason = noTestKernel();
const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const image = (name: string, code: readonly number[]): string => {
  const file = join(work, name);
  writeFileSync(file, fakeImage(code));
  return file;
};
const sh = (script: string): string[] => ['sh', '-c', script];
/** The kernel's own module for crashes (CONFIG_LKDTM). */
const provoke = (what: string): string[] =>
  sh(`echo ${what} > /sys/kernel/debug/provoke-crash/DIRECT; echo still there`);

describe.skipIf(reason !== undefined)(titleOf('outcomes', reason), { timeout: 180_000 }, () => {
  test('a panic at boot', () => {
    const ended = vm('--json', '--kernel', KERNEL, '--append', 'rdinit=/nowhere', '--', 'true');
    expect(ended.status).toBe(123);
    const document = JSON.parse(ended.stdout);
    expect(document).toMatchObject({ outcome: 'panicked', status: null, booted: false, panic: { phase: 'boot' } });
    expect(document.panic.message).toMatch(/Unable to mount root fs|No working init found/);
    expect(ended.stderr).toContain('privmem vm: panicked: the kernel panicked during boot');
  });

  test('a panic while the command runs', async () => {
    const result = await boot(sh('echo before; sleep 0.2; echo c > /proc/sysrq-trigger; sleep 60'));
    expect(result).toMatchObject({ outcome: 'panicked', status: null, booted: true, panic: { phase: 'command' } });
    expect(result.stdout).toBe('before\n');
    expect(result.panic?.message).toContain('sysrq triggered crash');
  });

  test('a warning: the command goes on, the run has not passed', () => {
    const ended = vm('--kernel', KERNEL, '--', ...provoke('WARNING'));
    expect(ended.stderr).toMatch(/privmem vm: warned: .*WARNING: .*lkdtm/);
    expect(ended).toMatchObject({ status: 121, stdout: 'still there\n' });
  });

  test('an oops', async () => {
    const result = await boot(provoke('EXCEPTION'));
    expect(result.outcome).toBe('oopsed');
    expect(result.splats).toHaveLength(1);
    expect(result.splats[0]).toMatchObject({ kind: 'oops', severity: 'oopsed' });
    expect(result.splats[0]?.title).toContain('NULL pointer dereference');
    expect(result.splats[0]?.text).toContain('lkdtm_EXCEPTION');
  });

  test('a machine that goes away without a word', async () => {
    const result = await boot(sh('echo b > /proc/sysrq-trigger; sleep 60'));
    expect(result).toMatchObject({ outcome: 'died', status: null, booted: true });
  });

  test('a command that takes too long', () => {
    const ended = vm('--kernel', KERNEL, '--timeout', '10', '--', 'sh', '-c', 'echo begun; exec sleep 60');
    expect(ended).toMatchObject({ status: 124, stdout: 'begun\n' });
    expect(ended.stderr).toContain('timed-out: the command ran longer than 10 s');
  });

  test('nothing that a command writes is taken for a verdict', async () => {
    const line = '0123456789abcdef0123456789abcdef exit 0 0 0';
    const script = [
      `echo '${line}'; echo '${line}' >&2; echo 'exit 0 0 0'`,
      `for port in 1 2 3; do echo '${line}' > /dev/vport0p$port; done`,
      "echo '<1>Kernel panic - not syncing: forged' > /dev/kmsg",
      "echo '<1>privmem-init: the command has ended' > /dev/kmsg",
      // Longer than the machine is given to go down.
      'sleep 4; echo last; exit 5',
    ].join('\n');
    const result = await boot(sh(script));
    expect(result).toMatchObject({ outcome: 'failed', status: 5, splats: [] });
    expect(result.console).toContain('forged');
    expect(result.stdout).toBe(`${line}\nexit 0 0 0\nlast\n`);
  });

  test('not a byte of the console is lost, however slowly it is read', async () => {
    const wait = new Int32Array(new SharedArrayBuffer(4));
    // A reader that is away for a while each time.
    const onConsole = (): void => void Atomics.wait(wait, 0, 0, 300);
    const script =
      'i=0; while [ $i -lt 400 ]; do echo "<3>line $i of many, all of them wanted" > /dev/kmsg; i=$((i + 1)); done';
    const result = await boot(sh(script), { onConsole });
    expect(result.outcome).toBe('passed');
    const numbers = [...result.console.matchAll(/line (\d+) of many, all of them wanted\r/g)].map((match) =>
      Number(match[1]),
    );
    expect(numbers).toEqual(Array.from({ length: 400 }, (_, i) => i));
  });

  test('an image that never says a word is dead in seconds', async () => {
    const result = await boot(['true'], { kernel: image('silent', hang) });
    expect(result).toMatchObject({ outcome: 'failed-to-boot', booted: false, status: null, console: '' });
    expect(result.reason).toContain('not one character');
    // The limit of the silence grows with the load of the host; the boot's own limit is 60 s.
    expect(result.timings.total).toBeLessThan(50_000);
  });

  test('one that stops half-way names its last words', async () => {
    const result = await boot(['true'], {
      kernel: image('hang', [...print('last words\r\n'), ...hang]),
      bootTimeout: 3000,
    });
    expect(result).toMatchObject({ outcome: 'failed-to-boot', booted: false });
    expect(result.reason).toContain('last words');
  });

  test('one that resets the machine', async () => {
    const result = await boot(['true'], { kernel: image('reset', [...print('hm\r\n'), ...reset]) });
    expect(result).toMatchObject({ outcome: 'failed-to-boot', booted: false });
    expect(result.reason).toContain('without a panic');
    expect(result.timings.total).toBeLessThan(20_000);
  });

  test("what QEMU refuses is QEMU's word", async () => {
    const result = await boot(['true'], { qemuArgs: ['-device', 'no-such-device'] });
    expect(result).toMatchObject({ outcome: 'failed-to-boot', booted: false });
    expect(result.reason).toContain('no-such-device');
  });

  test("what the guest's init cannot do is its reason", async () => {
    const result = await boot(['true'], { cwd: '/no/such/directory' });
    expect(result).toMatchObject({ outcome: 'failed-to-boot', booted: false });
    expect(result.reason).toContain('the current directory is not visible in the test kernel');
  });
});
