/** What memfd, memfd_secret and guest_memfd have in common: a descriptor without a name whose pages can be mapped. */
import { Descriptor } from '../kernel/descriptor.ts';
import type { Int } from '../kernel/kernel.ts';
import type { CacheStat } from '../kernel/sys.ts';
import { FALLOC_FL } from '../uapi/memfd.ts';
import { SEEK } from '../uapi/mman.ts';
import { type MapOptions, Mapping } from './mapping.ts';

export abstract class MemFile extends Descriptor {
  /** Size in bytes, as fstat says it. RangeError above 2^53; `stat().size` has it exactly. */
  get size(): number {
    const { size } = this.stat();
    if (size > BigInt(Number.MAX_SAFE_INTEGER))
      throw new RangeError(`size ${size} is more than a number holds; see stat().size`);
    return Number(size);
  }

  /**
   * mmap(2), by default of the whole file, shared, readable and writable. The mapping has a life of its own: closing the file leaves it,
   * and it keeps the file's pages.
   */
  map(options: MapOptions = {}): Mapping {
    const length = options.length ?? BigInt(this.size) - BigInt(options.offset ?? 0);
    return Mapping.ofFile(this.sys, this.fd, length, options);
  }

  /** fallocate(2), mode bits FALLOC_FL. */
  fallocate(mode: number, offset: Int, length: Int): void {
    this.sys.fallocate(this.fd, mode, offset, length);
  }

  /** Allocates pages without changing the size: fallocate(FALLOC_FL_KEEP_SIZE). */
  allocate(offset: Int, length: Int): void {
    this.fallocate(FALLOC_FL.value.FALLOC_FL_KEEP_SIZE, offset, length);
  }

  /** Frees the pages of a range; whoever touches it next sees zeros: fallocate(FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE). */
  punchHole(offset: Int, length: Int): void {
    this.fallocate(FALLOC_FL.value.FALLOC_FL_PUNCH_HOLE | FALLOC_FL.value.FALLOC_FL_KEEP_SIZE, offset, length);
  }

  /** cachestat(2), in pages; length 0 means to the end. The only way to see what a guest_memfd holds. ENOSYS before Linux 6.5. */
  residency(offset: Int = 0, length: Int = 0): CacheStat {
    return this.sys.cachestat(this.fd, offset, length);
  }

  /** lseek(2) with SEEK_DATA or SEEK_HOLE: the offset in bytes. ENXIO when there is none; ESPIPE on guest_memfd and memfd_secret. */
  seek(what: 'data' | 'hole', offset: Int): bigint {
    return this.sys.lseek(this.fd, offset, what === 'data' ? SEEK.value.SEEK_DATA : SEEK.value.SEEK_HOLE);
  }
}
