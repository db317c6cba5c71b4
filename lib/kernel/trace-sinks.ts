/** Where traces go: lines on a stream, or JSON lines in a file. */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { TraceRecord, TraceSink } from './trace.ts';

/** One line for each call, through `write`. */
export function textSink(write: (line: string) => void): TraceSink {
  return (record) => write(`${record.text}\n`);
}

/** Numbers that JSON keeps stay numbers, larger ones become hexadecimal strings, buffers become `{"base64": …}`. */
function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const small = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= -BigInt(Number.MAX_SAFE_INTEGER);
    return small ? Number(value) : value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
  }
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') };
  if (Array.isArray(value)) return value.map(toJson);
  return value ?? null;
}

export function recordToJson(record: TraceRecord): string {
  const { args, out, pointed, writes, exit, ...rest } = record;
  const object = (values: object) => Object.fromEntries(Object.entries(values).map(([k, v]) => [k, toJson(v)]));
  return JSON.stringify({
    ...rest,
    args: args.map(toJson),
    ...(out === undefined ? {} : { out: object(out) }),
    ...(pointed === undefined ? {} : { pointed: pointed.map(toJson) }),
    ...(writes === undefined ? {} : { writes: writes.map(toJson) }),
    ...(exit === undefined ? {} : { exit: object(exit) }),
  });
}

export interface FileSink {
  readonly sink: TraceSink;
  close(): void;
}

/** Appends to a fresh file. Written call by call, so that the trace is whole up to the last call of a process that dies. */
export function jsonFileSink(path: string): FileSink {
  let fd: number | undefined = openSync(path, 'w');
  return {
    sink: (record) => {
      // After the end: a forgotten owner may be collected then, and the descriptor may be somebody else's.
      if (fd !== undefined) writeSync(fd, `${recordToJson(record)}\n`);
    },
    close: () => {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
    },
  };
}
