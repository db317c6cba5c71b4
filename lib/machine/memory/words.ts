/** The words of guest memory: sides, ranges, policies, and what a conversion leaves behind. Sizes and addresses are in bytes everywhere. */
import type { MemFile } from '../../memory/mem-file.ts';

/** Which memory the guest gets at a page: the VM's own, or what the host sees too. */
export type Side = 'private' | 'shared';

export const otherSide = (side: Side): Side => (side === 'private' ? 'shared' : 'private');

/** Guest-physical. */
export interface GuestRange {
  readonly gpa: number;
  readonly size: number;
}

export interface SidedRange extends GuestRange {
  readonly side: Side;
}

/**
 * What a conversion does to contents, and when. `discard-left` (the default): convert, then punch the side that was left, so that memory does
 * not double. `discard-first`: punch it before. `discard-entered`: before, punch the side that is entered, so that the guest finds zeros and
 * nothing old; the left one stays. `keep`: punch nothing: memory may double, and what a side held shows again when it is entered again.
 */
export type Policy = 'discard-left' | 'discard-first' | 'discard-entered' | 'keep';

export interface ConvertOptions {
  /** Default `discard-left`. */
  readonly policy?: Policy;
  /** What to do about gpas without memory: refuse the whole conversion (default), or leave them out. */
  readonly holes?: 'refuse' | 'skip';
  /** Ask for the residency of both sides before and after, which costs system calls. Default false. */
  readonly measure?: boolean;
}

/** Bytes that each side holds. */
export interface Residency {
  readonly private: number;
  readonly shared: number;
}

/** `attributes`: KVM_SET_MEMORY_ATTRIBUTES, two backings. `in-place`: KVM_SET_MEMORY_ATTRIBUTES2 on the guest_memfd, one backing. */
export type Strategy = 'attributes' | 'in-place';

/** One call of a conversion, planned or made. */
export interface PlannedCall extends GuestRange {
  readonly does: 'convert' | 'discard';
  /** The side entered by a conversion; the side whose pages are given back by a discard. */
  readonly side: Side;
  /** `KVM_SET_MEMORY_ATTRIBUTES`, `fallocate`, `madvise`. */
  readonly request: string;
}

export interface MadeCall extends GuestRange {
  readonly does: 'convert' | 'discard' | 'undo';
  readonly side: Side;
  readonly request: string;
  readonly outcome: 'done' | 'failed';
}

export interface ConversionPlan {
  readonly to: Side;
  readonly policy: Policy;
  readonly strategy: Strategy;
  /** What will change: in ascending order, coalesced. */
  readonly ranges: readonly GuestRange[];
  /** What was asked for and is so already. */
  readonly unchanged: readonly GuestRange[];
  /** What was asked for and has no memory (`holes: 'skip'`). */
  readonly skipped: readonly GuestRange[];
  /** Parts of huge pages that no discard can give back, because the rest of their page is in use. */
  readonly kept: readonly GuestRange[];
  readonly bytes: number;
  /** In the order in which they are made. */
  readonly calls: readonly PlannedCall[];
}

export interface ConversionReceipt extends Omit<ConversionPlan, 'calls'> {
  /** Every call that was made, refused and undone ones included. */
  readonly calls: readonly MadeCall[];
  /** Bytes whose pages were given back, whether or not there were any. */
  readonly discarded: Residency;
  readonly residency?: { readonly before: Residency; readonly after: Residency };
}

/** A part of memory that came into use or went out of it on one side; `discard` says whether its pages are given back. */
export interface SideChange extends SidedRange {
  readonly punched: boolean;
}

/**
 * `discard`: this side of the range goes out of use; told before, so that a device lets go of it. `populate`: it came into use; a listener
 * that throws fails the conversion, which is undone. `convert`: a conversion is complete.
 */
export interface MemoryEvents {
  readonly populate: SideChange;
  readonly discard: SideChange;
  readonly convert: ConversionReceipt;
}

/**
 * Memory of the shared side. `memfd`: a file of this region's own. `anonymous`: MAP_PRIVATE memory. `hugetlb`: a memfd with huge pages of
 * that many bytes. `file`: part of a file of yours, which is not closed with the region. `guest-memfd`: the private file itself, mapped
 * (Linux 6.18; conversion needs the in-place series).
 */
export type SharedBacking =
  | 'memfd'
  | 'anonymous'
  | 'guest-memfd'
  | { readonly hugetlb: number }
  | { readonly file: MemFile; readonly offset?: number };
