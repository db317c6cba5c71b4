/** memfd, seals, fallocate, secret memory, page-cache statistics: the files that back guest memory. */
import { address } from './fields.ts';
import { struct } from './layout.ts';
import { defineLayout, defineNames } from './registry.ts';

/** memfd_create(2). Source: include/uapi/linux/memfd.h; NOEXEC_SEAL and EXEC since 6.3. */
export const MFD = defineNames('MFD', 'bits', {
  MFD_CLOEXEC: 0x1,
  MFD_ALLOW_SEALING: 0x2,
  MFD_HUGETLB: 0x4,
  MFD_NOEXEC_SEAL: 0x8,
  MFD_EXEC: 0x10,
});

/** Page sizes for MFD_HUGETLB: log2 of the size in bits 26..31 of the flags. */
export const MFD_HUGE = defineNames('MFD_HUGE', 'values', {
  MFD_HUGE_64KB: 0x40000000,
  MFD_HUGE_512KB: 0x4c000000,
  MFD_HUGE_1MB: 0x50000000,
  MFD_HUGE_2MB: 0x54000000,
  MFD_HUGE_8MB: 0x5c000000,
  MFD_HUGE_16MB: 0x60000000,
  MFD_HUGE_32MB: 0x64000000,
  MFD_HUGE_256MB: 0x70000000,
  MFD_HUGE_512MB: 0x74000000,
  MFD_HUGE_1GB: 0x78000000,
  MFD_HUGE_2GB: 0x7c000000,
  MFD_HUGE_16GB: 0x88000000,
});

/** The longest name that memfd_create takes, in bytes without the terminating zero. */
export const MFD_NAME_MAX = 249;

/** fcntl(F_ADD_SEALS). Source: include/uapi/linux/fcntl.h; EXEC since 6.3. */
export const F_SEAL = defineNames('F_SEAL', 'bits', {
  F_SEAL_SEAL: 0x1,
  F_SEAL_SHRINK: 0x2,
  F_SEAL_GROW: 0x4,
  F_SEAL_WRITE: 0x8,
  F_SEAL_FUTURE_WRITE: 0x10,
  F_SEAL_EXEC: 0x20,
});

/** fallocate(2) modes. Source: include/uapi/linux/falloc.h; WRITE_ZEROES since 6.17. */
export const FALLOC_FL = defineNames('FALLOC_FL', 'bits', {
  FALLOC_FL_KEEP_SIZE: 0x1,
  FALLOC_FL_PUNCH_HOLE: 0x2,
  FALLOC_FL_NO_HIDE_STALE: 0x4,
  FALLOC_FL_COLLAPSE_RANGE: 0x8,
  FALLOC_FL_ZERO_RANGE: 0x10,
  FALLOC_FL_INSERT_RANGE: 0x20,
  FALLOC_FL_UNSHARE_RANGE: 0x40,
  FALLOC_FL_WRITE_ZEROES: 0x80,
});

/**
 * f_type of statfs(2). guest_memfd has one of its own after 6.18; before, its files sit on ANON_INODE_FS.
 * Source: include/uapi/linux/magic.h.
 */
export const FS_MAGIC = defineNames('FS_MAGIC', 'values', {
  TMPFS_MAGIC: 0x01021994,
  HUGETLBFS_MAGIC: 0x958458f6,
  SECRETMEM_MAGIC: 0x5345434d,
  GUEST_MEMFD_MAGIC: 0x474d454d,
  ANON_INODE_FS_MAGIC: 0x09041934,
  RAMFS_MAGIC: 0x858458f6,
  EXT4_SUPER_MAGIC: 0xef53,
  XFS_SUPER_MAGIC: 0x58465342,
  BTRFS_SUPER_MAGIC: 0x9123683e,
  OVERLAYFS_SUPER_MAGIC: 0x794c7630,
  V9FS_MAGIC: 0x01021997,
});

/** cachestat(2), since 6.5: the range in bytes; `len` 0 means to the end of the file. Source: include/uapi/linux/mman.h. */
export const cachestat_range = defineLayout(
  struct('cachestat_range', { off: address, len: address }, { source: 'include/uapi/linux/mman.h' }),
);

/** cachestat(2): numbers of pages. */
export const cachestat = defineLayout(
  struct(
    'cachestat',
    { nr_cache: address, nr_dirty: address, nr_writeback: address, nr_evicted: address, nr_recently_evicted: address },
    { source: 'include/uapi/linux/mman.h' },
  ),
);

/** System call numbers, for the calls that a C library may not wrap. Source: the kernel's unistd headers. */
defineNames(
  'NR',
  'values',
  { __NR_fallocate: 285, __NR_memfd_create: 319, __NR_memfd_secret: 447, __NR_cachestat: 451 },
  'x86',
);
defineNames(
  'NR',
  'values',
  { __NR_fallocate: 47, __NR_memfd_create: 279, __NR_memfd_secret: 447, __NR_cachestat: 451 },
  'arm64',
);
