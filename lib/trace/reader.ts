/** Reads traces. Everything is checked here, so that what comes after can trust the types; what is wrong is named by line and field. */
import { readFileSync } from 'node:fs';
import { TRACE_FORMAT } from '../kernel/trace-record.ts';
import { type Arg, TRACED } from './calls.ts';
import { isObject, type Json, Line, shown } from './json-line.ts';
import type { RecordedCall, RecordedPointer, RecordedValue, Recording } from './recording.ts';

const MOST_ERRNO = 4095;
const U64_END = 2n ** 64n;
const S64_END = 2n ** 63n;
/** User addresses lie below. */
const KERNEL_HALF = 2 ** 47;

function readPointers(line: Line, value: unknown, field: string): RecordedPointer[] {
  return line.list(value, field).map((entry, i) => {
    const [offset, bytes] = line.list(entry, `${field}[${i}]`);
    return [line.integer(offset, `${field}[${i}][0]`, 0, 2 ** 31), line.bytes(bytes, `${field}[${i}][1]`)] as const;
  });
}

function readArg(line: Line, arg: Arg, value: unknown, field: string): RecordedValue {
  const { role } = arg;
  const name = `${field} (${arg.name})`;
  switch (role.kind) {
    case 'fd':
    case 'vcpu':
      return line.integer(value, name, -(2 ** 31), 2 ** 31 - 1);
    case 'int':
      if (value === null || value === undefined) return undefined;
      return line.integer(value, name, -(2 ** 31), 2 ** 32 - 1);
    case 'request':
      return line.integer(value, name, -(2 ** 31), 2 ** 32 - 1) >>> 0;
    case 'hva':
    case 'u64':
      return line.wide(value, name, 0n, U64_END);
    case 's64':
      return line.wide(value, name, -S64_END, S64_END);
    case 'text': {
      const text = line.text(value, name);
      if (text.includes('\0')) line.fail(name, 'must not contain NUL');
      return text;
    }
    case 'in':
    case 'out':
      return line.bytes(value, name);
    case 'words': {
      if (role.optional && (value === null || value === undefined)) return undefined;
      const bytes = line.bytes(value, name);
      if (bytes.length < role.count * 8) line.fail(name, `must hold ${role.count * 8} bytes, it holds ${bytes.length}`);
      return bytes;
    }
    case 'ioctl-arg':
      return isObject(value) ? line.bytes(value, name) : line.wide(value, name, 0n, U64_END);
    case 'pointers':
      return value === null || value === undefined ? undefined : readPointers(line, value, name);
  }
}

/** Arguments of a call that this version does not know: numbers, strings and buffers, unchecked. */
function readUnknown(line: Line, value: unknown, field: string): RecordedValue {
  if (isObject(value) && 'base64' in value) return line.bytes(value, field);
  return typeof value === 'number' || typeof value === 'string' ? value : undefined;
}

function readArgs(line: Line, call: string, value: unknown): RecordedValue[] {
  const list = line.list(value, 'args');
  const row = TRACED[call];
  if (row === undefined) return list.map((item, i) => readUnknown(line, item, `args[${i}]`));
  return row.args.map((arg, i) => readArg(line, arg, list[i], `args[${i}]`));
}

function readOut(line: Line, call: string, value: unknown): Map<number, Uint8Array> {
  const out = new Map<number, Uint8Array>();
  if (value === undefined) return out;
  for (const [key, item] of Object.entries(line.object(value, 'out'))) {
    if (!/^\d$/.test(key)) line.fail(`out.${key}`, 'is no index of an argument');
    const bytes = line.bytes(item, `out.${key}`);
    const role = TRACED[call]?.args[Number(key)]?.role;
    if (role?.kind === 'words' && bytes.length < role.count * 8) {
      line.fail(`out.${key}`, `must hold ${role.count * 8} bytes, it holds ${bytes.length}`);
    }
    out.set(Number(key), bytes);
  }
  return out;
}

function readExit(line: Line, value: unknown): RecordedCall['exit'] {
  if (value === undefined) return undefined;
  const { page, data } = line.object(value, 'exit');
  const head = line.bytes(page, 'exit.page');
  const LEAST = 288;
  if (head.length < LEAST) line.fail('exit.page', `must hold at least ${LEAST} bytes, it holds ${head.length}`);
  return { page: head, ...(data === undefined ? {} : { data: line.bytes(data, 'exit.data') }) };
}

