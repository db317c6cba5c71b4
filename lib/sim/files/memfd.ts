/** memfd: a file in memory with seals. mm/memfd.c, mm/shmem.c */
import { EBUSY, EFBIG, EINVAL, EOPNOTSUPP, EPERM } from '../errno.ts';
import { type Fault, type FileStat, type MapRequest, O_RDWR, SimFile } from '../file.ts';
import { offsetIn, PAGE_SIZE, pageOf, pagesIn } from '../page.ts';
import { PageStore } from '../page-store.ts';
import type { Memfile } from '../patches/memfile.ts';
import type { Profile } from '../profile.ts';
import type { Vma } from '../vma.ts';
import { readPages, seekPages, writePages } from './paged.ts';

export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
export const F_SEAL_WRITE = 8;
export const F_SEAL_FUTURE_WRITE = 0x10;
export const F_SEAL_EXEC = 0x20;
const WRITE_SEALS = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const PROT_WRITE = 2;
const EXECUTE = 0o111;
const TMPFS_MAGIC = 0x01021994;
const OFFSET_MAX = 2n ** 63n - 1n;
export const O_LARGEFILE = { x64: 0x8000, arm64: 0x20000 } as const;

export interface MemfdOptions {
  readonly profile: Profile;
  readonly ino: bigint;
  /** Permission bits. */
  readonly mode: number;
  readonly seals: number;
  readonly size?: bigint;
  /** Of kernels with a series of 2022. */
  readonly memfile?: Memfile;
}

/** Seals, and what they say of a mapping to be: the same for files in ordinary and in huge pages. */
export class Seals {
  readonly #profile: Profile;
  bits: number;
  /** Shared mappings that can be written, or could be after mprotect: i_mmap_writable. */
  writableMappings = 0;

  constructor(bits: number, profile: Profile) {
    this.bits = bits;
    this.#profile = profile;
  }

  has(bits: number): boolean {
    return (this.bits & bits) !== 0;
  }

  /** memfd_add_seals, behind its first check. */
  add(bits: number, mode: number): number {
    const known = this.#profile.memfdExec ? 0x3f : 0x1f;
    if ((bits & ~known) !== 0) return -EINVAL;
    if (this.has(F_SEAL_SEAL)) return -EPERM;
    // W^X from the start.
    const implied = (bits & F_SEAL_EXEC) !== 0 && (mode & EXECUTE) !== 0;
    const all = bits | (implied ? F_SEAL_SHRINK | F_SEAL_GROW | WRITE_SEALS : 0);
    const asked = this.#profile.execSealJudged ? all : bits;
    if ((asked & F_SEAL_WRITE) !== 0 && !this.has(F_SEAL_WRITE) && this.writableMappings > 0) return -EBUSY;
    this.bits |= all;
    return 0;
  }

  /** memfd_check_seals_mmap. */
  judge(request: MapRequest): number {
    if (!request.shared || !this.has(WRITE_SEALS)) return 0;
    const writable = (request.mayProt & PROT_WRITE) !== 0;
    if (writable && (request.prot & PROT_WRITE) !== 0) return -EPERM;
    // Before 6.7 a shared mapping of a writable descriptor counted as a writer even when it only read.
    if (writable && this.has(F_SEAL_WRITE) && !this.#profile.sealedReadMaps) return -EPERM;
    request.mayProt &= ~PROT_WRITE;
    return 0;
  }
}

/** The file behind every description of it. */
export class MemfdInode {
  readonly profile: Profile;
  readonly ino: bigint;
  readonly seals: Seals;
  readonly pages = new PageStore();
  readonly memfile: Memfile | undefined;
  mode: number;
  size: bigint;
  /** Open descriptions. */
  users = 0;

  constructor({ profile, ino, mode, seals, size = 0n, memfile }: MemfdOptions) {
    this.memfile = memfile;
    this.profile = profile;
    this.ino = ino;
    this.mode = mode;
    this.seals = new Seals(seals, profile);
    this.size = size;
  }
}

const O_TRUNC = 0x200;

export class MemfdFile extends SimFile {
  readonly #inode: MemfdInode;
  override readonly regular = true;
  override readonly swapBacked = true;
  override readonly seekable = true;
  override readonly positioned = true;
  override readonly noexec = false;
  override readonly direct: boolean;
  override readonly pages: PageStore;

  /** `opened`: by open(2), which alone asks tmpfs whether it knows O_DIRECT. */
  constructor(inode: MemfdInode, flags: number = O_RDWR, opened = false) {
    super(flags | O_LARGEFILE[inode.profile.arch]);
    this.#inode = inode;
    this.direct = opened && inode.profile.tmpfsDirect;
    this.pages = inode.pages;
    inode.users++;
  }

  /** What a kernel with a series of 2022 adds. */
  get memfile(): Memfile | undefined {
    return this.#inode.memfile;
  }

  get ino(): bigint {
    return this.#inode.ino;
  }

  protected override release(): void {
    this.#inode.users--;
    if (this.#inode.users === 0) this.#inode.memfile?.release();
  }

  get #isClosed(): boolean {
    return this.#inode.memfile?.inaccessible === true;
  }

