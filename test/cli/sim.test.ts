/** The command line on the simulated kernel: asked for, or taken because the real one cannot do what is wanted. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import type { ConformanceReport } from '../../lib/conformance/report.ts';
import type { LifecycleReport } from '../../lib/lifecycle/words.ts';
import { printing, tinyKernel } from '../machine/boot/tiny-kernel.ts';
import { MAIN, privmem, ROOT, run } from '../support/cli.ts';

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
    expect(stderr).toContain('KVM_CAP_GUEST_MEMFD_FLAGS of the VM is 0');
    expect(stderr).toContain('next step: run Linux 6.18 or newer');
  });

  test('an unknown release is wrong usage', () => {
    expect(privmem('lifecycle', '--backend', 'sim', '--release', '5.4').status).toBe(2);
  });

  test('a technology that this host lacks is simulated, and why is said', () => {
    const { status, stdout } = privmem('lifecycle', '--technology', 'tdx', '--size', '64K', '--backend', 'sim');
    expect([status, /technology tdx, backend sim/.test(stdout)]).toEqual([0, true]);
    const json = privmem('lifecycle', '--technology', 'pkvm', '--size', '64K', '--json', '--backend', 'sim');
    expect(json.status).toBe(0);
    expect(JSON.parse(json.stdout)).toMatchObject({ backend: 'sim', arch: 'arm64', technology: 'pkvm', passed: true });
  });

  test('a pair without a meaning is unsupported, as text and as JSON', () => {
    const pair = ['--design', 'in-place', '--technology', 'none', '--backend', 'sim'];
    const plain = privmem('lifecycle', ...pair);
    expect(plain).toMatchObject({ status: 4, stdout: '' });
    expect(plain.stderr).toMatch(/not supported here: design in-place with technology none: .*EINVAL.*\nnext step: /);
    const json = privmem('lifecycle', ...pair, '--json');
    expect(json.status).toBe(4);
    expect(JSON.parse(json.stdout)).toMatchObject({
      unsupported: true,
      missing: 'design in-place with technology none',
    });
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

  test('conformance is carried out on the simulation', () => {
    const { status, stdout } = hidden('conformance', '--filter', 'memfd/create', '--json');
    expect(status).toBe(0);
    const { backend, totals } = JSON.parse(stdout) as ConformanceReport;
    expect(backend).toBe('sim');
    expect(totals).toMatchObject({ failed: 0 });
    expect(totals.passed).toBeGreaterThan(5);
    expect(hidden('conformance', '--backend', 'kvm', '--filter', 'memfd/create')).toMatchObject({ status: 4 });
  });

  test('compare carries out what the simulation has, and says why no pair is on this host', { timeout: 90_000 }, () => {
    const { status, stdout } = hidden('compare', '--design', 'guest-memfd', '--technology', 'sw-protected', '--json');
    expect(status).toBe(0);
    const { cells } = JSON.parse(stdout) as { cells: readonly object[] };
    expect(cells).toMatchObject([{ backend: 'sim', supported: true, reason: expect.stringContaining('/nowhere') }]);
    const real = hidden('compare', '--backend', 'kvm', '--design', 'guest-memfd');
    expect(real).toMatchObject({ status: 4, stdout: expect.stringContaining('/nowhere') });
  });

  test('boot, which needs a real KVM, says so; what is no kernel is wrong usage before that', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'privmem-hidden-'));
    try {
      const [kernel, nothing] = ['vmlinux', 'nothing'].map((name) => path.join(folder, name)) as [string, string];
      writeFileSync(kernel, tinyKernel(printing('never seen', 0)));
      writeFileSync(nothing, 'no kernel');
      expect(hidden('boot', '--kernel', kernel)).toMatchObject({
        status: 4,
        stdout: '',
        stderr: expect.stringContaining('/nowhere'),
      });
      expect(hidden('boot', '--kernel', nothing)).toMatchObject({ status: 2, stdout: '' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('traces are recorded, replayed, compared and exported', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'privmem-hidden-'));
    try {
      const [a, b, c] = ['a.jsonl', 'b.jsonl', 'a.c'].map((name) => path.join(folder, name)) as [
        string,
        string,
        string,
      ];
      for (const file of [a, b]) expect(hidden('lifecycle', '--size', '64K', `--trace=${file}`).status).toBe(0);
      expect(hidden('trace', 'replay', a)).toMatchObject({ status: 0 });
      expect(hidden('trace', 'diff', a, b)).toMatchObject({ status: 0 });
      expect(hidden('trace', 'export', '--c', a, '-o', c)).toMatchObject({ status: 0 });
      expect(readFileSync(c, 'utf8')).toContain('KVM_CREATE_GUEST_MEMFD');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test.each([
    '--help',
    '--version',
    'lifecycle --help',
    'conformance --list',
    'vm --help',
    'trace --help',
    'boot --help',
    'compare --help',
  ])('%s works', (args) => {
    expect(hidden(...args.split(' ')).status).toBe(0);
  });
});

describe.each(['darwin', 'win32'])('on %s', (platform) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'privmem-platform-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const preload = path.join(folder, 'preload.mjs');
  // Anything that loads an addon dies of it, loudly.
  writeFileSync(
    preload,
    `Object.defineProperty(process, 'platform', { value: ${JSON.stringify(platform)} });
process.dlopen = (_, file) => { console.error('an addon is loaded: ' + file); process.exit(99); };`,
  );
  const elsewhere = (...args: string[]) =>
    run(process.execPath, ['--import', pathToFileURL(preload).href, ...args], { cwd: ROOT });

  test('importing loads no addon, and the simulation works', () => {
    const script = `
      import { Kvm, simulate, Sys } from 'privmem';
      for (const part of ['uapi', 'guest', 'conformance', 'measure']) await import('privmem/' + part);
      using kvm = Kvm.open(new Sys(simulate()));
      using vm = kvm.createVm();
      using memory = vm.createGuestMemfd(4096);
      console.log(process.platform, memory.size);`
      // Node 20 has no using.
      .replaceAll('using ', 'const ');
    const { status, stdout, stderr } = elsewhere('--input-type=module', '--eval', script);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${platform} 4096\n`, stderr: '' });
  });

  test('the lifecycle runs simulated, and --backend kvm ends with 4', () => {
    const { status, stdout } = elsewhere(MAIN, 'lifecycle', '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ backend: 'sim', passed: true });
    expect(elsewhere(MAIN, 'lifecycle', '--backend', 'kvm').status).toBe(4);
    expect(elsewhere(MAIN, 'probe').status).toBe(0);
  });
});