function readWrites(line: Line, value: unknown): RecordedCall['writes'] {
  if (value === undefined) return [];
  return line.list(value, 'writes').map((entry, i) => {
    const [hva, bytes] = line.list(entry, `writes[${i}]`);
    return [line.integer(hva, `writes[${i}][0]`, 0, KERNEL_HALF), line.bytes(bytes, `writes[${i}][1]`)] as const;
  });
}

function readMapped(line: Line, value: unknown): Map<number, number> {
  const mapped = new Map<number, number>();
  if (value === undefined) return mapped;
  for (const [key, hva] of Object.entries(line.object(value, 'mapped'))) {
    if (!/^\d$/.test(key)) line.fail(`mapped.${key}`, 'is no index of an argument');
    mapped.set(Number(key), line.integer(hva, `mapped.${key}`, 0, KERNEL_HALF));
  }
  return mapped;
}

function readCall(line: Line, number: number, json: Json): RecordedCall {
  const call = line.text(json.call, 'call');
  const n = line.integer(json.n, 'n', 1, Number.MAX_SAFE_INTEGER);
  const exit = readExit(line, json.exit);
  return {
    n,
    line: number,
    call,
    ...(json.request === undefined ? {} : { request: line.text(json.request, 'request') }),
    args: readArgs(line, call, json.args),
    result: line.integer(json.result, 'result', -MOST_ERRNO, Number.MAX_SAFE_INTEGER),
    out: readOut(line, call, json.out),
    pointed:
      json.pointed === undefined
        ? []
        : line.list(json.pointed, 'pointed').map((item, i) => line.bytes(item, `pointed[${i}]`)),
    ...(exit === undefined ? {} : { exit }),
    mapped: readMapped(line, json.mapped),
    writes: readWrites(line, json.writes),
    ...(json.startedAfter === undefined
      ? {}
      : { startedAfter: line.integer(json.startedAfter, 'startedAfter', 0, n - 1) }),
    unwatched: json.unwatched === true,
    at: line.micros(json.at, 'at'),
    micros: line.micros(json.micros, 'micros'),
    text: line.text(json.text, 'text'),
  };
}

function readKernel(line: Line, json: Json): Recording['kernel'] {
  if (json.format !== TRACE_FORMAT) {
    line.fail('format', `this version reads format ${TRACE_FORMAT}, got ${shown(json.format)}: record the trace again`);
  }
  const kernel = line.object(json.kernel, 'kernel');
  const { backend, arch } = kernel;
  if (backend !== 'kvm' && backend !== 'sim') line.fail('kernel.backend', `must be kvm or sim, got ${shown(backend)}`);
  if (arch !== 'x64' && arch !== 'arm64') line.fail('kernel.arch', `must be x64 or arm64, got ${shown(arch)}`);
  return { backend, arch, release: line.text(kernel.release, 'kernel.release') };
}

function* linesOf(bytes: Buffer): Generator<readonly [number: number, text: string]> {
  const NEWLINE = 10;
  let number = 1;
  for (let from = 0; from < bytes.length; number++) {
    const found = bytes.indexOf(NEWLINE, from);
    const to = found < 0 ? bytes.length : found;
    yield [number, bytes.toString('utf8', from, to)];
    from = to + 1;
  }
}

/**
 * The recordings in `bytes`, in JSON lines: usually one; one for each kernel where a program used several after another. `file` is what
 * errors call it. TraceFormatError, by line and field, for anything that a recorder does not write.
 */
export function parseTrace(bytes: Uint8Array, file = 'trace'): Recording[] {
  const recordings: { kernel: Recording['kernel']; calls: RecordedCall[] }[] = [];
  for (const [number, text] of linesOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))) {
    const line: Line = new Line(file, number);
    if (text.trim() === '') continue;
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      line.fail(
        '',
        `is no JSON (${error instanceof Error ? error.message : ''}); a line that was cut off can be removed`,
      );
    }
    if (!isObject(json)) line.fail('', `must be an object, got ${shown(json)}`);
    if (json.format !== undefined || recordings.length === 0) {
      recordings.push({ kernel: readKernel(line, json), calls: [] });
    }
    const current = recordings.at(-1)?.calls ?? [];
    const call = readCall(line, number, json);
    const before = current.at(-1)?.n ?? 0;
    if (call.n <= before) line.fail('n', `must be more than ${before}, the number of the call before, got ${call.n}`);
    current.push(call);
  }
  if (recordings.length === 0) new Line(file, 1).fail('', 'there is no recorded call in it');
  return recordings;
}

/** {@link parseTrace} of a file. The system's error when it cannot be read. */
export function readTrace(path: string): Recording[] {
  return parseTrace(readFileSync(path), path);
}
