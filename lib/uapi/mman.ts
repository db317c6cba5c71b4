/** mmap and its family, open flags, fcntl commands, seek, eventfd. Values shared by x86-64 and arm64 unless marked. */
import { defineNames, hostArch } from './registry.ts';

/** Source: include/uapi/asm-generic/mman-common.h. */
export const PROT = defineNames('PROT', 'bits', {
  PROT_NONE: 0,
  PROT_READ: 0x1,
  PROT_WRITE: 0x2,
  PROT_EXEC: 0x4,
  PROT_SEM: 0x8,
  PROT_GROWSDOWN: 0x01000000,
  PROT_GROWSUP: 0x02000000,
});

/** MAP_SHARED_VALIDATE is both type bits, so it comes before them. Source: include/uapi/asm-generic/mman.h, linux/mman.h. */
export const MAP = defineNames('MAP', 'bits', {
  MAP_SHARED_VALIDATE: 0x3,
  MAP_SHARED: 0x1,
  MAP_PRIVATE: 0x2,
  MAP_DROPPABLE: 0x8,
  MAP_FIXED: 0x10,
  MAP_ANONYMOUS: 0x20,
  MAP_GROWSDOWN: 0x100,
  MAP_DENYWRITE: 0x800,
  MAP_EXECUTABLE: 0x1000,
  MAP_LOCKED: 0x2000,
  MAP_NORESERVE: 0x4000,
  MAP_POPULATE: 0x8000,
  MAP_NONBLOCK: 0x10000,
  MAP_STACK: 0x20000,
  MAP_HUGETLB: 0x40000,
  MAP_SYNC: 0x80000,
  MAP_FIXED_NOREPLACE: 0x100000,
});

/** Page sizes for MAP_HUGETLB: log2 of the size in bits 26..31 of the flags. */
export const MAP_HUGE = defineNames('MAP_HUGE', 'values', {
  MAP_HUGE_16KB: 0x38000000,
  MAP_HUGE_64KB: 0x40000000,
  MAP_HUGE_512KB: 0x4c000000,
  MAP_HUGE_1MB: 0x50000000,
  MAP_HUGE_2MB: 0x54000000,
  MAP_HUGE_8MB: 0x5c000000,
  MAP_HUGE_16MB: 0x60000000,
  MAP_HUGE_32MB: 0x64000000,
  MAP_HUGE_256MB: 0x70000000,
  MAP_HUGE_512MB: 0x74000000,
  MAP_HUGE_1GB: 0x78000000,
  MAP_HUGE_2GB: 0x7c000000,
  MAP_HUGE_16GB: 0x88000000,
});

/** madvise(2). COLLAPSE since 6.1, GUARD_* since 6.13. Source: include/uapi/asm-generic/mman-common.h. */
export const MADV = defineNames('MADV', 'values', {
  MADV_NORMAL: 0,
  MADV_RANDOM: 1,
  MADV_SEQUENTIAL: 2,
  MADV_WILLNEED: 3,
  MADV_DONTNEED: 4,
  MADV_FREE: 8,
  MADV_REMOVE: 9,
  MADV_DONTFORK: 10,
  MADV_DOFORK: 11,
  MADV_MERGEABLE: 12,
  MADV_UNMERGEABLE: 13,
  MADV_HUGEPAGE: 14,
  MADV_NOHUGEPAGE: 15,
  MADV_DONTDUMP: 16,
  MADV_DODUMP: 17,
  MADV_WIPEONFORK: 18,
  MADV_KEEPONFORK: 19,
  MADV_COLD: 20,
  MADV_PAGEOUT: 21,
  MADV_POPULATE_READ: 22,
  MADV_POPULATE_WRITE: 23,
  MADV_DONTNEED_LOCKED: 24,
  MADV_COLLAPSE: 25,
  MADV_HWPOISON: 100,
  MADV_SOFT_OFFLINE: 101,
  MADV_GUARD_INSTALL: 102,
  MADV_GUARD_REMOVE: 103,
});

/** msync(2). */
export const MS = defineNames('MS', 'bits', { MS_ASYNC: 1, MS_INVALIDATE: 2, MS_SYNC: 4 });

/** mlock2(2). Source: include/uapi/asm-generic/mman-common.h. */
export const MLOCK = defineNames('MLOCK', 'bits', { MLOCK_ONFAULT: 1 });

/** lseek(2). Source: include/uapi/linux/fs.h. */
export const SEEK = defineNames('SEEK', 'values', {
  SEEK_SET: 0,
  SEEK_CUR: 1,
  SEEK_END: 2,
  SEEK_DATA: 3,
  SEEK_HOLE: 4,
});

/** fcntl(2) commands. Source: include/uapi/asm-generic/fcntl.h, linux/fcntl.h (numbers from 1024 on are Linux's own). */
export const F = defineNames('F', 'values', {
  F_DUPFD: 0,
  F_GETFD: 1,
  F_SETFD: 2,
  F_GETFL: 3,
  F_SETFL: 4,
  F_SETLEASE: 1024,
  F_GETLEASE: 1025,
  F_DUPFD_CLOEXEC: 1030,
  F_ADD_SEALS: 1033,
  F_GET_SEALS: 1034,
});

/** The one descriptor flag of F_GETFD and F_SETFD. */
export const FD = defineNames('FD', 'bits', { FD_CLOEXEC: 1 });

const O_COMMON = {
  O_RDONLY: 0,
  O_WRONLY: 0x1,
  O_RDWR: 0x2,
  O_CREAT: 0x40,
  O_EXCL: 0x80,
  O_NOCTTY: 0x100,
  O_TRUNC: 0x200,
  O_APPEND: 0x400,
  O_NONBLOCK: 0x800,
  O_SYNC: 0x101000,
  O_DSYNC: 0x1000,
  O_NOATIME: 0x40000,
  O_CLOEXEC: 0x80000,
  O_PATH: 0x200000,
} as const;

/** open(2) on x86-64. O_TMPFILE contains O_DIRECTORY, so it comes first. Source: include/uapi/asm-generic/fcntl.h. */
export const O_X86 = defineNames(
  'O',
  'bits',
  {
    O_TMPFILE: 0x410000,
    ...O_COMMON,
    O_DIRECT: 0x4000,
    O_LARGEFILE: 0x8000,
    O_DIRECTORY: 0x10000,
    O_NOFOLLOW: 0x20000,
  },
  'x86',
);

/** open(2) on arm64, which has four bits elsewhere. Source: arch/arm64/include/uapi/asm/fcntl.h. */
export const O_ARM64 = defineNames(
  'O',
  'bits',
  {
    O_TMPFILE: 0x404000,
    ...O_COMMON,
    O_DIRECTORY: 0x4000,
    O_NOFOLLOW: 0x8000,
    O_DIRECT: 0x10000,
    O_LARGEFILE: 0x20000,
  },
  'arm64',
);

/** open(2) on the architecture of this process. */
export const O = hostArch === 'arm64' ? O_ARM64 : O_X86;

/** eventfd2(2). Source: include/uapi/linux/eventfd.h. */
export const EFD = defineNames('EFD', 'bits', { EFD_SEMAPHORE: 0x1, EFD_NONBLOCK: 0x800, EFD_CLOEXEC: 0x80000 });
