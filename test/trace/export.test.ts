/** Exported reproducers: they compile without a warning, run, and say the same as the recording; and they notice when it is not so. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { simulate } from '../../lib/sim/simulate.ts';
import { exportTrace } from '../../lib/trace/export/export.ts';
import type { Recording } from '../../lib/trace/recording.ts';
import { has, run } from '../support/cli.ts';
import { describeKvm } from '../support/kvm.ts';
import { parseLines, record } from './record.ts';
import { playAliased, playVariety } from './variety.ts';

const compilers = ['cc', 'gcc', 'clang'].filter(has);
const folder = mkdtempSync(path.join(tmpdir(), 'privmem-export-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;

/** Compiles with all warnings as errors; the path of the program. */
function compile(source: string, compiler = compilers[0] ?? 'cc'): string {
  const file = path.join(folder, `reproducer${count++}`);
  writeFileSync(`${file}.c`, source);
  const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-pthread'];
  const { status, stderr } = run(compiler, [...flags, '-o', file, `${file}.c`]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return file;
}

const skip = compilers.length === 0 ? 'no C compiler' : process.arch !== 'x64' ? 'recorded on x86-64' : undefined;

describe.skipIf(skip !== undefined)(`exported C${skip === undefined ? '' : ` (skipped: ${skip})`}`, () => {
  it('compiles with every compiler there is, optimised or not', async () => {
    const { source, left } = exportTrace(await record(simulate({ release: '6.18' }), playVariety));
    expect(left).toEqual([]);
    for (const compiler of compilers) compile(source, compiler);
  });

  it('is closed to what a file says: names and texts stay strings and comments', () => {
    const nasty = '*/ } int main(void) { return 42; } /* \n#error x\n" ?\\?/ %n%s \\';
    const kernel = { backend: 'kvm', arch: 'x64', release: nasty };
    const make = {
      call: 'memfdCreate',
      syscall: 'x',
      args: [nasty.slice(0, 200), 0],
      result: 3,
      at: 0,
      micros: 0,
      text: nasty,
    };
    const odd = { call: nasty, syscall: 'x', args: [], result: 3, at: 0, micros: 0, text: nasty };
    const lines = [
      { format: 2, kernel, n: 1, ...make },
      { n: 2, ...odd },
      { n: 3, ...make, result: -22 },
    ];
    const { source, left } = exportTrace(parseLines(lines.map((line) => JSON.stringify(line))));
    expect(left.map(({ n }) => n)).toEqual([2]);
    const { status, stdout } = run(compile(source), []);
    expect(status).toBe(1);
    expect(stdout).toContain('expected EINVAL, got a descriptor');
    expect(stdout.trim().split('\n').at(-1)).toBe('2 calls, 1 different');
  });

  it('never opens a file for writing', () => {
    const kernel = { backend: 'kvm', arch: 'x64', release: '6.18.0' };
    const open = (file: string, flags: number) => ({
      call: 'open',
      syscall: 'openat',
      args: [file, flags, 0o600],
      result: 3,
      at: 0,
      micros: 0,
      text: 'openat()',
    });
    const lines = [
      { format: 2, kernel, n: 1, ...open('/etc/passwd', 1) },
      { n: 2, ...open('/etc/passwd', 0o1000) },
      { n: 3, ...open('/dev/made', 0o100) },
      { n: 4, ...open('/etc/passwd', 0) },
    ];
    expect(exportTrace(parseLines(lines.map((line) => JSON.stringify(line)))).left.map(({ n }) => n)).toEqual([
      1, 2, 3,
    ]);
  });
});

/** One recorded fact made wrong. */
function falsified(
  recording: Recording,
  pick: (call: Recording['calls'][number]) => boolean,
  change: object,
): Recording {
  const at = recording.calls.findIndex(pick);
  if (at < 0) throw new Error('the recording has no such call');
  return { ...recording, calls: recording.calls.map((call, i) => (i === at ? { ...call, ...change } : call)) };
}

describeKvm(
  'reproducers on this kernel',
  async ({ sys }) => {
    const recording = await record(sys.kernel, playVariety);
    const lastLine = (stdout: string): string => stdout.trim().split('\n').at(-1) ?? '';

    it('calls on memory that nobody may touch, all the same', async () => {
      const { status, stdout } = run(compile(exportTrace(await record(sys.kernel, playAliased)).source), []);
      expect(stdout).toMatch(/pwrite\(memfd1, map1 \+ 8, 32, 0\): expected EFAULT, got EFAULT$/m);
      expect(status).toBe(0);
    });

    it('all the same, one line each', () => {
      const { status, stdout, stderr } = run(compile(exportTrace(recording).source), []);
      const lines = stdout.trim().split('\n');
      expect(lines.filter((line) => line.startsWith('DIFF'))).toEqual([]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(lines.length).toBeGreaterThan(80);
      expect(lines.slice(0, -1).filter((line) => !/^ok +\d+ {2}\w+\(.*: expected .*, got /.test(line))).toEqual([]);
    });

    it.each([
      [
        'a result',
        (call: Recording['calls'][number]) => call.call === 'ftruncate',
        { result: -22 },
        /ftruncate.*expected EINVAL, got 0/,
      ],
      [
        'bytes that are read',
        (call: Recording['calls'][number]) => call.call === 'pread',
        { out: new Map([[1, new Uint8Array(5).fill(9)]]) },
        /pread.*bytes at byte 0x0: expected 09, got 00/,
      ],
      [
        'the signal of an access',
        (call: Recording['calls'][number]) => call.call === 'copyOut' && call.result === 0,
        { out: new Map([[2, new Uint8Array(24)]]) },
        /copy_out.*signal: expected 0x0, got 0xb/,
      ],
      [
        'a register',
        (call: Recording['calls'][number]) => call.request === 'KVM_GET_REGS',
        { out: new Map([[2, new Uint8Array(144).fill(1)]]) },
        /KVM_GET_REGS.*rip: expected 0x101010101010101, got 0x/,
      ],
      [
        'an exit',
        (call: Recording['calls'][number]) => call.exit !== undefined,
        { exit: { page: new Uint8Array(288).fill(8) } },
        /KVM_RUN.*exit_reason: expected 0x8080808, got 0x/,
      ],
      [
        'the dirty log',
        (call: Recording['calls'][number]) => call.pointed.length > 0,
        { pointed: [new Uint8Array(8).fill(0xff)] },
        /KVM_GET_DIRTY_LOG.*buffer 0 at byte 0x0: expected ff/,
      ],
    ])('%s that was recorded otherwise is noticed', (_, pick, change, message) => {
      const { status, stdout } = run(compile(exportTrace(falsified(recording, pick, change)).source), []);
      expect(status).toBe(1);
      expect(stdout).toMatch(message);
      expect(lastLine(stdout)).toMatch(/ calls, 1 different$/);
    });
  },
  { arch: 'x64', release: [6, 18], also: () => (compilers.length === 0 ? 'no C compiler' : undefined) },
);
