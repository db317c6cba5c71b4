/** The command line on the simulated kernel: asked for, or taken because the real one cannot do what is wanted. */
import { describe, expect, test } from 'vitest';
import type { LifecycleReport } from '../../lib/lifecycle/words.ts';
import { MAIN, privmem, run } from '../support/cli.ts';

describe('lifecycle --backend sim', () => {
  test.each([
    ['unbound-first', '7.3'],
    ['guest-memfd-mmap', '7.3'],
    ['unbound-first', '6.18'],
    ['guest-memfd-mmap', '6.18'],
  ])('%s passes on a simulated %s', (design, release) => {
    const { status, stdout, stderr } = privmem(
      'lifecycle',
      '--backend',
      'sim',
      '--release',
      release,
      '--design',
      design,
      '--json',
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const report = JSON.parse(stdout) as LifecycleReport;
    expect(report).toMatchObject({ backend: 'sim', design, passed: true });
    expect(report.kernel.startsWith(release)).toBe(true);
    expect(report.steps.find((step) => step.name === 'host-reads-private-page')).toMatchObject({
      fault: 'SIGBUS BUS_ADRERR',
    });
  });

  test.each(['6.1', '6.8', '6.12'])('a simulated %s cannot: status 4 with the reason', (release) => {
    const { status, stdout, stderr } = privmem('lifecycle', '--backend', 'sim', '--release', release);
    expect({ status, stdout }).toEqual({ status: 4, stdout: '' });
    expect(stderr).toContain('KVM_CAP_GUEST_MEMFD_FLAGS is 0');
    expect(stderr).toContain('next step: run Linux 6.18 or newer');
  });

  test('an unknown release is wrong usage', () => {
    expect(privmem('lifecycle', '--backend', 'sim', '--release', '5.4').status).toBe(2);
  });

  test('what nobody carries out yet is unsupported, as text and as JSON', () => {
    const plain = privmem('lifecycle', '--backend', 'sim', '--technology', 'tdx');
    expect(plain).toMatchObject({ status: 4, stdout: '' });
    expect(plain.stderr).toMatch(/not supported here: technology tdx: .*\nnext step: /);
    const json = privmem('lifecycle', '--backend', 'sim', '--technology', 'tdx', '--json');
    expect(json.status).toBe(4);
    expect(JSON.parse(json.stdout)).toMatchObject({ unsupported: true, missing: 'technology tdx' });
  });
});

describe('with the addon hidden', () => {
  const hidden = (...args: string[]) =>
    run(process.execPath, [MAIN, ...args], { env: { ...process.env, PRIVMEM_ADDON: '/nowhere/privmem.node' } });

  test('lifecycle takes the simulated kernel and says why', () => {
    const { status, stdout } = hidden('lifecycle');
    expect(status).toBe(0);
    expect(stdout).toContain('backend sim');
    expect(stdout).toContain('because the real one cannot do this: native addon: ');
    expect(stdout).toContain('passed: ');
  });

  test('lifecycle --backend kvm ends with 4 and the next step', () => {
    expect(hidden('lifecycle', '--backend', 'kvm')).toMatchObject({
      status: 4,
      stderr: expect.stringContaining('next step: '),
    });
  });

  test('probe says that there is no addon', () => {
    const { status, stdout } = hidden('probe', '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      kvm: { available: false, reason: expect.stringContaining('/nowhere') },
    });
  });

  test.each(['--help', '--version', 'lifecycle --help'])('%s works', (args) => {
    expect(hidden(...args.split(' ')).status).toBe(0);
  });
});