  static create(options: MemfdOptions): MemfdFile {
    return new MemfdFile(new MemfdInode(options));
  }

  override reopen(flags: number): SimFile | number {
    const file = new MemfdFile(this.#inode, flags & ~O_TRUNC, true);
    if ((flags & O_TRUNC) === 0) return file;
    const result = file.truncate(0n);
    return result < 0 ? result : file;
  }

  override get mappable(): boolean {
    return true;
  }

  override get size(): bigint {
    return this.#inode.size;
  }

  stat(): FileStat {
    const blocks = BigInt(this.pages.allocated) * 8n;
    const mode = 0o100000 | this.#inode.mode;
    return {
      ino: this.#inode.ino,
      mode,
      nlink: 0,
      size: this.#inode.size,
      blksize: PAGE_SIZE,
      blocks,
      fsType: TMPFS_MAGIC,
    };
  }

  override readAt(into: Uint8Array, at: bigint): number {
    if (this.#isClosed) return -EPERM;
    return readPages(this.pages, into, at, this.#inode.size);
  }

  /** Page by page, as generic_perform_write: what was written before a page that is refused stays. */
  override writeAt(from: Uint8Array, at: bigint): number {
    if (this.#isClosed) return -EPERM;
    if (from.length === 0) return 0;
    if (at >= OFFSET_MAX) return -EFBIG;
    if (this.#inode.seals.has(WRITE_SEALS)) return -EPERM;
    // generic_write_check_limits.
    const left = OFFSET_MAX - at;
    const clipped = BigInt(from.length) > left ? from.subarray(0, Number(left)) : from;
    const room = this.#inode.seals.has(F_SEAL_GROW) ? this.#inode.size : OFFSET_MAX;
    const done = writePages(this.pages, clipped, at, room);
    if (done === 0) return -EPERM;
    const end = at + BigInt(done);
    if (end > this.#inode.size) this.#inode.size = end;
    return done;
  }

  override seekContent(from: bigint, data: boolean): bigint {
    return seekPages(this.pages, from, this.#inode.size, data);
  }

  override truncate(length: bigint): number {
    const refused = this.#inode.memfile?.mayTruncate(this.#inode.size, length) ?? 0;
    if (refused !== 0) return refused;
    if (length < this.#inode.size && this.#inode.seals.has(F_SEAL_SHRINK)) return -EPERM;
    if (length > this.#inode.size && this.#inode.seals.has(F_SEAL_GROW)) return -EPERM;
    const shrinks = length <= this.#inode.size;
    this.#inode.size = length;
    if (!shrinks) return 0;
    // Also what fallocate(KEEP_SIZE) put behind the end goes, and what mappings wrote behind it in the last page.
    const offset = offsetIn(length);
    if (offset > 0) this.pages.zero(pageOf(length), offset, PAGE_SIZE);
    this.pages.punch(pagesIn(length), Number.POSITIVE_INFINITY, 'truncate');
    return 0;
  }

  override chmod(mode: number): number {
    const bits = mode & 0o7777;
    if (this.#inode.seals.has(F_SEAL_EXEC) && ((bits ^ this.#inode.mode) & EXECUTE) !== 0) return -EPERM;
    this.#inode.mode = bits;
    return 0;
  }

  override fallocate(mode: number, offset: bigint, length: bigint): number {
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP;
    const end = offset + length;
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      if (this.#inode.seals.has(WRITE_SEALS)) return -EPERM;
      return this.#punchNoted(offset, end);
    }
    if (this.#inode.seals.has(F_SEAL_GROW) && end > this.#inode.size) return -EPERM;
    const refused = this.#inode.memfile?.mayAllocate(this.pages, offset, end) ?? 0;
    if (refused !== 0) return refused;
    // shmem_get_folio_gfp clears, and so fills, a page that was only fallocated before.
    this.pages.allocate(pageOf(offset), pagesIn(end), true);
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0 && end > this.#inode.size) this.#inode.size = end;
    this.#inode.memfile?.allocated(pageOf(offset), pagesIn(end));
    return 0;
  }

  #punchNoted(offset: bigint, end: bigint): number {
    const { memfile } = this.#inode;
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

  override addSeals(bits: number): number {
    return this.#inode.seals.add(bits, this.#inode.mode);
  }

  override getSeals(): number {
    return this.#inode.seals.bits;
  }

  override judge(request: MapRequest): number {
    return this.#inode.seals.judge(request);
  }

  override mmap(_request: MapRequest): number {
    return this.#isClosed ? -EPERM : 0;
  }

  override mapped(vma: Vma): void {
    if (vma.sharedWritable) this.#inode.seals.writableMappings++;
  }

  override unmapped(vma: Vma): void {
    if (vma.sharedWritable) this.#inode.seals.writableMappings--;
  }

  override fault(filePage: number, write: boolean): Fault {
    return filePage < pagesIn(this.#inode.size) && !this.#isClosed ? this.pages.page(filePage, write) : 'SIGBUS';
  }
}
