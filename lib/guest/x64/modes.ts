import type { Integer } from '../numbers.ts';
import { toGpa } from '../numbers.ts';

/** The fields of KVM's struct kvm_segment. */
export interface Segment {
  readonly base: bigint;
  /** In bytes, whatever `g` says. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** The part of struct kvm_sregs that a mode decides; everything else keeps what KVM_GET_SREGS answers. */
export interface ModeRegisters {
  readonly cs: Segment;
  readonly ds: Segment;
  readonly es: Segment;
  readonly fs: Segment;
  readonly gs: Segment;
  readonly ss: Segment;
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

export const CR0_PE = 1n << 0n;
export const CR0_ET = 1n << 4n;
export const CR0_NE = 1n << 5n;
export const CR0_PG = 1n << 31n;
export const CR4_PAE = 1n << 5n;
export const EFER_LME = 1n << 8n;
export const EFER_LMA = 1n << 10n;

const CODE = 11;
const DATA = 3;

function segment(fields: Partial<Segment>): Segment {
  const flat = { base: 0n, limit: 0xffff_ffff, selector: 0, type: DATA, present: 1, dpl: 0, db: 0, s: 1, l: 0, g: 1 };
  return { ...flat, avl: 0, unusable: 0, ...fields };
}

function withData(cs: Segment, data: Segment): Pick<ModeRegisters, 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss'> {
  return { cs, ds: data, es: data, fs: data, gs: data, ss: data };
}

/**
 * 16-bit real mode with all segments at paragraph `segmentBase` / 16 (default 0): offsets 0 ... 0xffff.
 * Throws RangeError when the base is no multiple of 16 below 1 MiB.
 */
export function realMode(segmentBase: Integer = 0): ModeRegisters {
  const base = toGpa(segmentBase, 'segment base');
  if (base % 16 !== 0 || base > 0xffff0) throw new RangeError(`segment base: ${base} is no real-mode segment`);
  const common = { base: BigInt(base), limit: 0xffff, selector: base / 16, g: 0 };
  return {
    ...withData(segment({ ...common, type: CODE }), segment(common)),
    cr0: CR0_ET,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
  };
}

/** 32-bit protected mode, flat segments from 0 to 4 GiB, no paging. */
export function protectedMode(): ModeRegisters {
  return {
    ...withData(segment({ selector: 8, type: CODE, db: 1 }), segment({ selector: 16, db: 1 })),
    cr0: CR0_PE | CR0_ET | CR0_NE,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
  };
}

/** 64-bit long mode with the page tables at `cr3`. */
export function longMode(cr3: Integer): ModeRegisters {
  return {
    ...withData(segment({ selector: 8, type: CODE, l: 1 }), segment({ selector: 16, db: 1 })),
    cr0: CR0_PE | CR0_ET | CR0_NE | CR0_PG,
    cr3: BigInt(toGpa(cr3, 'cr3')),
    cr4: CR4_PAE,
    efer: EFER_LME | EFER_LMA,
  };
}
