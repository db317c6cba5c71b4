/** memfd in huge pages. fs/hugetlbfs/inode.c, mm/hugetlb.c */
import { EINVAL, ENOMEM, ENOSPC, ENXIO, EOPNOTSUPP, EPERM } from '../errno.ts';
import { type Fault, type FileStat, type MapRequest, O_RDWR, SimFile } from '../file.ts';
import { PAGE_SIZE, pageOf } from '../page.ts';
import { PageStore } from '../page-store.ts';
import type { Process } from '../process.ts';
import type { Vma } from '../vma.ts';
import { F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE, O_LARGEFILE, Seals } from './memfd.ts';
import { readPages } from './paged.ts';

const HUGE_SHIFT = 26;
const HUGE_MASK = 0x3f;
const DEFAULT_HUGE = 2 ** 21;
const HUGETLBFS_MAGIC = 0x958458f6;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const PROT_WRITE = 2;
const O_TRUNC = 0x200;

/** The page size that MFD_HUGETLB or MAP_HUGETLB flags ask for; undefined when there is none such. */
export function hugeSizeOf(flags: number, sizes: ReadonlyMap<number, number>): number | undefined {
  const shift = (flags >>> HUGE_SHIFT) & HUGE_MASK;
  const size = shift === 0 ? DEFAULT_HUGE : 2 ** shift;
  return sizes.has(size) ? size : undefined;
}

export interface HugetlbOptions {
  readonly process: Process;
  readonly ino: bigint;
  readonly hugeSize: number;
  readonly mode: number;
  readonly seals: number;
  readonly size?: bigint;
}

/** The file behind every description of it. */
class HugetlbInode {
  readonly process: Process;
  readonly ino: bigint;
  readonly hugeSize: number;
  readonly seals: Seals;
  readonly pages = new PageStore();
  mode: number;
  size: bigint;
  /** Open descriptions: the last one gives the pages back. */
  users = 0;

  constructor({ process, ino, hugeSize, mode, seals, size = 0n }: HugetlbOptions) {
    this.process = process;
    this.ino = ino;
    this.hugeSize = hugeSize;
    this.mode = mode;
    this.seals = new Seals(seals, process.profile);
    this.size = size;
  }
}

export class HugetlbFile extends SimFile {
  readonly #inode: HugetlbInode;
  override readonly regular = true;
  override readonly seekable = true;
  override readonly positioned = true;
  override readonly noexec = false;
  override readonly pages: PageStore;
  override readonly mapAlign: number;

  constructor(inode: HugetlbInode, flags: number = O_RDWR) {
    super(flags | O_LARGEFILE[inode.process.profile.arch]);
    this.#inode = inode;
    this.pages = inode.pages;
    this.mapAlign = inode.hugeSize;
    inode.users++;
  }

  static create(options: HugetlbOptions): HugetlbFile {
    return new HugetlbFile(new HugetlbInode(options));
  }

  override reopen(flags: number): SimFile | number {
    const file = new HugetlbFile(this.#inode, flags & ~O_TRUNC);
    const result = (flags & O_TRUNC) === 0 ? 0 : file.truncate(0n);
    if (result === 0) return file;
    this.#inode.users--;
    return result;
  }

  /** What backs MAP_ANONYMOUS | MAP_HUGETLB. */
  static anonymous(process: Process, hugeSize: number, size: bigint): HugetlbFile {
    return HugetlbFile.create({ process, ino: process.nextInode(), hugeSize, mode: 0o777, seals: 1, size });
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
      blksize: this.#inode.hugeSize,
      blocks,
      fsType: HUGETLBFS_MAGIC,
    };
  }

