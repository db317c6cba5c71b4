/** mmap(2): its checks, in the kernel's order, and what it maps. mm/mmap.c, mm/vma.c, mm/util.c */
import { type AddressSpace, isPage, MIN_PAGE } from './address-space.ts';
import { EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM } from './errno.ts';
import type { MapRequest, SimFile } from './file.ts';
import { HugetlbFile, hugeSizeOf } from './files/hugetlb.ts';
import { MemfdFile } from './files/memfd.ts';
import { isAligned, PAGE_SIZE } from './page.ts';
import type { Process } from './process.ts';
import type { SimArch } from './profile.ts';
import { Vma } from './vma.ts';

const PROT_WRITE = 2;
const PROT_EXEC = 4;
const PROT_ALL = 7;

const MAP_TYPE = 0xf;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_SHARED_VALIDATE = 3;
const MAP_DROPPABLE = 8;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_32BIT = 0x40;
const MAP_ABOVE4G = 0x80;
const MAP_GROWSDOWN = 0x100;
const MAP_DENYWRITE = 0x800;
const MAP_EXECUTABLE = 0x1000;
const MAP_LOCKED = 0x2000;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_NONBLOCK = 0x10000;
const MAP_STACK = 0x20000;
const MAP_HUGETLB = 0x40000;
const MAP_FIXED_NOREPLACE = 0x100000;
const MAP_HUGE_2MB = 0x5400_0000;
const MAP_HUGE_1GB = 0x7800_0000;
/** LEGACY_MAP_MASK: what MAP_SHARED_VALIDATE knows; MAP_FIXED_NOREPLACE is not in it. The last two are x86's. */
const LEGACY_FLAGS =
  MAP_SHARED_VALIDATE |
  (MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE) |
  (MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_HUGE_2MB | MAP_HUGE_1GB);
const X86_FLAGS = MAP_32BIT | MAP_ABOVE4G;

const WORD = 2n ** 64n;
const OFFSET_MAX = 2n ** 63n - 1n;

export interface MmapArguments {
  readonly address: bigint;
  readonly length: bigint;
  readonly prot: number;
  readonly flags: number;
  readonly fd: number;
  readonly offset: bigint;
}

interface Wanted {
  readonly file: SimFile | undefined;
  /** Rounded to whole pages. */
  readonly length: bigint;
}

const roundUp = (length: bigint, to: bigint): bigint => ((length + to - 1n) / to) * to;

/** The file, and the length that it makes of the one asked for. */
function backing(process: Process, { flags, fd, length }: MmapArguments): Wanted | number {
  if ((flags & MAP_ANONYMOUS) === 0) {
    const file = process.fds.get(fd);
    if (file === undefined) return -EBADF;
    const huge = file instanceof HugetlbFile;
    if (!huge && (flags & MAP_HUGETLB) !== 0) return -EINVAL;
    return { file, length: huge ? BigInt.asUintN(64, roundUp(length, BigInt(file.mapAlign))) : length };
  }
  if ((flags & MAP_HUGETLB) === 0) return { file: undefined, length };
  const size = hugeSizeOf(flags, process.hugePages);
  if (size === undefined) return -EINVAL;
  const rounded = BigInt.asUintN(64, roundUp(length, BigInt(size)));
  return { file: HugetlbFile.anonymous(process, size, rounded), length: rounded };
}

/** Where it goes: a page number, or a negated errno. __get_unmapped_area. */
function placeFor({ space }: Process, { address, flags }: MmapArguments, pages: number, align: number): number {
  if (pages > space.endPage) return -ENOMEM;
  const alignPages = align / PAGE_SIZE;
  if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0) {
    const page = Number(address >> 12n);
    if (align > PAGE_SIZE && address % BigInt(align) !== 0n) return -EINVAL;
    if (address > BigInt(space.endPage - pages) * BigInt(PAGE_SIZE)) return -ENOMEM;
    return isAligned(address) ? page : -EINVAL;
  }
  const asked = Number(address >> 12n);
  const hint = asked === 0 ? 0 : Math.ceil(Math.max(asked, MIN_PAGE) / alignPages) * alignPages;
  if (hint !== 0 && hint <= space.endPage - pages && space.isFree(hint, hint + pages)) return hint;
  return space.place(pages, alignPages);
}

/** The right to map a file so. do_mmap's switch on the type. */
function judgeFile(
  file: SimFile,
  { prot, flags, offset }: MmapArguments,
  length: bigint,
  arch: SimArch,
): MapRequest | number {
  const filePage = Number(BigInt.asUintN(64, offset) >> 12n);
  // file_mmap_ok.
  const most = file.regular ? OFFSET_MAX : WORD - 1n;
  if (length > most || BigInt(filePage) > (most - length) >> 12n) return -EOVERFLOW;
  const type = flags & MAP_TYPE;
  const knownFlags = arch === 'x64' ? LEGACY_FLAGS | X86_FLAGS : LEGACY_FLAGS;
  let mayProt = PROT_ALL;
  const shared = type === MAP_SHARED || type === MAP_SHARED_VALIDATE;
  if (shared) {
    if (type === MAP_SHARED_VALIDATE && (flags & ~knownFlags) !== 0) return -EOPNOTSUPP;
    if ((prot & PROT_WRITE) !== 0 && !file.writable) return -EACCES;
    if (!file.writable) mayProt &= ~PROT_WRITE;
  } else if (type !== MAP_PRIVATE) {
    return -EINVAL;
  }
  if (!file.readable) return -EACCES;
  if (file.noexec) {
    if ((prot & PROT_EXEC) !== 0) return -EPERM;
    mayProt &= ~PROT_EXEC;
  }
  if (!file.mappable) return -ENODEV;
  if ((flags & MAP_GROWSDOWN) !== 0) return -EINVAL;
  const pages = Number(length / BigInt(PAGE_SIZE));
  const locked = (flags & MAP_LOCKED) !== 0;
  const noReserve = (flags & MAP_NORESERVE) !== 0;
  return { shared, prot: prot & PROT_ALL, mayProt, locked, noReserve, pages, filePage };
}

