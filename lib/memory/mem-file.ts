/** What memfd, memfd_secret and guest_memfd have in common: a descriptor without a name whose pages can be mapped. */
import { Descriptor } from '../kernel/descriptor.ts';
import type { Int } from '../kernel/kernel.ts';
import type { CacheStat } from '../kernel/sys.ts';
import { FALLOC_FL } from '../uapi/memfd.ts';
import { F, SEEK } from '../uapi/mman.ts';
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

  /** ftruncate(2). EPERM under the SHRINK or GROW seal; EINVAL on a guest_memfd, and on memfd_secret once it has a size. */
  truncate(size: Int): void {
    this.sys.ftruncate(this.fd, size);
  }

  /** fchmod(2), permission bits. EPERM when F_SEAL_EXEC is set and an x bit would change; EINVAL on a guest_memfd. */
  chmod(mode: number): void {
    this.sys.fchmod(this.fd, mode);
  }

  /** F_ADD_SEALS. EPERM when sealed against it, EBUSY for F_SEAL_WRITE while a shared mapping could be written, EINVAL for unknown bits. */
  addSeals(seals: number): void {
    this.sys.fcntl(this.fd, F.value.F_ADD_SEALS, seals);
  }

  /** F_GET_SEALS: the F_SEAL bits. EINVAL on files that cannot be sealed: guest_memfd, memfd_secret. */
  get seals(): number {
    return this.sys.fcntl(this.fd, F.value.F_GET_SEALS);
  }

  /** read(2) at the file's own position: bytes read. EINVAL on guest_memfd and memfd_secret. */
  read(into: Uint8Array): number {
    return this.sys.read(this.fd, into);
  }

  /** write(2) at the file's own position: bytes written. EINVAL on guest_memfd and memfd_secret. */
  write(from: Uint8Array): number {
    return this.sys.write(this.fd, from);
  }

  /** pread(2): bytes read; holes read as zeros. ESPIPE on guest_memfd and memfd_secret. */
  pread(into: Uint8Array, offset: Int): number {
    return this.sys.pread(this.fd, into, offset);
  }

  /** pwrite(2): bytes written. EPERM under the WRITE or FUTURE_WRITE seal, and past the size under GROW; ESPIPE as pread. */
  pwrite(from: Uint8Array, offset: Int): number {
    return this.sys.pwrite(this.fd, from, offset);
  }

  /** lseek(2) with SEEK_DATA or SEEK_HOLE: the offset in bytes. ENXIO when there is none; ESPIPE on guest_memfd and memfd_secret. */
  seek(what: 'data' | 'hole', offset: Int): bigint {
    return this.sys.lseek(this.fd, offset, what === 'data' ? SEEK.value.SEEK_DATA : SEEK.value.SEEK_HOLE);
  }

  /** fchown(2); -1 leaves an id as it is. EPERM without CAP_CHOWN; EINVAL on a guest_memfd. */
  chown(uid: number, gid: number): void {
    this.sys.fchown(this.fd, uid, gid);
  }

  /** flock(2), LOCK bits. EAGAIN with LOCK_NB while another open file of the same memory has a lock that conflicts; else it waits. */
  flock(operation: number): void {
    this.sys.flock(this.fd, operation);
  }

  /** F_SETLEASE: F_RDLCK, F_WRLCK or F_UNLCK of LEASE. EAGAIN when others have the file open in a way that conflicts, or have no lease to end. */
  setLease(lease: number): void {
    this.sys.fcntl(this.fd, F.value.F_SETLEASE, lease);
  }

  /** F_GETLEASE: F_UNLCK when there is none. */
  lease(): number {
    return this.sys.fcntl(this.fd, F.value.F_GETLEASE);
  }

  /** fsync(2). There is nothing to write back; EINVAL on guest_memfd and memfd_secret, which have no such operation. */
  fsync(): void {
    this.sys.fsync(this.fd);
  }

  /** fdatasync(2), as fsync. */
  fdatasync(): void {
    this.sys.fdatasync(this.fd);
  }

  /** sync_file_range(2), SYNC_FILE_RANGE bits; length 0 means to the end. EINVAL for unknown bits and ranges that wrap. */
  syncRange(flags: number, offset: Int = 0, length: Int = 0): void {
    this.sys.syncFileRange(this.fd, offset, length, flags);
  }

  /** posix_fadvise(2), advice POSIX_FADV; length 0 means to the end. EINVAL for unknown advice. */
  advise(advice: number, offset: Int = 0, length: Int = 0): void {
    this.sys.fadvise(this.fd, offset, length, advice);
  }

  /** readahead(2). EINVAL on guest_memfd, and on whatever is no ordinary file. */
  readahead(offset: Int, count: Int): void {
    this.sys.readahead(this.fd, offset, count);
  }

  /** sendfile(2) from this file's own position to the other file's: bytes copied. EINVAL on guest_memfd and memfd_secret. */
  sendTo(out: Descriptor, count: Int): number {
    return this.sys.sendfile(out.fd, this.fd, count);
  }

  /** copy_file_range(2) from this file's own position to the other file's: bytes copied. EINVAL on guest_memfd; EXDEV between file systems. */
  copyRangeTo(out: Descriptor, length: Int): number {
    return this.sys.copyFileRange(this.fd, out.fd, length);
  }
}
