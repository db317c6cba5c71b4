/** The expectations of scenarios. Each says what was done, what the kernel promised and what it did. */
import { inspect, isDeepStrictEqual } from 'node:util';
import type { MemoryFault } from '../kernel/errors.ts';
import type { Refusal, Result } from '../kernel/raw.ts';

/** The kernel did something else. */
export class Broken extends Error {
  constructor(what: string, expected: string, actual: string) {
    super(`${what}: expected ${expected}, got ${actual}`);
    this.name = 'Broken';
  }
}

let made = 0;

/** Expectations looked at in this process, kept or broken. */
export const checksMade = (): number => made;

/** Counts one that is not made by a function of this file. */
export function countCheck(): void {
  made++;
}

const show = (value: unknown): string =>
  inspect(value, { depth: 4, breakLength: Number.POSITIVE_INFINITY, maxArrayLength: 16, maxStringLength: 200 });

function showResult(result: Result<unknown>): string {
  if (result.ok) return result.value === undefined ? 'success' : `success (${show(result.value).slice(0, 120)})`;
  return result.fault === undefined ? result.code : showFault(result.fault);
}

const showFault = ({ kind, code, offset, bytesDone }: MemoryFault): string =>
  `${kind} (${code}) at offset 0x${offset.toString(16)} after ${bytesDone} bytes`;

/** The value of a call that must succeed. */
export function accepted<T>(result: Result<T>, what: string): T {
  made++;
  if (!result.ok) throw new Broken(what, 'success', showResult(result));
  return result.value;
}

/** A call that must fail with this errno, or one of these. An access to memory that faults is no errno. */
export function refused(result: Result<unknown>, code: string | readonly string[], what: string): Refusal {
  made++;
  const codes = typeof code === 'string' ? [code] : code;
  if (result.ok || result.fault !== undefined || !codes.includes(result.code))
    throw new Broken(what, codes.join(' or '), showResult(result));
  return result;
}

export interface FaultExpectation {
  readonly kind: 'SIGBUS' | 'SIGSEGV';
  /** As siginfo has it: `BUS_ADRERR`, `SEGV_MAPERR`, ... Default: any. */
  readonly code?: string;
  /** Bytes from the start of the mapping to the first byte that could not be reached. Default: any. */
  readonly offset?: number;
  /** Bytes done before. Default: any. */
  readonly bytesDone?: number;
}

/** An access to memory that must fault. */
export function faulted(result: Result<unknown>, expected: FaultExpectation, what: string): MemoryFault {
  made++;
  const { kind, code, offset, bytesDone } = expected;
  const fault = result.ok ? undefined : result.fault;
  const fits =
    fault !== undefined &&
    fault.kind === kind &&
    (code === undefined || fault.code === code) &&
    (offset === undefined || fault.offset === offset) &&
    (bytesDone === undefined || fault.bytesDone === bytesDone);
  if (fits) return fault;
  const place = offset === undefined ? '' : ` at offset 0x${offset.toString(16)}`;
  const done = bytesDone === undefined ? '' : ` after ${bytesDone} bytes`;
  throw new Broken(what, `${kind}${code === undefined ? '' : ` (${code})`}${place}${done}`, showResult(result));
}

/** Deep equality. */
export function same<T>(actual: T, expected: T, what: string): void {
  made++;
  if (!isDeepStrictEqual(actual, expected)) throw new Broken(what, show(expected), show(actual));
}

export function holds(condition: boolean, what: string, detail = 'it does not'): void {
  made++;
  if (!condition) throw new Broken(what, 'that it holds', detail);
}

/** Every byte has this value; says where the first other one is. */
export function filledWith(bytes: Uint8Array, byte: number, what: string): void {
  made++;
  const at = bytes.findIndex((value) => value !== byte);
  if (at === -1) return;
  throw new Broken(
    what,
    `0x${byte.toString(16)} in all ${bytes.length} bytes`,
    `0x${bytes[at]?.toString(16)} at byte ${at}`,
  );
}
