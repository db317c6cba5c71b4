/** What guest memory refuses, typed. */
import type { ConversionReceipt, GuestRange } from './words.ts';

const brand = Symbol.for('privmem.GuestMemoryError');
const conversionBrand = Symbol.for('privmem.ConversionError');

/**
 * `hole`: no region is there. `private-unreachable`: the page is private, and the host has no way to it. `rom`: a write to a ROM.
 * `one-sided`: a conversion of memory that has no private side. `fault`: the host's access faulted although the page is shared.
 */
export type GuestMemoryFault = 'hole' | 'private-unreachable' | 'rom' | 'one-sided' | 'fault';

const REASONS: Readonly<Record<GuestMemoryFault, string>> = {
  hole: 'no memory is there',
  'private-unreachable': 'the page is private; the host reaches it once the guest shares it',
  rom: 'it is a ROM; give its contents to addRom',
  'one-sided': 'the region has no private side; add it with `private`',
  fault: 'the host cannot get the page',
};

export class GuestMemoryError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && brand in value;
  }

  readonly kind: GuestMemoryFault;
  /** The first byte that could not be had. */
  readonly gpa: number;
  /** Bytes done before it. */
  readonly bytesDone: number;

  constructor(action: string, kind: GuestMemoryFault, gpa: number, bytesDone = 0, options?: ErrorOptions) {
    super(`${action}: ${kind} at gpa 0x${gpa.toString(16)} after ${bytesDone} bytes; ${REASONS[kind]}`, options);
    this.name = 'GuestMemoryError';
    this.kind = kind;
    this.gpa = gpa;
    this.bytesDone = bytesDone;
    Object.defineProperty(this, brand, { value: true });
  }
}

/**
 * `undone`: everything is as it was, but for what is in `lost`. `incomplete`: every page is converted, and pages of the other side are left.
 * `torn`: undoing failed too; the ledger says what is what.
 */
export type ConversionEnd = 'undone' | 'incomplete' | 'torn';

/** A conversion failed half-way. `cause` is the kernel's refusal, or what a listener threw. The ledger says what the kernel has now. */
export class ConversionError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && conversionBrand in value;
  }

  readonly end: ConversionEnd;
  readonly receipt: ConversionReceipt;
  /** Ranges whose contents were punched although they are not converted. */
  readonly lost: readonly GuestRange[];

  constructor(end: ConversionEnd, receipt: ConversionReceipt, lost: readonly GuestRange[], cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`conversion of ${receipt.bytes} bytes to ${receipt.to} failed, ${end}: ${why}`, { cause });
    this.name = 'ConversionError';
    this.end = end;
    this.receipt = receipt;
    this.lost = lost;
    Object.defineProperty(this, conversionBrand, { value: true });
  }
}
