import type { Integer } from './numbers.ts';
import { formatHex, toGpa } from './numbers.ts';

/**
 * Where programs report: an address that no memslot may back, so that every store there leaves the guest as an MMIO
 * exit. One 8-byte store carries a 64-bit value; its place in the window is the tag.
 */
export const REPORT_GPA = 0xe000_0000;
/** Bytes of the report window: one page, 512 tags. */
export const REPORT_WINDOW_SIZE = 4096;

/** Tags from here on belong to the library; users' tags are 0 ... FIRST_RESERVED_TAG - 1. */
export const FIRST_RESERVED_TAG = 0x1f0;

/** Reports that `check` makes. A failed check is four stores in this order: FAILED, GPA, EXPECTED, ACTUAL. */
export const CHECK_TAGS = {
  /** Value: id of the check. */
  PASSED: 0x1f0,
  /** Value: id of the check. */
  FAILED: 0x1f1,
  /** Value: guest physical address of the first mismatch. */
  GPA: 0x1f2,
  EXPECTED: 0x1f3,
  ACTUAL: 0x1f4,
} as const;

/** arm64: an exception that the program did not expect, as three stores in this order; a halt follows. */
export const EXCEPTION_TAGS = {
  /** ESR_EL1. */
  SYNDROME: 0x1f5,
  /** ELR_EL1: the instruction. */
  PC: 0x1f6,
  /** FAR_EL1. */
  ADDRESS: 0x1f7,
} as const;

/** arm64: the program is at its end; the store is repeated at every further run. On x86-64 the vCPU halts instead. */
export const HALT_TAG = 0x1f8;

/** An MMIO exit as the host sees it. `data` holds at least `length` bytes, little-endian. */
export interface MmioExit {
  readonly gpa: Integer;
  readonly length: number;
  readonly isWrite: boolean;
  readonly data: Uint8Array;
}

export interface Report {
  readonly tag: number;
  readonly value: bigint;
}

/**
 * The report that an MMIO exit carries, or undefined when the exit is something else (a read, or a store outside the
 * window or not on an 8-byte boundary). Stores of 1, 2 or 4 bytes count too: 32-bit programs have no wider ones.
 */
export function readReport(exit: MmioExit, reportGpa: Integer = REPORT_GPA): Report | undefined {
  const offset = Number(BigInt(exit.gpa) - BigInt(reportGpa));
  if (!exit.isWrite || offset < 0 || offset >= REPORT_WINDOW_SIZE || offset % 8 !== 0) return undefined;
  let value = 0n;
  for (let i = Math.min(exit.length, 8) - 1; i >= 0; i--) value = (value << 8n) | BigInt(exit.data[i] ?? 0);
  return { tag: offset / 8, value };
}

/** The address that a tag's reports are stored to. Throws RangeError for a tag outside the window. */
export function reportAddress(tag: number, reportGpa: Integer = REPORT_GPA): number {
  if (!Number.isInteger(tag) || tag < 0 || tag >= REPORT_WINDOW_SIZE / 8) throw new RangeError(`report tag: ${tag}`);
  return toGpa(reportGpa, 'report gpa') + 8 * tag;
}

/** What a program told the host: a value of its own, the outcome of a check, an exception of the processor, its end. */
export type GuestEvent =
  | { readonly kind: 'report'; readonly tag: number; readonly value: bigint }
  | { readonly kind: 'check'; readonly id: number; readonly passed: true }
  | {
      readonly kind: 'check';
      readonly id: number;
      readonly passed: false;
      /** Of the first mismatch. */
      readonly gpa: number;
      readonly expected: bigint;
      readonly actual: bigint;
    }
  | {
      readonly kind: 'exception';
      readonly syndrome: bigint;
      readonly pc: bigint;
      /** Of the access, where the exception has one. */
      readonly address: bigint;
    }
  | { readonly kind: 'halt' };

/** Puts the exits of one vCPU together to events: a failed check takes four exits. Use one collector per vCPU. */
export class ReportCollector {
  readonly #reportGpa: Integer;
  #failing: { id: number; gpa: number; expected: bigint } | undefined;
  #exception: { syndrome: bigint; pc: bigint } | undefined;

  constructor(reportGpa: Integer = REPORT_GPA) {
    this.#reportGpa = reportGpa;
  }

  /**
   * The event that this exit completes; `pending` when it is one part of a failed check, undefined when it is no report.
   * Throws RangeError when the parts of a check come in an order that no program of ours makes.
   */
  accept(exit: MmioExit): GuestEvent | 'pending' | undefined {
    const report = readReport(exit, this.#reportGpa);
    if (report === undefined) return undefined;
    const { tag, value } = report;
    if (tag < FIRST_RESERVED_TAG) return { kind: 'report', tag, value };
    if (tag === CHECK_TAGS.PASSED) return { kind: 'check', id: Number(value), passed: true };
    if (tag === HALT_TAG) return { kind: 'halt' };
    if (tag >= EXCEPTION_TAGS.SYNDROME && tag <= EXCEPTION_TAGS.ADDRESS) return this.#acceptException(tag, value);
    if (tag === CHECK_TAGS.FAILED) {
      this.#failing = { id: Number(value), gpa: 0, expected: 0n };
      return 'pending';
    }
    const failing = this.#failing;
    if (failing === undefined) throw new RangeError(`report tag ${formatHex(tag)} outside a failed check`);
    if (tag === CHECK_TAGS.GPA) failing.gpa = Number(value);
    else if (tag === CHECK_TAGS.EXPECTED) failing.expected = value;
    else if (tag === CHECK_TAGS.ACTUAL) {
      this.#failing = undefined;
      return { kind: 'check', passed: false, ...failing, actual: value };
    } else throw new RangeError(`report tag ${formatHex(tag)} is reserved and has no meaning`);
    return 'pending';
  }

  #acceptException(tag: number, value: bigint): GuestEvent | 'pending' {
    if (tag === EXCEPTION_TAGS.SYNDROME) {
      this.#exception = { syndrome: value, pc: 0n };
      return 'pending';
    }
    const exception = this.#exception;
    if (exception === undefined) throw new RangeError(`report tag ${formatHex(tag)} outside an exception`);
    if (tag === EXCEPTION_TAGS.PC) {
      exception.pc = value;
      return 'pending';
    }
    this.#exception = undefined;
    return { kind: 'exception', ...exception, address: value };
  }
}
