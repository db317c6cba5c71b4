/** memfd_create(2): an anonymous tmpfs or hugetlbfs file that can be sealed. */
import type { Int } from '../kernel/kernel.ts';
import type { Sys } from '../kernel/sys.ts';
import { MFD } from '../uapi/memfd.ts';
import { MemFile } from './mem-file.ts';

/** Sizes of huge pages that MFD_HUGETLB can name, in bytes, by their log2 in bits 26..31 of the flags. */
const HUGE_SHIFT = 26;

export interface MemfdOptions {
  /** At most 249 bytes, else EINVAL. Default `privmem`. */
  readonly name?: string;
  /** Bytes, set by ftruncate. Default 0: the file stays empty. */
  readonly size?: Int;
  /** MFD bits, on top of those that the other options imply. */
  readonly flags?: number;
  /** MFD_ALLOW_SEALING. Default true: without it nothing can be sealed. */
  readonly sealable?: boolean;
  /** Backs the file by huge pages of this size in bytes (a power of two; 2 MiB and 1 GiB on x86-64). ENODEV when there is no such size. */
  readonly hugePageSize?: number;
}

export class Memfd extends MemFile {
  private constructor(sys: Sys, fd: number) {
    super(sys, undefined, 'memfd', fd);
  }

  /**
   * memfd_create(2), then ftruncate(2) if there is a size. EINVAL for unknown flags or a name over 249 bytes, EACCES under
   * vm.memfd_noexec=2 with MFD_EXEC, EMFILE, ENFILE, ENOMEM. Always close-on-exec.
   */
  static create(sys: Sys, options: MemfdOptions = {}): Memfd {
    const { name = 'privmem', size = 0, flags = 0, sealable = true, hugePageSize } = options;
    const bits = flags | MFD.value.MFD_CLOEXEC | (sealable ? MFD.value.MFD_ALLOW_SEALING : 0) | hugeFlags(hugePageSize);
    const file = new Memfd(sys, sys.memfdCreate(name, bits >>> 0));
    if (size !== 0 && size !== 0n) {
      try {
        file.truncate(size);
      } catch (error) {
        file.close();
        throw error;
      }
    }
    return file;
  }
}

function hugeFlags(size: number | undefined): number {
  if (size === undefined) return 0;
  const log2 = Math.log2(size);
  if (!Number.isInteger(log2) || log2 < 0 || log2 > 63)
    throw new RangeError(`hugePageSize must be a power of two, got ${size}`);
  return MFD.value.MFD_HUGETLB | (log2 << HUGE_SHIFT);
}
