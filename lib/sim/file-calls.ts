/** The checks that the kernel makes for every file before it asks the file itself. fs/read_write.c, fs/open.c, fs/fcntl.c, mm/filemap.c */
import { EBADF, EFBIG, EINVAL, ENODEV, EOPNOTSUPP, EPERM, ESPIPE } from './errno.ts';
import { O_APPEND, O_NONBLOCK, type SimFile } from './file.ts';
import type { Process } from './process.ts';
import type { Profile } from './profile.ts';

const OFFSET_MAX = 2n ** 63n - 1n;
/** MAX_RW_COUNT: no transfer is longer. */
const TRANSFER_MAX = 0x7fff_f000;

const clip = (bytes: Uint8Array): Uint8Array => (bytes.length > TRANSFER_MAX ? bytes.subarray(0, TRANSFER_MAX) : bytes);

/** rw_verify_area. */
const isBeyond = (at: bigint, bytes: Uint8Array): boolean => at + BigInt(bytes.length) > OFFSET_MAX;

/** Reads, as far as the memory of `into` can be written. */
function fill({ views }: Process, file: SimFile, into: Uint8Array, at: bigint): number {
  const bytes = clip(into);
  return file.readAt(bytes, at, views.reach(bytes, true));
}

/** Writes, as far as the memory of `from` can be read. */
function drain({ views }: Process, file: SimFile, from: Uint8Array, at: bigint): number {
  const bytes = clip(from);
  return file.writeAt(bytes, at, views.reach(bytes, false));
}

export function read(process: Process, fd: number, into: Uint8Array): number {
  const file = process.fds.get(fd);
  if (file === undefined || !file.readable) return -EBADF;
  if (isBeyond(file.position, into)) return -EINVAL;
  const done = fill(process, file, into, file.position);
  if (done > 0 && file.positioned) file.position += BigInt(done);
  return done;
}

export function write(process: Process, fd: number, from: Uint8Array): number {
  const file = process.fds.get(fd);
  if (file === undefined || !file.writable) return -EBADF;
  if (isBeyond(file.position, from)) return -EINVAL;
  const at = (file.flags & O_APPEND) !== 0 && from.length > 0 ? file.size : file.position;
  const done = drain(process, file, from, at);
  if (done > 0 && file.positioned) file.position = at + BigInt(done);
  return done;
}

export function pread(process: Process, fd: number, into: Uint8Array, offset: bigint): number {
  if (offset < 0n) return -EINVAL;
  const file = process.fds.get(fd);
  if (file === undefined) return -EBADF;
  if (!file.positioned) return -ESPIPE;
  if (!file.readable) return -EBADF;
  return isBeyond(offset, into) ? -EINVAL : fill(process, file, into, offset);
}

export function pwrite(process: Process, fd: number, from: Uint8Array, offset: bigint): number {
  if (offset < 0n) return -EINVAL;
  const file = process.fds.get(fd);
  if (file === undefined) return -EBADF;
  if (!file.positioned) return -ESPIPE;
  if (!file.writable) return -EBADF;
  if (isBeyond(offset, from)) return -EINVAL;
  // Linux appends whatever the offset, against POSIX.
  return drain(process, file, from, (file.flags & O_APPEND) !== 0 ? file.size : offset);
}

const SEEK_CUR = 1;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** lseek(2): the new offset, or a negated errno. */
export function lseek(file: SimFile | undefined, offset: bigint, whence: number): bigint {
  if (file === undefined) return -BigInt(EBADF);
  if (whence < 0 || whence > SEEK_HOLE) return -BigInt(EINVAL);
  if (!file.seekable) return -BigInt(ESPIPE);
  const own = file.seek(offset, whence);
  if (own !== undefined) return own;
  let at: bigint;
  if (whence === SEEK_DATA || whence === SEEK_HOLE) {
    at = file.seekContent(offset, whence === SEEK_DATA);
    if (at < 0n) return at;
  } else {
    const base = whence === SEEK_CUR ? file.position : whence === SEEK_END ? file.size : 0n;
    at = BigInt.asIntN(64, base + offset);
  }
  if (at < 0n) return -BigInt(EINVAL);
  file.position = at;
  return at;
}