  override readAt(into: Uint8Array, at: bigint): number {
    return readPages(this.pages, into, at, this.#inode.size);
  }

  /** Holes are not looked for: all is data up to the end. must_set_pos, which compares signed. */
  override seekContent(from: bigint, data: boolean): bigint {
    if (from >= this.#inode.size) return -BigInt(ENXIO);
    if (!data) return this.#inode.size;
    return from < 0n ? -BigInt(EINVAL) : from;
  }

  override truncate(length: bigint): number {
    if (length % BigInt(this.#inode.hugeSize) !== 0n) return -EINVAL;
    if (length < this.#inode.size && this.#inode.seals.has(F_SEAL_SHRINK)) return -EPERM;
    if (length > this.#inode.size && this.#inode.seals.has(F_SEAL_GROW)) return -EPERM;
    this.#inode.size = length;
    this.#free(pageOf(length), Number.POSITIVE_INFINITY, 'truncate');
    return 0;
  }

  /** Whatever the EXEC seal says: hugetlbfs_setattr does not ask it, unlike shmem_setattr. */
  override chmod(mode: number): number {
    this.#inode.mode = mode & 0o7777;
    return 0;
  }

  override fallocate(mode: number, offset: bigint, length: bigint): number {
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP;
    const huge = BigInt(this.#inode.hugeSize);
    const end = offset + length;
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      if (this.#inode.seals.has(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) return -EPERM;
      const from = pageOf(((offset + huge - 1n) / huge) * huge);
      const to = pageOf((end / huge) * huge);
      if (from < to) this.#free(from, to, 'punch');
      return 0;
    }
    if (this.#inode.seals.has(F_SEAL_GROW) && end > this.#inode.size) return -EPERM;
    const step = this.#inode.hugeSize / PAGE_SIZE;
    const last = pageOf(((end + huge - 1n) / huge) * huge);
    for (let page = pageOf((offset / huge) * huge); page < last; page += step) if (!this.#take(page)) return -ENOSPC;
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0 && end > this.#inode.size) this.#inode.size = end;
    return 0;
  }

  /** Allocates the huge page that begins at `page`. */
  #take(page: number): boolean {
    if (this.pages.has(page)) return true;
    const free = this.#inode.process.hugePages.get(this.#inode.hugeSize) ?? 0;
    if (free === 0) return false;
    this.#inode.process.hugePages.set(this.#inode.hugeSize, free - 1);
    this.pages.allocate(page, page + this.#inode.hugeSize / PAGE_SIZE);
    return true;
  }

  #free(from: number, to: number, change: 'punch' | 'truncate'): void {
    const before = this.pages.allocated;
    this.pages.punch(from, to, change);
    const freed = ((before - this.pages.allocated) * PAGE_SIZE) / this.#inode.hugeSize;
    this.#inode.process.hugePages.set(
      this.#inode.hugeSize,
      (this.#inode.process.hugePages.get(this.#inode.hugeSize) ?? 0) + freed,
    );
  }

  protected override release(): void {
    this.#inode.users--;
    if (this.#inode.users > 0) return;
    this.#free(0, Number.POSITIVE_INFINITY, 'truncate');
  }

  override addSeals(bits: number): number {
    return this.#inode.seals.add(bits, this.#inode.mode);
  }

  override getSeals(): number {
    return this.#inode.seals.bits;
  }

  override cached(_first: number, _last: number): number {
    return -EOPNOTSUPP;
  }

  override judge(request: MapRequest): number {
    return this.#inode.seals.judge(request);
  }

  /** Pages are reserved when they are mapped: there must be enough of them now. */
  override mmap(request: MapRequest): number {
    if (request.filePage % (this.#inode.hugeSize / PAGE_SIZE) !== 0) return -EINVAL;
    const { process, hugeSize, size } = this.#inode;
    const free = process.hugePages.get(hugeSize) ?? 0;
    const end = request.filePage + request.pages;
    const missing = request.pages - this.pages.count(request.filePage, end);
    if (!request.noReserve && missing * PAGE_SIZE > free * hugeSize) return -ENOMEM;
    // hugetlbfs_file_mmap: a mapping to write to makes the file as long as itself.
    const reach = BigInt(end) * BigInt(PAGE_SIZE);
    if ((request.prot & PROT_WRITE) !== 0 && reach > size) this.#inode.size = reach;
    return 0;
  }

  override mapped(vma: Vma): void {
    if (vma.sharedWritable) this.#inode.seals.writableMappings++;
  }

  override unmapped(vma: Vma): void {
    if (vma.sharedWritable) this.#inode.seals.writableMappings--;
  }

  override fault(filePage: number, write: boolean): Fault {
    if (filePage >= pageOf(this.#inode.size)) return 'SIGBUS';
    const step = this.#inode.hugeSize / PAGE_SIZE;
    return this.#take(Math.floor(filePage / step) * step) ? this.pages.page(filePage, write) : 'SIGBUS';
  }
}
