/** What regions are made of, as they are asked for. Addresses and sizes in bytes. */
import type { PrivateOptions } from './backing.ts';
import type { SharedBacking, Side } from './words.ts';

interface Place {
  readonly name: string;
  /** Bytes, a multiple of the page size. */
  readonly gpa: number;
}

interface RamPlace extends Place {
  readonly size: number;
  readonly shared: SharedBacking;
}

/** Memory with a shared side only, or with both and an initial state that is said. */
export type RamOptions = RamPlace &
  ({ readonly private?: false; readonly initial?: 'shared' } | (PrivateOptions & { readonly initial: Side }));

export interface RomOptions extends Place {
  /** Rounded up to whole pages with zeros. */
  readonly contents: Uint8Array;
}

export interface AliasOptions extends Place {
  /** Name of the region that is shown. */
  readonly of: string;
  /** Offset into that region in bytes. Default 0. */
  readonly offset?: number;
  /** Default: to the end of that region. */
  readonly size?: number;
}

export interface GuestMemoryOptions {
  /** The first memslot id; each region takes the lowest free one from there on. Default 0. */
  readonly firstSlot?: number;
}