export function ftruncate(file: SimFile | undefined, length: bigint): number {
  if (length < 0n) return -EINVAL;
  if (file === undefined) return -EBADF;
  if (!file.regular || !file.writable) return -EINVAL;
  return file.truncate(length);
}

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_COLLAPSE_RANGE = 8;
const FALLOC_FL_ZERO_RANGE = 0x10;
const FALLOC_FL_INSERT_RANGE = 0x20;
const FALLOC_FL_UNSHARE_RANGE = 0x40;
const FALLOC_FL_WRITE_ZEROES = 0x80;

/** Modes that fallocate knows, without KEEP_SIZE: one of them at most. */
function isMode(mode: number, profile: Profile): boolean {
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
    case FALLOC_FL_UNSHARE_RANGE:
    case FALLOC_FL_ZERO_RANGE:
      return true;
    case FALLOC_FL_PUNCH_HOLE:
      return (mode & FALLOC_FL_KEEP_SIZE) !== 0;
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
      return (mode & FALLOC_FL_KEEP_SIZE) === 0;
    case FALLOC_FL_WRITE_ZEROES:
      return profile.writeZeroes && (mode & FALLOC_FL_KEEP_SIZE) === 0;
    default:
      return false;
  }
}

/** vfs_fallocate. */
export function fallocate(
  file: SimFile | undefined,
  mode: number,
  offset: bigint,
  length: bigint,
  profile: Profile,
): number {
  if (file === undefined) return -EBADF;
  if (offset < 0n || length <= 0n) return -EINVAL;
  if (!isMode(mode, profile)) return -EOPNOTSUPP;
  if (!file.writable) return -EBADF;
  if (!file.regular) return file.fifo ? -ESPIPE : -ENODEV;
  if (offset + length > OFFSET_MAX) return -EFBIG;
  return file.fallocate(mode, offset, length);
}

const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const F_SETLEASE = 1024;
const F_GETLEASE = 1025;
const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
const FD_CLOEXEC = 1;
const O_ASYNC = 0x2000;
const O_NOATIME = 0x40000;
const O_DIRECT = { x64: 0x4000, arm64: 0x10000 } as const;

export function fcntl({ fds, profile, locks, physical }: Process, fd: number, command: number, arg: number): number {
  const file = fds.get(fd);
  if (file === undefined) return -EBADF;
  switch (command) {
    case F_DUPFD_CLOEXEC:
      return fds.duplicate(fd, arg);
    case F_GETFD:
      return fds.isCloexec(fd) ? FD_CLOEXEC : 0;
    case F_SETFD:
      return fds.setCloexec(fd, (arg & FD_CLOEXEC) !== 0);
    case F_GETFL:
      return file.flags;
    case F_SETFL: {
      if ((arg & O_DIRECT[profile.arch]) !== 0 && !file.direct) return -EINVAL;
      // O_ASYNC where the file has the operation.
      const settable = O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT[profile.arch] | (file.fifo ? O_ASYNC : 0);
      file.flags = (file.flags & ~settable) | (arg & settable);
      return 0;
    }
    case F_SETLEASE:
      return locks.setLease(file, arg | 0, profile);
    case F_GETLEASE:
      return locks.getLease(file);
    case F_ADD_SEALS:
      return file.writable ? file.addSeals(arg, () => physical.holdsAny(file.pages)) : -EPERM;
    default:
      return file.getSeals();
  }
}

/** cachestat(2): `length` 0 means to the end. */
export function cachestat(file: SimFile | undefined, offset: bigint, length: bigint): number {
  if (file === undefined) return -EBADF;
  const first = Number(offset >> 12n);
  const last = length === 0n ? 2 ** 52 : Number(BigInt.asUintN(64, offset + length - 1n) >> 12n);
  return file.cached(first, last);
}