/** The same for anonymous memory: shared anonymous memory is an unnamed file. */
function judgeAnonymous(process: Process, { prot, flags }: MmapArguments, pages: number): MapRequest | number {
  const type = flags & MAP_TYPE;
  const known = type === MAP_SHARED || type === MAP_PRIVATE || (type === MAP_DROPPABLE && process.profile.droppable);
  if (!known) return -EINVAL;
  if (type === MAP_SHARED && (flags & MAP_GROWSDOWN) !== 0) return -EINVAL;
  if (type === MAP_DROPPABLE && (flags & (MAP_LOCKED | MAP_HUGETLB)) !== 0) return -EINVAL;
  const shared = type === MAP_SHARED;
  const locked = (flags & MAP_LOCKED) !== 0;
  const noReserve = (flags & MAP_NORESERVE) !== 0 || type === MAP_DROPPABLE;
  return { shared, prot: prot & PROT_ALL, mayProt: PROT_ALL, locked, noReserve, pages, filePage: 0 };
}

/** Overcommit by vm.overcommit_memory 0: only what the whole machine could never hold is refused. */
function isTooMuch(process: Process, file: SimFile | undefined, request: MapRequest): boolean {
  if (file instanceof HugetlbFile || request.noReserve) return false;
  const counts = request.shared ? file === undefined : (request.prot & PROT_WRITE) !== 0;
  return counts && request.pages * PAGE_SIZE > process.ram;
}

/** The hva, or a negated errno. */
export function mmap(process: Process, args: MmapArguments): number {
  const { space } = process;
  const { flags } = args;
  if (!isAligned(args.offset)) return -EINVAL;
  const wanted = backing(process, args);
  if (typeof wanted === 'number') return wanted;
  const { file } = wanted;
  if (wanted.length === 0n) return -EINVAL;
  const length = roundUp(wanted.length, BigInt(PAGE_SIZE));
  if (length >= WORD) return -ENOMEM;
  const pages = Number(length >> 12n);
  const from = placeFor(process, args, pages, file?.mapAlign ?? PAGE_SIZE);
  if (from < 0) return from;
  const to = from + pages;
  if ((flags & MAP_FIXED_NOREPLACE) !== 0 && !space.isFree(from, to)) return -EEXIST;
  if (isOverMemlock(process, pages, (flags & MAP_LOCKED) !== 0)) return -EAGAIN;
  const { arch } = process.profile;
  const request = file === undefined ? judgeAnonymous(process, args, pages) : judgeFile(file, args, length, arch);
  if (typeof request === 'number') return request;
  const judged = file?.judge(request) ?? 0;
  if (judged < 0) return judged;
  if (isTooMuch(process, file, request)) return -ENOMEM;
  if (space.splits(from) || space.splits(to)) return -EINVAL;
  const lockedByFile = (): boolean => request.locked && (flags & MAP_LOCKED) === 0;
  let refused = file?.mmap(request) ?? 0;
  if (refused === 0 && lockedByFile() && isOverMemlock(process, pages, true)) refused = -EAGAIN;
  if (refused < 0) {
    // The file is asked last: __mmap_region cleared the range already, and a failure leaves it empty.
    space.put(from, to, undefined);
    return refused;
  }
  const mapped = file ?? (request.shared ? sharedMemory(process, length) : undefined);
  const droppable = file === undefined && (flags & MAP_TYPE) === MAP_DROPPABLE;
  const delta = request.filePage - from;
  const vma = new Vma({ ...request, file: mapped, delta, droppable, align: mapped?.mapAlign ?? PAGE_SIZE });
  space.put(from, to, vma);
  if (request.locked || (flags & (MAP_POPULATE | MAP_NONBLOCK)) === MAP_POPULATE) populate(space, vma, from, to);
  return from * PAGE_SIZE;
}

function isOverMemlock({ space, memlockLimit }: Process, pages: number, locked: boolean): boolean {
  return locked && (space.lockedPages + pages) * PAGE_SIZE > memlockLimit;
}

/** shmem_zero_setup. */
function sharedMemory(process: Process, size: bigint): SimFile {
  return MemfdFile.create({ profile: process.profile, ino: process.nextInode(), mode: 0o777, seals: 1, size });
}

/** populate_vma_page_range: stops in silence where a page cannot be had. Writes only where that breaks a private copy. */
export function populate(space: AddressSpace, vma: Vma, from: number, to: number): void {
  if (vma.prot === 0 || vma.onFault || vma.file?.pinnable === false) return;
  const write = !vma.shared && (vma.prot & PROT_WRITE) !== 0;
  for (let page = from; page < to; page++) if (!isPage(space.fault(vma, page, write))) return;
}
