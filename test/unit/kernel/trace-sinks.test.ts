import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TraceRecord, traceKernel } from '../../../lib/kernel/trace.ts';
import { jsonFileSink, recordToJson, textSink } from '../../../lib/kernel/trace-sinks.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

const record: TraceRecord = {
  n: 1,
  call: 'pread',
  syscall: 'pread64',
  args: [
    3,
    new Uint8Array([0, 255]),
    (1n << 63n) + 5n,
    12n,
    -(1n << 60n),
    undefined,
    [[8, new Uint8Array([1])]],
    'ü"\n',
  ],
  result: 2,
  out: { 1: new Uint8Array([7, 8]) },
  at: 0,
  micros: 1.5,
  text: 'pread64(3, <2 bytes>, 0x8000000000000005) = 2',
};

/** What a replay has to do: hexadecimal strings are numbers again, objects with base64 are bytes. */
function revive(value: unknown): unknown {
  if (typeof value === 'string' && /^-?0x[0-9a-f]+$/.test(value)) {
    return value.startsWith('-') ? -BigInt(value.slice(1)) : BigInt(value);
  }
  if (Array.isArray(value)) return value.map(revive);
  if (typeof value === 'object' && value !== null && 'base64' in value) {
    return new Uint8Array(Buffer.from(String(value.base64), 'base64'));
  }
  return value;
}

describe('JSON lines', () => {
  it('is one line, without loss', () => {
    const line = recordToJson(record);
    expect(line).not.toContain('\n');
    const parsed: unknown = JSON.parse(line);
    expect(parsed).toMatchObject({
      n: 1,
      call: 'pread',
      syscall: 'pread64',
      result: 2,
      micros: 1.5,
      text: record.text,
    });
    const { args, out } = parsed as { args: unknown[]; out: Record<string, unknown> };
    expect(args.map(revive)).toEqual([
      3,
      new Uint8Array([0, 255]),
      (1n << 63n) + 5n,
      // A bigint that a number holds comes back as one: calls take either.
      12,
      -(1n << 60n),
      null,
      [[8, new Uint8Array([1])]],
      'ü"\n',
    ]);
    expect(revive(out['1'])).toEqual(new Uint8Array([7, 8]));
  });

  it('leaves out what the record does not have', () => {
    const { out: _, ...rest } = record;
    expect(JSON.parse(recordToJson(rest))).not.toHaveProperty('out');
  });
});

describe('sinks', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'privmem-trace-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('text: a line for each call', () => {
    const lines: string[] = [];
    const kernel = traceKernel(
      fakeKernel().kernel,
      textSink((line) => lines.push(line)),
    );
    kernel.close(3);
    kernel.vcpuKick(1);
    expect(lines).toEqual(['close(3) = 0\n', '[vcpuKick](1) = 0\n']);
  });

  it('file: is fresh, and whole after every call', () => {
    const path = join(folder, 'trace.jsonl');
    writeFileSync(path, 'old\n');
    const file = jsonFileSink(path);
    const kernel = traceKernel(fakeKernel().kernel, file.sink);
    kernel.ftruncate(3, 1n << 62n);
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(2);
    kernel.close(3);
    file.close();
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as TraceRecord).call)).toEqual(['ftruncate', 'close']);
    expect((JSON.parse(lines[0] ?? '') as TraceRecord).args).toEqual([3, '0x4000000000000000']);
  });

  it('file: takes no record after it was closed, and may be closed twice', () => {
    const path = join(folder, 'closed.jsonl');
    const file = jsonFileSink(path);
    const kernel = traceKernel(fakeKernel().kernel, file.sink);
    kernel.close(3);
    file.close();
    const other = jsonFileSink(join(folder, 'other.jsonl'));
    kernel.close(4);
    file.close();
    kernel.close(5);
    other.close();
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(2);
    expect(readFileSync(join(folder, 'other.jsonl'), 'utf8')).toBe('');
  });

  it('file: fails at once where it cannot be written', () => {
    const path = join(folder, 'missing', 'trace.jsonl');
    expect(() => jsonFileSink(path)).toThrow(/ENOENT/);
    expect(existsSync(path)).toBe(false);
  });
});
