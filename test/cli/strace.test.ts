/** The trace against strace of the same process: the same calls, in the same order, with the same results. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { has, MAIN, noKvm, run } from '../support/cli.ts';

const reason = noKvm() ?? (has('strace') ? undefined : 'no strace');

/** The calls that only we make in such a process; Node itself makes openat, mmap and close all the time. */
const CALLS = 'ioctl,memfd_create,fallocate,ftruncate';

interface Call {
  readonly name: string;
  readonly args: readonly string[];
  readonly result: string;
}

/** Node sets up its standard streams: not ours. Nor is what an strace prints that does not know a system call's name. */
const isNodes = (line: string): boolean => /^(ioctl\([0-2],|syscall_)/.test(line);

function parseStrace(text: string): Call[] {
  const unfinished = new Map<string, string>();
  const calls: Call[] = [];
  for (const raw of text.split('\n')) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(raw) ?? [];
    // A vCPU thread's call that spans others is printed in two parts.
    const start = /^(.*) <unfinished \.\.\.>$/.exec(rest);
    if (start?.[1] !== undefined) {
      unfinished.set(thread, start[1]);
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const line = resumed === null ? rest : `${unfinished.get(thread) ?? ''}${resumed[1] ?? ''}`;
    const match = /^(\w+)\((.*)\) += (-?\w+)(?: (E[A-Z0-9]+))?/.exec(line);
    if (match === null || isNodes(line)) continue;
    const [, name = '', args = '', value = '', errno] = match;
    calls.push({ name, args: args.split(', '), result: errno ?? value });
  }
  return calls;
}

interface Recorded {
  readonly call: string;
  readonly syscall: string | null;
  readonly args: readonly unknown[];
  readonly result: number;
  readonly errno?: string;
}

function parseTrace(text: string): Call[] {
  const fds = new Map<number, number>();
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Recorded)
    .flatMap(({ call, syscall, args, result, errno }) => {
      if (call === 'vcpuAttach') fds.set(result, Number(args[0]));
      const shown = errno ?? String(result);
      if (call === 'vcpuRun' || call === 'vcpuStart') {
        return [{ name: 'ioctl', args: [String(fds.get(Number(args[0]))), '0xae80'], result: shown }];
      }
      if (syscall === null || !CALLS.split(',').includes(syscall)) return [];
      const second = call === 'ioctl' ? `0x${Number(args[1]).toString(16)}` : '';
      return [
        {
          name: syscall,
          args: [call === 'memfdCreate' ? JSON.stringify(args[0]) : String(args[0]), second],
          result: shown,
        },
      ];
    });
}

/** What both formats can say of a call: the descriptor or name, an ioctl's number, the result. */
const essence = ({ name, args, result }: Call): string => {
  const first = args[0] ?? '';
  return `${name}(${name === 'ioctl' ? `${first}, ${args[1] ?? ''}` : first}) = ${result}`;
};

describe.skipIf(reason !== undefined)(`trace and strace${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'privmem-strace-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  test('agree call for call on a lifecycle', () => {
    const [log, trace] = [path.join(directory, 'strace'), path.join(directory, 'trace.jsonl')];
    const traced = [process.execPath, MAIN, 'lifecycle', '--size', '40K', `--trace=${trace}`];
    const { status, stderr } = run('strace', ['-f', '-X', 'raw', '-e', `trace=${CALLS}`, '-o', log, ...traced]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const ours = parseTrace(readFileSync(trace, 'utf8')).map(essence);
    const theirs = parseStrace(readFileSync(log, 'utf8')).map(essence);
    expect(ours.length).toBeGreaterThan(40);
    expect(ours).toEqual(theirs);
  });
});
