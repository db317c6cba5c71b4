/** memfd: a file in memory with seals. mm/shmem.c */
import { EFAULT, EFBIG, EOPNOTSUPP, EPERM } from '../errno.ts';
import { type Fault, type FileStat, type MapRequest, O_RDWR, type SimFile } from '../file.ts';
import { offsetIn, PAGE_SIZE, pageOf, pagesIn } from '../page.ts';
import type { Memfile } from '../patches/memfile.ts';
import { type PagePart, seekPages, splicePages, writePages } from './paged.ts';
import {
  F_SEAL_EXEC,
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  SealedFile,
  SealedInode,
  type SealedOptions,
  WRITE_SEALS,
} from './sealed.ts';

export { Seals } from './sealed.ts';

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const EXECUTE = 0o111;
const TMPFS_MAGIC = 0x01021994;
const OFFSET_MAX = 2n ** 63n - 1n;
/** The largest folio of tmpfs, and so the largest chunk of a write. */
const HUGE = 2n ** 21n;
const O_TRUNC = 0x200;

export interface MemfdOptions extends SealedOptions {
  /** Of kernels with a series of 2022. */
  readonly memfile?: Memfile;
}

export class MemfdInode extends SealedInode {
  readonly memfile: Memfile | undefined;
  /** Open descriptions. */
  users = 0;

  constructor(options: MemfdOptions) {
    super(options);
    this.memfile = options.memfile;
  }
}

export class MemfdFile extends SealedFile<MemfdInode> {
  override readonly swapBacked = true;
  override readonly direct: boolean;
  override readonly splicesOut = true;
  override readonly splicesIn = true;

  /** `opened`: by open(2), which alone asks tmpfs whether it knows O_DIRECT. */
  constructor(inode: MemfdInode, flags: number = O_RDWR, opened = false) {
    super(inode, flags, opened);
    this.direct = opened && inode.profile.tmpfsDirect;
    inode.users++;
  }

  /** What a kernel with a series of 2022 adds. */
  get memfile(): Memfile | undefined {
    return this.inode.memfile;
  }

  get ino(): bigint {
    return this.inode.ino;
  }

  protected override release(): void {
    this.inode.users--;
    if (this.inode.users === 0) this.inode.memfile?.release();
  }

