/** What else is asked of the files behind guest memory: locks, leases, readiness, write-back, advice, splicing, and the structs of fstat. */
import { array, bytes, s32, s64, u16, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineLayout, defineNames } from './registry.ts';

/** flock(2). Source: include/uapi/asm-generic/fcntl.h. */
export const LOCK = defineNames('LOCK', 'bits', { LOCK_SH: 1, LOCK_EX: 2, LOCK_NB: 4, LOCK_UN: 8 });

/** What F_SETLEASE takes and F_GETLEASE answers. Source: include/uapi/asm-generic/fcntl.h. */
export const LEASE = defineNames('LEASE', 'values', { F_RDLCK: 0, F_WRLCK: 1, F_UNLCK: 2 });

/** poll(2). Source: include/uapi/asm-generic/poll.h. */
export const POLL = defineNames('POLL', 'bits', {
  POLLIN: 0x1,
  POLLPRI: 0x2,
  POLLOUT: 0x4,
  POLLERR: 0x8,
  POLLHUP: 0x10,
  POLLNVAL: 0x20,
  POLLRDNORM: 0x40,
  POLLRDBAND: 0x80,
  POLLWRNORM: 0x100,
  POLLWRBAND: 0x200,
  POLLRDHUP: 0x2000,
});

export const pollfd = defineLayout(
  struct('pollfd', { fd: s32, events: u16, revents: u16 }, { source: 'include/uapi/asm-generic/poll.h' }),
);

/** sync_file_range(2). Source: include/uapi/linux/fs.h. */
export const SYNC_FILE_RANGE = defineNames('SYNC_FILE_RANGE', 'bits', {
  SYNC_FILE_RANGE_WAIT_BEFORE: 1,
  SYNC_FILE_RANGE_WRITE: 2,
  SYNC_FILE_RANGE_WAIT_AFTER: 4,
});

/** posix_fadvise(2). Source: include/uapi/linux/fadvise.h. */
export const POSIX_FADV = defineNames('POSIX_FADV', 'values', {
  POSIX_FADV_NORMAL: 0,
  POSIX_FADV_RANDOM: 1,
  POSIX_FADV_SEQUENTIAL: 2,
  POSIX_FADV_WILLNEED: 3,
  POSIX_FADV_DONTNEED: 4,
  POSIX_FADV_NOREUSE: 5,
});

/** splice(2), vmsplice(2). Source: include/linux/splice.h, a header of the kernel itself. */
export const SPLICE_F = defineNames('SPLICE_F', 'bits', {
  SPLICE_F_MOVE: 1,
  SPLICE_F_NONBLOCK: 2,
  SPLICE_F_MORE: 4,
  SPLICE_F_GIFT: 8,
});

const STAT_SOURCE = 'arch/x86/include/uapi/asm/stat.h';
const times = {
  st_atime: u64,
  st_atime_nsec: u64,
  st_mtime: u64,
  st_mtime_nsec: u64,
  st_ctime: u64,
  st_ctime_nsec: u64,
} as const;

/** fstat(2). Sizes in bytes, st_blocks in units of 512. */
export const stat_x86 = defineLayout(
  struct(
    'stat',
    {
      st_dev: u64,
      st_ino: u64,
      st_nlink: u64,
      st_mode: u32,
      st_uid: u32,
      st_gid: u32,
      __pad0: u32,
      st_rdev: u64,
      st_size: s64,
      st_blksize: s64,
      st_blocks: s64,
      ...times,
      __unused: array(s64, 3),
    },
    { arch: 'x86', source: STAT_SOURCE },
  ),
);

export const stat_arm64 = defineLayout(
  struct(
    'stat',
    {
      st_dev: u64,
      st_ino: u64,
      st_mode: u32,
      st_nlink: u32,
      st_uid: u32,
      st_gid: u32,
      st_rdev: u64,
      __pad1: u64,
      st_size: s64,
      st_blksize: s32,
      __pad2: s32,
      st_blocks: s64,
      ...times,
      __unused4: u32,
      __unused5: u32,
    },
    { arch: 'arm64', source: 'include/uapi/asm-generic/stat.h' },
  ),
);

/** fstatfs(2). */
export const statfs = defineLayout(
  struct(
    'statfs',
    {
      f_type: s64,
      f_bsize: s64,
      f_blocks: u64,
      f_bfree: u64,
      f_bavail: u64,
      f_files: u64,
      f_ffree: u64,
      f_fsid: bytes(8, 4),
      f_namelen: s64,
      f_frsize: s64,
      f_flags: s64,
      f_spare: array(s64, 4),
    },
    { source: 'include/uapi/asm-generic/statfs.h' },
  ),
);
