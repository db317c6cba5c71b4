/** `privmem boot` as a process, with kernels that are over in a moment: ends, bad input, the terminal, being killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { has, MAIN, noKvm, privmem, ROOT } from '../../support/cli.ts';
import { titleOf } from '../../support/testvm.ts';
import { echoing, printing, SERIAL, tinyKernel } from './tiny-kernel.ts';

const work = mkdtempSync(join(tmpdir(), 'privmem-tiny-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

function kernel(name: string, ...args: Parameters<typeof tinyKernel>): string {
  const path = join(work, name);
  writeFileSync(path, tinyKernel(...args));
  return path;
}

describe('bad input', () => {
  const refused = (...args: string[]): string => {
    const { status, stderr, stdout } = privmem('boot', ...args);
    expect([status, stdout]).toEqual([2, '']);
    return stderr;
  };

  it('a file that is no kernel says so', () => {
    expect(refused('--kernel', join(ROOT, 'package.json'))).toMatch(
      /package\.json: not a kernel that can be booted: neither a bzImage .* nor an ELF file/,
    );
    expect(refused('--kernel', process.execPath)).toMatch(/an ELF program, not a kernel/);
    expect(refused('--kernel', '/no/such')).toMatch(/--kernel: ENOENT.*\/no\/such/);
    expect(refused('--kernel', work)).toMatch(/--kernel: EISDIR/);
    expect(refused()).toMatch(/required option '--kernel <file>'/);
  });

  it.skipIf(noKvm() !== undefined)(titleOf('what does not fit', noKvm()), () => {
    const path = kernel('fits', printing('', 0));
    expect(refused('--kernel', path, '--memory', '8M')).toMatch(
      /the kernel needs \d+ MiB of memory, the machine has 8/,
    );
    expect(refused('--kernel', path, '--cpus', '999')).toMatch(/cpus must be 1 to 254/);
    expect(refused('--kernel', path, '--initrd', '/no/such')).toMatch(/--initrd: ENOENT/);
    expect(refused('--kernel', path, '--protocol', 'PVH')).toMatch(/no PVH entry/);
    expect(refused('--kernel', path, '--memory', 'lots')).toMatch(/a number of bytes/);
    writeFileSync(join(work, 'odd'), 'x');
    expect(refused('--kernel', path, '--disk', join(work, 'odd'))).toMatch(
      /--disk: .*odd: 1 bytes are no whole number/,
    );
    expect(refused('--kernel', path, '--disk', '/no/such')).toMatch(/--disk: ENOENT.*\/no\/such/);
  });

  it('the help names sizes as they are written', () => {
    expect(privmem('boot', '--help').stdout).toMatch(/--memory <bytes> .*\(default: 256M\)/);
  });
});

const reason = noKvm() ?? (existsSync(MAIN) ? undefined : 'dist/ is missing');
if (reason !== undefined) console.warn(`SKIPPED privmem boot: ${reason}`);

describe.skipIf(reason !== undefined)(titleOf('privmem boot', reason), () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });

  it('prints, and ends with what the guest says', () => {
    expect(privmem('boot', '--kernel', kernel('ok', printing('hello\n', 0)))).toMatchObject({
      ...{ status: 0, stdout: 'hello\n', stderr: '' },
    });
    const odd = privmem('boot', '--kernel', kernel('odd-end', printing('no newline', 7)), '--stats');
    expect([odd.status, odd.stdout]).toEqual([1, 'no newline']);
    expect(odd.stderr).toContain('the guest wrote 7 to the debug exit port');
    expect(odd.stderr).toMatch(/ports: 0x3f8 10, 0xf4 1/);
    const json = privmem('boot', '--json', '--kernel', kernel('json', printing('on stderr\n', 0)));
    expect([json.status, json.stderr]).toEqual([0, 'on stderr\n']);
    expect(JSON.parse(json.stdout)).toMatchObject({ end: { kind: 'debug-exit', value: 0 }, statistics: { total: 11 } });
  });

  it('a triple fault is said with the registers; a guest that never ends, by --timeout', () => {
    const broken = privmem(
      'boot',
      '--kernel',
      kernel('broken', (g) => g.load(g.value(0x7f00_0000_0000))),
    );
    expect(broken.status).toBe(1);
    expect(broken.stderr).toMatch(/vCPU 0: triple fault.*rip 0x10000.*64-bit/s);
    const endless = privmem(
      'boot',
      '--timeout',
      '1',
      '--kernel',
      kernel('endless', (g) => g.loopForever(() => {})),
    );
    expect([endless.status, endless.stderr]).toEqual([1, expect.stringContaining('still runs after 1 s (--timeout)')]);
  });

  it('the input of a pipe reaches the guest', async () => {
    const quitting = kernel('quitting', (g) => {
      g.out(SERIAL.ier, 1, 1);
      g.loopForever(() => {
        g.when(g.in(SERIAL.lsr, 1).and(1).ne(0), () => {
          const byte = g.variable(g.in(SERIAL.data, 1));
          g.when(byte.eq(0x71), () => g.out(0xf4, 0, 4));
          g.out(SERIAL.data, byte, 1);
        });
      });
    });
    const child = spawn(process.execPath, [MAIN, 'boot', '--kernel', quitting]);
    children.push(child);
    let out = '';
    child.stdout.on('data', (bytes) => {
      out += bytes;
    });
    child.stdin.write('abcdefghijklmnopq');
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect([status, out]).toEqual([0, 'abcdefghijklmnop']);
  });

  const started = (child: ChildProcess): Promise<void> =>
    new Promise((resolve) => {
      // A guest writes byte by byte: a word may come in pieces.
      let seen = '';
      child.stdout?.on('data', (bytes) => {
        seen += bytes;
        if (seen.includes('ready')) resolve();
      });
    });

  it('Ctrl-C ends it with 130; a killed one leaves no process and no file', async () => {
    const path = kernel('echo', echoing);
    const child = spawn(process.execPath, [MAIN, 'boot', '--kernel', path], { stdio: ['pipe', 'pipe', 'ignore'] });
    children.push(child);
    await started(child);
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(130);
    const before = readdirSync(work);
    const killed = spawn(process.execPath, [MAIN, 'boot', '--kernel', path], { stdio: ['pipe', 'pipe', 'ignore'] });
    children.push(killed);
    await started(killed);
    const tasks = `/proc/${killed.pid}/task`;
    expect(readdirSync(tasks).length).toBeGreaterThan(1);
    expect(readdirSync(`/proc/self/task/${process.pid}`)).toContain('children');
    killed.kill('SIGKILL');
    await new Promise((resolve) => killed.on('close', resolve));
    expect([existsSync(tasks), readdirSync(work)]).toEqual([false, before]);
  });

  const noScript = has('script') ? undefined : 'no script (apt-get install bsdutils)';
  it.skipIf(noScript !== undefined)(
    titleOf('on a terminal Ctrl-A x leaves, and the terminal is as before', noScript),
    async () => {
      const line = `stty -a | grep -o '.echo ' ; ${process.execPath} ${MAIN} boot --kernel ${kernel('tty', echoing)}; echo "status $?"; stty -a | grep -o '.icanon'`;
      const child = spawn('script', ['-qec', line, '/dev/null']);
      children.push(child);
      let out = '';
      child.stdout.on('data', (bytes) => {
        out += bytes;
      });
      await started(child);
      // Ctrl-C is the guest's; Ctrl-A twice is one Ctrl-A.
      child.stdin.write('xyz\u0003\u0001\u0001!');
      for (const until = Date.now() + 20_000; !out.includes('!') && Date.now() < until; ) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.stdin.write('\u0001x');
      await new Promise((resolve) => child.on('close', resolve));
      expect(out).toContain('xyz\u0003\u0001!');
      expect(out).toContain('status 130');
      expect(out.trim().endsWith(' icanon')).toBe(true);
    },
  );
});
