/** `privmem trace`, as a process: what the issue asks to be shown, and how it fails. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { has, MAIN, noKvm, privmem, run } from '../support/cli.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'privmem-trace-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string): string => path.join(folder, name);
const quiet = { status: 0, stderr: '' };

interface Report {
  readonly passed: boolean;
  readonly calls: number;
  readonly same: number;
  readonly different: readonly { readonly n: number; readonly text: string; readonly differences: readonly object[] }[];
  readonly processor: Report['different'];
  readonly skipped: readonly { readonly reason: string }[];
  readonly opened: readonly { readonly path: string }[];
}

const reason = noKvm();

describe.skipIf(reason !== undefined)(
  `lifecycles of this host${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    const designs = ['unbound-first', 'guest-memfd-mmap'] as const;
    beforeAll(() => {
      for (const design of designs) {
        const trace = `--trace=${file(design)}`;
        const ended = privmem('lifecycle', '--backend', 'kvm', '--design', design, '--size', '64K', trace);
        expect(ended).toMatchObject(quiet);
      }
    });

    test.each(designs)('%s meets no difference on this kernel, nor on its simulation', (design) => {
      for (const on of [
        ['--backend', 'kvm'],
        ['--backend', 'sim', '--release', '6.18'],
      ]) {
        const { status, stdout, stderr } = privmem('trace', 'replay', file(design), ...on, '--json');
        const report = JSON.parse(stdout) as Report;
        expect({ status, stderr, ...report }).toMatchObject({ ...quiet, passed: true, different: [], skipped: [] });
        // CPUID of a simulated processor is its own.
        expect(report.same + report.processor.length).toBe(report.calls);
        expect(report.processor.filter(({ text }) => !text.includes('CPUID'))).toEqual([]);
        expect(new Set(report.opened.map(({ path: opened }) => opened))).toEqual(new Set(['/dev/kvm']));
      }
    });

    test('much of the conformance suite: the same on this kernel, on its simulation, and as C', () => {
      const trace = file('conformance');
      const filters = ['memslot/checks', 'guest_memfd/create', 'guest_memfd/mmap', 'guest_memfd/punch_hole'].flatMap(
        (name) => ['--filter', name],
      );
      expect(privmem('conformance', '--backend', 'kvm', ...filters, `--trace=${trace}`)).toMatchObject(quiet);
      for (const on of [
        ['--backend', 'kvm'],
        ['--backend', 'sim', '--release', '6.18'],
      ]) {
        const { status, stdout } = privmem('trace', 'replay', trace, ...on);
        expect({ status, last: stdout.trim().split('\n').at(-1) }).toEqual({
          status: 0,
          last: expect.stringMatching(/^\d{4,} calls: \d+ the same, 0 different, 0 not made/),
        });
      }
      if (!has('cc')) return;
      expect(privmem('trace', 'export', '--c', trace, '-o', file('conformance.c'))).toMatchObject({
        ...quiet,
        stdout: '',
      });
      const program = file('conformance.out');
      expect(
        run('cc', ['-Wall', '-Wextra', '-Werror', '-pthread', '-o', program, file('conformance.c')]),
      ).toMatchObject(quiet);
      const { status, stdout } = run(program, []);
      expect(stdout.split('\n').filter((line) => line.startsWith('DIFF'))).toEqual([]);
      expect(status).toBe(0);
    }, 120_000);

    test('the calls that an older release answers otherwise are listed', () => {
      const { status, stdout, stderr } = privmem(
        'trace',
        'replay',
        file(designs[0]),
        '--backend',
        'sim',
        '--release',
        '6.1',
      );
      expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
      expect(stdout).toContain('on sim (Linux 6.1.0, x64)');
      expect(stdout).toMatch(/KVM_CREATE_GUEST_MEMFD.*\n +result: recorded a descriptor, here ENOTTY/);
      expect(stdout).toMatch(/not made +\d+ +fallocate.*\n +descriptor \d+ comes from call \d+, which has none here/);
      expect(stdout.trim().split('\n').at(-1)).toMatch(/^\d+ calls: \d+ the same, \d+ different, \d+ not made/);
    });

    test('two runs are the same, two designs are not', () => {
      expect(privmem('lifecycle', '--backend', 'kvm', '--size', '64K', `--trace=${file('again')}`)).toMatchObject(
        quiet,
      );
      const same = privmem('trace', 'diff', file('unbound-first'), file('again'));
      expect(same).toMatchObject({
        ...quiet,
        stdout: expect.stringMatching(/^\d+ calls the same, 0 different, 0 only/),
      });
      const other = privmem('trace', 'diff', file('unbound-first'), file('guest-memfd-mmap'));
      expect(other).toMatchObject({ status: 1, stderr: '' });
      expect(other.stdout).toMatch(/^\+ +\d+ +\[fill\]/m);
      const json = JSON.parse(
        privmem('trace', 'diff', file('unbound-first'), file('again'), '--json').stdout,
      ) as object;
      expect(json).toMatchObject({ passed: true, entries: [], a: { backend: 'kvm' } });
    });

    test.skipIf(!has('cc')).each(designs)(
      '%s as C compiles without a warning, runs, and reports the same',
      (design) => {
        const source = file(`${design}.c`);
        expect(privmem('trace', 'export', '--c', file(design), '-o', source)).toMatchObject({ ...quiet, stdout: '' });
        const program = file(`${design}.out`);
        const flags = ['-Wall', '-Wextra', '-Werror', '-pthread'];
        expect(run('cc', [...flags, '-o', program, source])).toMatchObject(quiet);
        const { status, stdout, stderr } = run(program, []);
        expect({ status, stderr }).toEqual(quiet);
        expect(stdout).toMatch(/, then SIGBUS, got 0, then SIGBUS$/m);
        expect(stdout.trim().split('\n').at(-1)).toMatch(/^\d+ calls, 0 different$/);
        // For whoever reads it: structs by field, guest code by instruction.
        const text = readFileSync(source, 'utf8');
        expect(text).toContain('.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,');
        expect(text).toMatch(/0xf4, +\/\/ [0-9a-f]+: hlt/);
      },
    );
  },
);

describe('without a real kernel', () => {
  beforeAll(() => {
    expect(privmem('lifecycle', '--backend', 'sim', '--size', '64K', `--trace=${file('sim')}`)).toMatchObject(quiet);
  });

  test('a trace of one simulation is replayed on another', () => {
    const { status, stdout } = privmem('trace', 'replay', file('sim'), '--backend', 'sim');
    expect(status).toBe(0);
    expect(stdout).toMatch(/\d+ calls: \d+ the same, 0 different, 0 not made\n$/);
  });

  test('--backend auto takes the simulation where there is no addon, and says why', () => {
    const env = { ...process.env, PRIVMEM_ADDON: '/nowhere/privmem.node' };
    const { status, stdout } = run(process.execPath, [MAIN, 'trace', 'replay', file('sim')], { env });
    expect(status).toBe(0);
    expect(stdout).toContain('because the real one cannot do this: native addon');
    const asked = run(process.execPath, [MAIN, 'trace', 'replay', file('sim'), '--backend', 'kvm'], { env });
    expect(asked).toMatchObject({ status: 4, stderr: expect.stringContaining('next step: ') });
  });

  test('a replay can be traced, and that trace replayed', () => {
    expect(privmem('trace', 'replay', file('sim'), '--backend', 'sim', `--trace=${file('of-replay')}`).status).toBe(0);
    expect(privmem('trace', 'replay', file('of-replay'), '--backend', 'sim').status).toBe(0);
  });

  test('export writes to stdout when it is not told where', () => {
    expect(privmem('trace', 'export', '--c', file('sim'))).toMatchObject({
      ...quiet,
      stdout: expect.stringMatching(/^\/\*\n \* \d+ system calls .* on a simulated kernel/),
    });
  });

  test('Ctrl-C ends a replay with 130 and one line, and leaves nothing', async () => {
    // A guest that never ends, since the write that would end it is left out.
    const script = `
      import { Kvm, simulate, Sys, traceKernel, jsonFileSink, Mapping } from ${JSON.stringify(path.resolve(MAIN, '../../index.js'))};
      const file = jsonFileSink(process.argv[1]);
      const sys = new Sys(traceKernel(simulate(), file.sink));
      const vm = Kvm.open(sys).createVm();
      const memory = Mapping.anonymous(sys, 4096);
      vm.addMemslot({ slot: 0, gpa: 0, size: 4096, backing: memory });
      memory.write(0, new Uint8Array([0xeb, 0xfe]));
      const vcpu = vm.createVcpu();
      vcpu.x64.updateSregs({ cs: { ...vcpu.x64.getSregs().cs, base: 0n, selector: 0 } });
      vcpu.x64.setRegs({ rflags: 2 });
      vcpu.runSync({ timeoutMs: 20 });
      file.close();`;
    const endless = file('endless');
    expect(run(process.execPath, ['--input-type=module', '-e', script, endless])).toMatchObject(quiet);
    const text = readFileSync(endless, 'utf8');
    expect(text).toContain('"call":"vcpuRun"');
    writeFileSync(endless, text.replace(/("call":"vcpuRun".*"args":\[\d+,)20\]/, '$10]'));
    const child = spawn(process.execPath, [MAIN, 'trace', 'replay', endless, '--backend', 'sim', '--trace'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    let sent = false;
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
      if (sent || !stderr.includes('KVM_SET_REGS')) return;
      sent = true;
      setTimeout(() => child.kill('SIGINT'), 300);
    });
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    expect({ status, signal }).toEqual({ status: 130, signal: null });
    expect(stderr).toMatch(/KVM_RUN, 0\) = -1 EINTR/);
    expect(stderr).toMatch(/close\(\d+<kvm>\) = 0\n/);
    expect(stderr).toMatch(/privmem: interrupted\n$/);
  });
});

describe('wrong usage', () => {
  const bad = (name: string, text: string): string => {
    writeFileSync(file(name), text);
    return file(name);
  };

  test.each([
    ['no subcommand', ['trace'], /Usage: privmem trace/],
    ['no file', ['trace', 'replay'], /missing required argument/],
    ['a file that is not there', ['trace', 'replay', '/nowhere/x'], /privmem: ENOENT/],
    ['a folder', ['trace', 'diff', '/', '/'], /privmem: EISDIR/],
    ['an unknown release', ['trace', 'replay', 'x', '--release', '5.4'], /Allowed choices are/],
    ['nothing to export to', ['trace', 'export', 'x'], /say what to export to: --c/],
    ['an odd limit', ['trace', 'replay', 'x', '--run-limit', '0'], /a number of seconds/],
  ])('%s', (_, args, message) => {
    const { status, stdout, stderr } = privmem(...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test('a damaged file is named by line and field', () => {
    const first = { format: 2, kernel: { backend: 'sim', arch: 'x64', release: '7.3' }, n: 1 };
    const call = { call: 'close', args: [3], result: 0, at: 0, micros: 0, text: '' };
    const damaged = bad(
      'damaged',
      `${JSON.stringify({ ...first, ...call })}\n${JSON.stringify({ n: 2, ...call, args: ['x'] })}\n`,
    );
    for (const args of [
      ['replay', damaged],
      ['diff', damaged, damaged],
      ['export', '--c', damaged],
    ]) {
      const { status, stderr } = privmem('trace', ...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^privmem: .*damaged:2: args\[0\] \(fd\): must be an integer between .*, got "x"\n$/);
    }
    expect(privmem('trace', 'replay', damaged, '--recording', '2').status).toBe(2);
  });

  test('an unknown call is said, not guessed', () => {
    const line = {
      format: 2,
      kernel: { backend: 'sim', arch: 'x64', release: '7.3' },
      n: 1,
      call: 'mseal',
      args: [1],
      result: 0,
      at: 0,
      micros: 0,
      text: 'mseal(1) = 0',
    };
    const { status, stdout } = privmem('trace', 'replay', bad('unknown', JSON.stringify(line)), '--backend', 'sim');
    expect(status).toBe(1);
    expect(stdout).toMatch(/not made +1 +mseal\(1\) = 0\n +this version does not know the call mseal/);
  });
});
