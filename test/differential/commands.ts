/** The commands of a differential run: plain data, so that a sequence can be cut down and printed. */

/** An address: absolute, or relative to a mapping that the kernel placed. */
export type At = bigint | { readonly map: number; readonly offset: number };

export type Command =
  | { readonly do: 'memfd'; readonly slot: number; readonly name: string; readonly flags: number }
  | { readonly do: 'secret'; readonly slot: number; readonly flags: number }
  | { readonly do: 'eventfd'; readonly slot: number; readonly initial: number; readonly flags: number }
  | { readonly do: 'gmem'; readonly slot: number; readonly size: bigint; readonly flags: bigint }
  | { readonly do: 'open'; readonly slot: number; readonly path: string; readonly flags: number }
  | { readonly do: 'reopen'; readonly slot: number; readonly from: number; readonly flags: number }
  | { readonly do: 'dup'; readonly slot: number; readonly from: number; readonly least: number }
  | { readonly do: 'close'; readonly slot: number }
  | { readonly do: 'fcntl'; readonly slot: number; readonly command: number; readonly arg: number }
  | { readonly do: 'ftruncate'; readonly slot: number; readonly length: bigint }
  | { readonly do: 'fchmod'; readonly slot: number; readonly mode: number }
  | {
      readonly do: 'fallocate';
      readonly slot: number;
      readonly mode: number;
      readonly offset: bigint;
      readonly length: bigint;
    }
  | { readonly do: 'lseek'; readonly slot: number; readonly offset: bigint; readonly whence: number }
  | { readonly do: 'read'; readonly slot: number; readonly length: number }
  | { readonly do: 'write'; readonly slot: number; readonly length: number; readonly byte: number }
  | { readonly do: 'pread'; readonly slot: number; readonly length: number; readonly offset: bigint }
  | {
      readonly do: 'pwrite';
      readonly slot: number;
      readonly length: number;
      readonly byte: number;
      readonly offset: bigint;
    }
  | { readonly do: 'cachestat'; readonly slot: number; readonly offset: bigint; readonly length: bigint }
  | {
      readonly do: 'mmap';
      /** Slot for a mapping that the kernel places; absent with MAP_FIXED. */
      readonly map?: number;
      readonly at: bigint;
      readonly length: bigint;
      readonly prot: number;
      readonly flags: number;
      readonly slot: number;
      readonly offset: bigint;
    }
  | { readonly do: 'munmap'; readonly at: At; readonly length: bigint }
  | { readonly do: 'mprotect'; readonly at: At; readonly length: bigint; readonly prot: number }
  | { readonly do: 'madvise'; readonly at: At; readonly length: bigint; readonly advice: number }
  | { readonly do: 'mincore'; readonly at: At; readonly length: bigint; readonly room: number }
  | { readonly do: 'copyOut'; readonly at: At; readonly length: number }
  | { readonly do: 'copyIn'; readonly at: At; readonly length: number; readonly byte: number }
  | { readonly do: 'fill'; readonly at: At; readonly length: number; readonly byte: number }
  | { readonly do: 'compare'; readonly at: At; readonly length: number; readonly byte: number };
