/** Damaged files: what is wrong is named by line and field. */
import { describe, expect, it } from 'vitest';
import { traceKernel } from '../../lib/kernel/trace.ts';
import { recordToJson } from '../../lib/kernel/trace-sinks.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import { TraceFormatError } from '../../lib/trace/json-line.ts';
import { parseTrace, readTrace } from '../../lib/trace/reader.ts';

const kernel = { backend: 'sim', arch: 'x64', release: '7.3.4' };
const close = { call: 'close', syscall: 'close', args: [3], result: 0, at: 0, micros: 1, text: 'close(3) = 0' };
const FIRST = { format: 2, kernel, n: 1, ...close };

const parse = (...lines: readonly (object | string)[]) =>
  parseTrace(
    Buffer.from(lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n')),
    'f',
  );

describe('a trace that was recorded', () => {
  it('comes back as it was', () => {
    const lines: string[] = [];
    const traced = traceKernel(simulate({ release: '6.18' }), (record) => lines.push(recordToJson(record)));
    const fd = traced.memfdCreate('0x10', 0);
    traced.ftruncate(fd, 1n << 62n);
    traced.pwrite(fd, new Uint8Array([1, 2, 255]), 0);
    traced.lseek(fd, -1n, 0, new BigInt64Array(1));
    const [recording, ...more] = parseTrace(Buffer.from(lines.join('\n')));
    expect(more).toEqual([]);
    expect(recording?.kernel).toEqual({ backend: 'sim', arch: 'x64', release: '6.18.0' });
    expect(recording?.calls.map(({ args }) => args)).toEqual([
      ['0x10', 0],
      [fd, 1n << 62n],
      [fd, new Uint8Array([1, 2, 255]), 0],
      [fd, -1, 0, new Uint8Array(8)],
    ]);
    expect(recording?.calls.map(({ n, line }) => [n, line])).toEqual([1, 2, 3, 4].map((i) => [i, i]));
  });

  it('may hold several kernels, one after the other', () => {
    expect(parse(FIRST, { n: 2, ...close }, FIRST).map(({ calls }) => calls.length)).toEqual([2, 1]);
  });

  it('keeps a call that this version does not know', () => {
    const [recording] = parse({ ...FIRST, call: 'mseal', args: [1, { base64: 'AQ==' }, { odd: 1 }] });
    expect(recording?.calls[0]).toMatchObject({ call: 'mseal', args: [1, new Uint8Array([1]), undefined] });
  });
});

describe('a damaged trace', () => {
  it.each<[string, readonly (object | string)[], string]>([
    ['is empty', [''], 'f:1: there is no recorded call in it'],
    ['is no trace', ['hello'], 'f:1: is no JSON'],
    ['was cut off', [FIRST, '{"n":2,"call":"clo'], 'f:2: is no JSON'],
    ['is a list', ['[]'], 'f:1: must be an object, got []'],
    ['has no format', [{ n: 1, ...close }], 'f:1: format: this version reads format 2, got undefined'],
    ['has another format', [{ ...FIRST, format: 3 }], 'f:1: format: this version reads format 2, got 3'],
    ['names no kernel', [{ ...FIRST, kernel: 1 }], 'f:1: kernel: must be an object, got 1'],
    [
      'names an odd backend',
      [{ ...FIRST, kernel: { ...kernel, backend: 'x' } }],
      'f:1: kernel.backend: must be kvm or sim',
    ],
    ['has calls out of order', [FIRST, { n: 1, ...close }], 'f:2: n: must be more than 1'],
    ['has no call', [{ ...FIRST, call: 7 }], 'f:1: call: must be a string, got 7'],
    ['has no arguments', [{ ...FIRST, args: null }], 'f:1: args: must be a list, got null'],
    ['has an odd descriptor', [{ ...FIRST, args: ['3'] }], 'f:1: args[0] (fd): must be an integer between'],
    ['has a fraction', [{ ...FIRST, args: [1.5] }], 'f:1: args[0] (fd): must be an integer between'],
    [
      'has a long integer as a decimal',
      [{ ...FIRST, call: 'ftruncate', args: [3, 1e300] }],
      'f:1: args[1] (length): must be',
    ],
    [
      'has a length beyond 64 bits',
      [{ ...FIRST, call: 'ftruncate', args: [3, '0x8000000000000000'] }],
      'f:1: args[1] (length)',
    ],
    [
      'has an odd buffer',
      [{ ...FIRST, call: 'write', args: [3, 'x'] }],
      'f:1: args[1] (from): must be {"base64": …}, got "x"',
    ],
    [
      'has odd base64',
      [{ ...FIRST, call: 'write', args: [3, { base64: 'A' }] }],
      'f:1: args[1] (from): is not base64: "A"',
    ],
    [
      'has a path with NUL',
      [{ ...FIRST, call: 'open', args: ['a\0b', 0, 0] }],
      'f:1: args[0] (path): must not contain NUL',
    ],
    [
      'has too small an array',
      [{ ...FIRST, call: 'fstat', args: [3, { base64: '' }] }],
      'f:1: args[1] (out): must hold 64 bytes',
    ],
    [
      'has odd pointers',
      [{ ...FIRST, call: 'ioctl', args: [3, 1, 0, 0, [[-1, {}]]] }],
      'f:1: args[4] (pointers)[0][0]: must be',
    ],
    ['has no result', [{ ...FIRST, result: '0' }], 'f:1: result: must be an integer between'],
    ['has a result below every errno', [{ ...FIRST, result: -5000 }], 'f:1: result: must be an integer between'],
    ['has an odd output', [{ ...FIRST, out: { x: 1 } }], 'f:1: out.x: is no index'],
    [
      'has a short exit',
      [{ ...FIRST, exit: { page: { base64: 'AAAA' } } }],
      'f:1: exit.page: must hold at least 288 bytes',
    ],
    ['begins runs later than they end', [{ ...FIRST, startedAfter: 1 }], 'f:1: startedAfter: must be'],
    ['has odd writes', [{ ...FIRST, writes: [[1]] }], 'f:1: writes[0][1]: must be'],
    ['has no time', [{ ...FIRST, at: null }], 'f:1: at: must be a number of microseconds'],
  ])('%s', (_, lines, message) => {
    expect(() => parse(...lines)).toThrow(TraceFormatError);
    expect(() => parse(...lines)).toThrow(message);
  });

  it('says line and field to programs as well', () => {
    try {
      parse(FIRST, { n: 2, ...close, args: [null] });
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ name: 'TraceFormatError', line: 2, field: 'args[0] (fd)' });
    }
  });

  it('that is not there gives the error of the system', () => {
    expect(() => readTrace('/nowhere/x.jsonl')).toThrow(/ENOENT/);
  });
});
