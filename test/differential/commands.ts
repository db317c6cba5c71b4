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
  | { readonly do: 'readlink'; readonly slot: number; readonly room: number }
  | { readonly do: 'fchown'; readonly slot: number }
  | { readonly do: 'flock'; readonly slot: number; readonly operation: number }
  | { readonly do: 'lease'; readonly slot: number; readonly lease: number }
  | { readonly do: 'poll'; readonly slot: number; readonly events: number }
  | { readonly do: 'fsync'; readonly slot: number; readonly data: boolean }
  | {
      readonly do: 'syncRange' | 'fadvise';
      readonly slot: number;
      readonly offset: bigint;
      readonly length: bigint;
      readonly how: number;
    }
  | { readonly do: 'readahead'; readonly slot: number; readonly offset: bigint; readonly count: bigint }
  | { readonly do: 'pipe'; readonly slot: number; readonly other: number; readonly flags: number }
  | {
      readonly do: 'splice' | 'copyRange';
      readonly slot: number;
      readonly to: number;
      readonly length: bigint;
      readonly flags: number;
    }
  | { readonly do: 'sendfile'; readonly slot: number; readonly to: number; readonly count: bigint }
  | {
      readonly do: 'vmsplice';
      readonly slot: number;
      readonly at: At;
      readonly length: bigint;
      readonly flags: number;
    }
  | { readonly do: 'mlock'; readonly at: At; readonly length: bigint; readonly flags: number }
  | { readonly do: 'munlock'; readonly at: At; readonly length: bigint }
  | { readonly do: 'msync'; readonly at: At; readonly length: bigint; readonly flags: number }
  | {
      readonly do: 'mbind';
      readonly at: At;
      readonly length: bigint;
      readonly mode: number;
      readonly nodes: readonly number[];
      readonly flags: number;
    }
  | { readonly do: 'policy'; readonly at: At; readonly room: number; readonly flags: number }
  | { readonly do: 'vmRead'; readonly at: At; readonly length: number }
  | { readonly do: 'vmWrite'; readonly at: At; readonly length: number; readonly byte: number }
  | { readonly do: 'munmap'; readonly at: At; readonly length: bigint }
  | { readonly do: 'mprotect'; readonly at: At; readonly length: bigint; readonly prot: number }
  | { readonly do: 'madvise'; readonly at: At; readonly length: bigint; readonly advice: number }
  | { readonly do: 'mincore'; readonly at: At; readonly length: bigint; readonly room: number }
  | { readonly do: 'copyOut'; readonly at: At; readonly length: number }
  | { readonly do: 'copyIn'; readonly at: At; readonly length: number; readonly byte: number }
  | { readonly do: 'fill'; readonly at: At; readonly length: number; readonly byte: number }
  | { readonly do: 'compare'; readonly at: At; readonly length: number; readonly byte: number };
