/** memfd in huge pages. fs/hugetlbfs/inode.c, mm/hugetlb.c */
import { EINVAL, ENOMEM, ENOSPC, ENXIO, EOPNOTSUPP, EPERM } from '../errno.ts';
import { type Fault, type FileStat, type MapRequest, O_RDWR, type SimFile } from '../file.ts';
import { PAGE_SIZE, pageOf } from '../page.ts';
import type { Process } from '../process.ts';
import { F_SEAL_GROW, F_SEAL_SHRINK, SealedFile, SealedInode, type SealedOptions, WRITE_SEALS } from './sealed.ts';

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

export interface HugetlbOptions extends Omit<SealedOptions, 'profile'> {
  readonly process: Process;
  readonly hugeSize: number;
}

class HugetlbInode extends SealedInode {
  readonly process: Process;
  readonly hugeSize: number;
  /** Open descriptions: the last one gives the pages back. */
  users = 0;

  constructor({ process, hugeSize, ...rest }: HugetlbOptions) {
    super({ ...rest, profile: process.profile });
    this.process = process;
    this.hugeSize = hugeSize;
  }
}

export class HugetlbFile extends SealedFile<HugetlbInode> {
  override readonly mapAlign: number;

  constructor(inode: HugetlbInode, flags: number = O_RDWR, opened = false) {
    super(inode, flags, opened);
    this.mapAlign = inode.hugeSize;
    inode.users++;
  }

  static create(options: HugetlbOptions): HugetlbFile {
    return new HugetlbFile(new HugetlbInode(options));
  }

  override reopen(flags: number): SimFile | number {
    const file = new HugetlbFile(this.inode, flags & ~O_TRUNC, true);
    const result = (flags & O_TRUNC) === 0 ? 0 : file.truncate(0n);
    if (result === 0) return file;
    this.inode.users--;
    return result;
  }

  /** What backs MAP_ANONYMOUS | MAP_HUGETLB. */
  static anonymous(process: Process, hugeSize: number, size: bigint): HugetlbFile {
    return HugetlbFile.create({ process, ino: process.nextInode(), hugeSize, mode: 0o777, seals: 1, size });
  }

  stat(): FileStat {
    return this.statAs(this.inode.hugeSize, HUGETLBFS_MAGIC);
  }

  /** Holes are not looked for: all is data up to the end. must_set_pos, which compares signed. */
  override seekContent(from: bigint, data: boolean): bigint {
    if (from >= this.inode.size) return -BigInt(ENXIO);
    if (!data) return this.inode.size;
    return from < 0n ? -BigInt(EINVAL) : from;
  }

  override truncate(length: bigint): number {
    if (length % BigInt(this.inode.hugeSize) !== 0n) return -EINVAL;
    if (length < this.inode.size && this.inode.seals.has(F_SEAL_SHRINK)) return -EPERM;
    if (length > this.inode.size && this.inode.seals.has(F_SEAL_GROW)) return -EPERM;
    this.inode.size = length;
    this.#free(pageOf(length), Number.POSITIVE_INFINITY, 'truncate');
    return 0;
  }

  /** Whatever the EXEC seal says: hugetlbfs_setattr does not ask it, unlike shmem_setattr. */
  override chmod(mode: number): number {
    this.inode.mode = mode & 0o7777;
    return 0;
  }

  override fallocate(mode: number, offset: bigint, length: bigint): number {
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP;
    const huge = BigInt(this.inode.hugeSize);
    const end = offset + length;
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      if (this.inode.seals.has(WRITE_SEALS)) return -EPERM;
      const first = ((offset + huge - 1n) / huge) * huge;
      const last = (end / huge) * huge;
      if (offset < first) this.#zero(offset, end < first ? end : first);
      if (first < last) this.#free(pageOf(first), pageOf(last), 'punch');
      if (end > last && end > first) this.#zero(last, end);
      return 0;
    }
    if (this.inode.seals.has(F_SEAL_GROW) && end > this.inode.size) return -EPERM;
    const step = this.inode.hugeSize / PAGE_SIZE;
    const last = pageOf(((end + huge - 1n) / huge) * huge);
    for (let page = pageOf((offset / huge) * huge); page < last; page += step) if (!this.#take(page)) return -ENOSPC;
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0 && end > this.inode.size) this.inode.size = end;
    return 0;
  }

  /** A part of a huge page is zeroed in place of given back, where there is one (Linux 5.19). hugetlbfs_zero_partial_page */
  #zero(from: bigint, to: bigint): void {
    const end = Number(to);
    for (let at = Number(from); at < end; ) {
      const page = Math.floor(at / PAGE_SIZE);
      const next = Math.min(end, (page + 1) * PAGE_SIZE);
      if (this.pages.isFilled(page)) this.pages.write(page).fill(0, at - page * PAGE_SIZE, next - page * PAGE_SIZE);
      at = next;
    }
  }

  /** Allocates the huge page that begins at `page`. */
  #take(page: number): boolean {
    if (this.pages.has(page)) return true;
    const free = this.inode.process.hugePages.get(this.inode.hugeSize) ?? 0;
    if (free === 0) return false;
    this.inode.process.hugePages.set(this.inode.hugeSize, free - 1);
    this.pages.allocate(page, page + this.inode.hugeSize / PAGE_SIZE);
    return true;
  }

  #free(from: number, to: number, change: 'punch' | 'truncate'): void {
    const before = this.pages.allocated;
    this.pages.punch(from, to, change);
    const freed = ((before - this.pages.allocated) * PAGE_SIZE) / this.inode.hugeSize;
    this.inode.process.hugePages.set(
      this.inode.hugeSize,
      (this.inode.process.hugePages.get(this.inode.hugeSize) ?? 0) + freed,
    );
  }

  protected override release(): void {
    this.inode.users--;
    if (this.inode.users > 0) return;
    this.#free(0, Number.POSITIVE_INFINITY, 'truncate');
  }

  override cached(_first: number, _last: number): number {
    return -EOPNOTSUPP;
  }

  /** Pages are reserved when they are mapped: there must be enough of them now. */
  override mmap(request: MapRequest): number {
    if (request.filePage % (this.inode.hugeSize / PAGE_SIZE) !== 0) return -EINVAL;
    const { process, hugeSize, size } = this.inode;
    const free = process.hugePages.get(hugeSize) ?? 0;
    const end = request.filePage + request.pages;
    const missing = request.pages - this.pages.count(request.filePage, end);
    if (!request.noReserve && missing * PAGE_SIZE > free * hugeSize) return -ENOMEM;
    // hugetlbfs_file_mmap: a mapping to write to makes the file as long as itself.
    const reach = BigInt(end) * BigInt(PAGE_SIZE);
    if ((request.prot & PROT_WRITE) !== 0 && reach > size) this.inode.size = reach;
    return 0;
  }

  override fault(filePage: number, write: boolean): Fault {
    if (filePage >= pageOf(this.inode.size)) return 'SIGBUS';
    const step = this.inode.hugeSize / PAGE_SIZE;
    return this.#take(Math.floor(filePage / step) * step) ? this.pages.page(filePage, write) : 'SIGBUS';
  }
}
