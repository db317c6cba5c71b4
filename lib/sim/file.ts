/**
 * An open file description: what descriptors and mappings refer to. Its methods are the operations of one kind of file, called once the
 * checks that are the same for every file are over (file-calls.ts); the defaults are what the kernel answers when a file has no such
 * operation. Results are values of zero or more, or negated errnos.
 */
import { EINVAL, ENODEV, ENOTTY, ENXIO, EOPNOTSUPP } from './errno.ts';
import type { PagePart } from './files/paged.ts';
import type { PageStore } from './page-store.ts';
import type { Vma } from './vma.ts';

export const O_ACCMODE = 3;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_APPEND = 0x400;
export const O_NONBLOCK = 0x800;

export interface FileStat {
  readonly ino: bigint;
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly size: bigint;
  readonly blksize: number;
  /** In units of 512 bytes. */
  readonly blocks: bigint;
  /** f_type of statfs. */
  readonly fsType: number;
}

/** What a page fault yields: the page that everybody sees, or that there is none. */
export type Fault = Uint8Array | 'SIGBUS';

/** What mmap asks of a file. The file may take rights away from the mapping to be: that is how seals reach it. */
export interface MapRequest {
  readonly shared: boolean;
  readonly prot: number;
  /** PROT bits that mprotect may ever give. */
  mayProt: number;
  /** Set by files whose memory is locked by nature. */
  locked: boolean;
  /** MAP_NORESERVE: nothing is set aside for it. */
  readonly noReserve: boolean;
  readonly pages: number;
  readonly filePage: number;
}

export abstract class SimFile {
  /** What F_GETFL answers: access mode and status flags. */
  flags: number;
  /** The file offset of read, write and lseek. */
  position = 0n;
  /** A regular file: has a size that may change, can be fallocated. */
  readonly regular: boolean = false;
  /** Has lseek. */
  readonly seekable: boolean = false;
  /** Has pread and pwrite. */
  readonly positioned: boolean = false;
  /** Code cannot be mapped from it (MNT_NOEXEC, SB_I_NOEXEC). */
  readonly noexec: boolean = true;
  /** Mappings of it can be pinned by the kernel (get_user_pages): for KVM, populating and the like. Secret memory cannot. */
  readonly pinnable: boolean = true;
  /** Its pages can be swapped out, as those of anonymous memory: shmem. */
  readonly swapBacked: boolean = false;
  /** Takes O_DIRECT: FMODE_CAN_ODIRECT. */
  readonly direct: boolean = false;
  /** Page size that mappings of it must keep to, in bytes. */
  readonly mapAlign: number = 4096;
  /** A FIFO. */
  readonly fifo: boolean = false;
  /** Has a splice_read operation … */
  readonly splicesOut: boolean = false;
  /** … and a splice_write operation. */
  readonly splicesIn: boolean = false;
  /** readahead(2) takes it. */
  get readsAhead(): boolean {
    return false;
  }
  /** Opened by open(2), which counts those who write and those who only read. */
  readonly opened: boolean = false;
  /** The page cache, for files that have one. */
  readonly pages: PageStore | undefined = undefined;
  #references = 0;
  readonly #afterwards: (() => void)[] = [];

  constructor(flags: number) {
    this.flags = flags;
  }

  get readable(): boolean {
    return (this.flags & O_ACCMODE) !== O_WRONLY;
  }

  get writable(): boolean {
    return (this.flags & O_ACCMODE) !== 0;
  }

  /** Has an mmap operation. */
  get mappable(): boolean {
    return false;
  }

  /** One more descriptor, mapping or other holder. */
  retain(): void {
    this.#references++;
  }

  /** One holder less; the last one ends the file. */
  drop(): void {
    this.#references--;
    if (this.#references > 0) return;
    for (const then of this.#afterwards) then();
    this.release();
  }

  /** Calls `then` when the last holder is gone: locks go with the description that holds them. */
  onRelease(then: () => void): void {
    this.#afterwards.push(then);
  }

  /** The last holder is gone. */
  protected release(): void {}

  abstract stat(): FileStat;

  /** open(2) of /proc/self/fd/N: another description of the same file, or a negated errno. */
  reopen(_flags: number): SimFile | number {
    return -ENXIO;
  }

  /** What /proc/self/fd shows. */
  abstract linkName(): string;

  /** The POLL bits that hold: those of a file without a poll operation, for which it is always ready. */
  poll(): number {
    return 0x145;
  }

  /** fsync and fdatasync: there is nothing to write back, but not every file has the operation. */
  fsync(): number {
    return -EINVAL;
  }

  /** fchown(2), by a process that may. */
  chown(): number {
    return -EOPNOTSUPP;
  }

  /** What carries the memory policies of its pages, where that is not the mapping. */
  get policyInode(): object | undefined {
    return undefined;
  }

  /** Whether leases can be had on it. */
  leasable(everywhere: boolean): boolean {
    return everywhere && this.regular;
  }

  /** Up to `length` bytes at `at`, in parts that each lie in one page: what splice_read puts into a pipe. */
  spliceRead(_at: bigint, _length: number): PagePart[] | number {
    return [];
  }

  /** ioctl(2): `arg` is the bare argument; a pointer is read and written through the process's user memory. */
  ioctl(_request: number, _arg: bigint): number {
    return -ENOTTY;
  }

  /**
   * From `at`, which is the file's own matter when it is not seekable. `reached`: how many bytes of `into` the kernel can write, when not all;
   * where it can write none that it has something for, the result is EFAULT.
   */
  readAt(_into: Uint8Array, _at: bigint, _reached?: number): number {
    return -EINVAL;
  }

  writeAt(_from: Uint8Array, _at: bigint, _reached?: number): number {
    return -EINVAL;
  }

  /** Size that SEEK_END and O_APPEND start from. */
  get size(): bigint {
    return 0n;
  }

  /** An lseek of the file's own (character devices): the offset. Undefined: the generic one. */
  seek(_offset: bigint, _whence: number): bigint | undefined {
    return undefined;
  }

  /** SEEK_DATA (`data`) and SEEK_HOLE: the offset, or a negated errno. */
  seekContent(_from: bigint, _data: boolean): bigint {
    return -BigInt(EINVAL);
  }

  truncate(_length: bigint): number {
    return -EINVAL;
  }

  chmod(_mode: number): number {
    return -EOPNOTSUPP;
  }

  /** After the checks of vfs_fallocate, with offset and length in order. */
  fallocate(_mode: number, _offset: bigint, _length: bigint): number {
    return -EOPNOTSUPP;
  }

  /** `isPinned`: whether somebody holds pages of it, a pipe or a device. */
  addSeals(_seals: number, _isPinned: () => boolean): number {
    return -EINVAL;
  }

  getSeals(): number {
    return -EINVAL;
  }

  /** Cached pages of [first, last]; a negated errno when the file does not say. */
  cached(first: number, last: number): number {
    return this.pages?.count(first, last + 1) ?? 0;
  }

  /** What seals say of a mapping to be, before anything is done: 0, or a negated errno. */
  judge(_request: MapRequest): number {
    return 0;
  }

  /** The file's own part of mmap: 0, or a negated errno. What MAP_FIXED replaces is gone by then, even if this fails. */
  mmap(_request: MapRequest): number {
    return -ENODEV;
  }

  /** A mapping came to be (also by mprotect or a split off part) … */
  mapped(_vma: Vma): void {}

  /** … and is gone entirely. */
  unmapped(_vma: Vma): void {}

  /** A page that a mapping touches, by its number in the file. */
  fault(_filePage: number, _write: boolean): Fault {
    return 'SIGBUS';
  }
}