  get #isClosed(): boolean {
    return this.inode.memfile?.inaccessible === true;
  }

  static create(options: MemfdOptions): MemfdFile {
    return new MemfdFile(new MemfdInode(options));
  }

  override reopen(flags: number): SimFile | number {
    const file = new MemfdFile(this.inode, flags & ~O_TRUNC, true);
    if ((flags & O_TRUNC) === 0) return file;
    const result = file.truncate(0n);
    return result < 0 ? result : file;
  }

  stat(): FileStat {
    return this.statAs(PAGE_SIZE, TMPFS_MAGIC);
  }

  override leasable(_everywhere: boolean): boolean {
    return true;
  }

  override get policyInode(): object {
    return this.inode;
  }

  /** shmem_file_splice_read: the pages themselves; holes are the zero page. */
  override spliceRead(at: bigint, length: number): PagePart[] | number {
    return this.#isClosed ? -EPERM : splicePages(this.pages, at, length, this.inode.size);
  }

  override readAt(into: Uint8Array, at: bigint, reached?: number): number {
    if (this.#isClosed) return -EPERM;
    return super.readAt(into, at, reached);
  }

  /** Page by page, as generic_perform_write: what was written before a page that is refused stays. */
  override writeAt(from: Uint8Array, at: bigint, reached: number = from.length): number {
    if (this.#isClosed) return -EPERM;
    if (from.length === 0) return 0;
    if (at >= OFFSET_MAX) return -EFBIG;
    const { prefaultsWrites: prefaults } = this.inode.profile;
    if (prefaults && reached === 0) return -EFAULT;
    if (this.inode.seals.has(WRITE_SEALS)) return -EPERM;
    // generic_write_check_limits.
    const left = OFFSET_MAX - at;
    const clipped = BigInt(from.length) > left ? from.subarray(0, Number(left)) : from;
    const room = this.inode.seals.has(F_SEAL_GROW) ? this.#roomFor(at + BigInt(clipped.length)) : OFFSET_MAX;
    const done = writePages(this.pages, clipped, at, { room, reached: Math.min(reached, clipped.length), prefaults });
    if (done < 0 && (done !== -EFAULT || prefaults)) return done;
    // shmem_write_end also ends a page of which nothing could be copied: the file reaches up to it then.
    const end = at + BigInt(Math.max(0, done));
    if (end > this.inode.size) this.inode.size = end;
    return done;
  }

  override seekContent(from: bigint, data: boolean): bigint {
    return seekPages(this.pages, from, this.inode.size, data);
  }

  override truncate(length: bigint): number {
    const refused = this.inode.memfile?.mayTruncate(this.inode.size, length) ?? 0;
    if (refused !== 0) return refused;
    if (length < this.inode.size && this.inode.seals.has(F_SEAL_SHRINK)) return -EPERM;
    if (length > this.inode.size && this.inode.seals.has(F_SEAL_GROW)) return -EPERM;
    const shrinks = length <= this.inode.size;
    this.inode.size = length;
    if (!shrinks) return 0;
    // Also what fallocate(KEEP_SIZE) put behind the end goes, and what mappings wrote behind it in the last page.
    const offset = offsetIn(length);
    if (offset > 0) this.pages.zero(pageOf(length), offset, PAGE_SIZE);
    this.pages.punch(pagesIn(length), Number.POSITIVE_INFINITY, 'truncate');
    return 0;
  }

  override chmod(mode: number): number {
    const bits = mode & 0o7777;
    if (this.inode.seals.has(F_SEAL_EXEC) && ((bits ^ this.inode.mode) & EXECUTE) !== 0) return -EPERM;
    this.inode.mode = bits;
    return 0;
  }

  override fallocate(mode: number, offset: bigint, length: bigint): number {
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP;
    const end = offset + length;
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      if (this.inode.seals.has(WRITE_SEALS)) return -EPERM;
      return this.#punchNoted(offset, end);
    }
    if (this.inode.seals.has(F_SEAL_GROW) && end > this.inode.size) return -EPERM;
    const refused = this.inode.memfile?.mayAllocate(this.pages, offset, end) ?? 0;
    if (refused !== 0) return refused;
    // shmem_get_folio_gfp clears, and so fills, a page that was only fallocated before.
    this.pages.allocate(pageOf(offset), pagesIn(end), true);
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0 && end > this.inode.size) this.inode.size = end;
    this.inode.memfile?.allocated(pageOf(offset), pagesIn(end));
    return 0;
  }

  /** How far a write up to `end` gets that must not make the file longer. generic_perform_write asks for each chunk as a whole. */
  #roomFor(end: bigint): bigint {
    const { size } = this.inode;
    if (end <= size || !this.inode.profile.largeWrites) return size;
    return size - (size % HUGE);
  }

  #punchNoted(offset: bigint, end: bigint): number {
    const { memfile } = this.inode;
    const refused = memfile?.mayPunch(offset, end) ?? 0;
    if (refused !== 0) return refused;
    const before = this.pages.allocated;
    this.#punch(offset, end);
    memfile?.punched(before - this.pages.allocated, pageOf(offset), pagesIn(end));
    return 0;
  }

  #punch(from: bigint, to: bigint): void {
    const first = pagesIn(from);
    const last = pageOf(to);
    if (first > last) {
      this.pages.zero(last, offsetIn(from), offsetIn(to));
      return;
    }
    if (offsetIn(from) > 0) this.pages.zero(pageOf(from), offsetIn(from), PAGE_SIZE);
    if (offsetIn(to) > 0) this.pages.zero(last, 0, offsetIn(to));
    this.pages.punch(first, last);
  }

  override mmap(_request: MapRequest): number {
    return this.#isClosed ? -EPERM : 0;
  }

  override fault(filePage: number, write: boolean): Fault {
    return filePage < pagesIn(this.inode.size) && !this.#isClosed ? this.pages.page(filePage, write) : 'SIGBUS';
  }
}
