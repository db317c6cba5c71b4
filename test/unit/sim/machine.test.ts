/** What differs from machine to machine: limits, sysctls, huge pages, releases. */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../lib/kernel/errno.ts';
import { CACHESTAT_LENGTH, type Kernel, STAT, STAT_LENGTH } from '../../../lib/kernel/kernel.ts';
import { nearestRelease, profileOf, type SimRelease } from '../../../lib/sim/profile.ts';
import { type SimKernelOptions, simKernel } from '../../../lib/sim/sim-kernel.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const RW = 3;
const SHARED = 1;
const ANONYMOUS = 0x22;
const MFD = { ALLOW_SEALING: 2, HUGETLB: 4, NOEXEC_SEAL: 8, EXEC: 0x10 };
const F = { DUPFD_CLOEXEC: 1030, ADD_SEALS: 1033, GET_SEALS: 1034 };
const SEAL = { SEAL: 1, WRITE: 8, EXEC: 0x20 };

const kernelOf = (options: Partial<SimKernelOptions> = {}, release: SimRelease = '7.3'): Kernel =>
  simKernel({ profile: profileOf(release), ...options });
const name = (result: number): string | number => (result < 0 ? errnoName(-result) : result);

function statOf(kernel: Kernel, fd: number): BigInt64Array {
  const out = new BigInt64Array(STAT_LENGTH);
  expect(kernel.fstat(fd, out)).toBe(0);
  return out;
}

describe('limits', () => {
  it('descriptors end at RLIMIT_NOFILE, and the lowest free one is next', () => {
    const kernel = kernelOf({ fdLimit: 6 });
    expect([0, 1, 2].map(() => kernel.memfdCreate('x', 0))).toEqual([3, 4, 5]);
    expect(name(kernel.memfdCreate('x', 0))).toBe('EMFILE');
    expect(name(kernel.eventfd(0, 0))).toBe('EMFILE');
    expect(name(kernel.open('/dev/null', 0, 0))).toBe('EMFILE');
    expect(kernel.close(4)).toBe(0);
    expect(kernel.fcntl(3, F.DUPFD_CLOEXEC, 0)).toBe(4);
    expect(name(kernel.fcntl(3, F.DUPFD_CLOEXEC, 6))).toBe('EINVAL');
    expect(kernel.close(3)).toBe(0);
    expect(statOf(kernel, 4)[STAT.size]).toBe(0n);
  });

  it('a private mapping is never larger than the machine', () => {
    const kernel = kernelOf({ ram: 64 * MIB });
    expect(name(kernel.mmap(0, 65 * MIB, RW, ANONYMOUS, -1, 0))).toBe('ENOMEM');
    expect(kernel.mmap(0, 65 * MIB, RW, ANONYMOUS | 0x4000, -1, 0)).toBeGreaterThan(0);
    const readOnly = kernel.mmap(0, 65 * MIB, 1, ANONYMOUS, -1, 0);
    expect(name(kernel.mprotect(readOnly, 65 * MIB, RW))).toBe('ENOMEM');
  });

  it('locked memory is limited, secret memory counts up to 6.18', () => {
    const limited = kernelOf({ memlockLimit: PAGE }, '6.18');
    expect(name(limited.mmap(0, 2 * PAGE, RW, ANONYMOUS | 0x2000, -1, 0))).toBe('EAGAIN');
    const secret = limited.memfdSecret(0);
    limited.ftruncate(secret, 2 * PAGE);
    expect(name(limited.mmap(0, 2 * PAGE, RW, SHARED, secret, 0))).toBe('EAGAIN');
    const at = limited.mmap(0, PAGE, RW, SHARED, secret, 0);
    expect(at).toBeGreaterThan(0);
    expect(name(limited.mmap(0, PAGE, RW, SHARED, secret, 0))).toBe('EAGAIN');
    limited.munmap(at, PAGE);
    expect(limited.mmap(0, PAGE, RW, SHARED, secret, 0)).toBeGreaterThan(0);
  });
});

describe('addresses', () => {
  it('lie high, grow downwards and come back when they are used up', () => {
    const kernel = kernelOf();
    const one = kernel.mmap(0, PAGE, RW, ANONYMOUS, -1, 0);
    const two = kernel.mmap(0, PAGE, RW, ANONYMOUS, -1, 0);
    expect(one).toBeGreaterThan(0x7f00_0000_0000);
    expect(two).toBe(one - PAGE);
    for (let turn = 0; turn < 300; turn++) {
      const big = kernel.mmap(0, 2 ** 40, 0, ANONYMOUS, -1, 0);
      expect(big).toBeGreaterThan(0);
      expect(kernel.munmap(big, 2 ** 40)).toBe(0);
    }
  });
});

describe('vm.memfd_noexec', () => {
  const made = (memfdNoexec: 0 | 1 | 2, flags: number): (string | number)[] => {
    const kernel = kernelOf({ memfdNoexec });
    const fd = kernel.memfdCreate('x', flags);
    if (fd < 0) return [name(fd)];
    return [Number((statOf(kernel, fd)[STAT.mode] ?? 0n) & 0o7777n), kernel.fcntl(fd, F.GET_SEALS, 0)];
  };
  it.each([
    [0, 0, [0o777, SEAL.SEAL]],
    [0, MFD.ALLOW_SEALING, [0o777, 0]],
    [1, 0, [0o666, SEAL.EXEC]],
    [1, MFD.EXEC, [0o777, SEAL.SEAL]],
    [2, 0, [0o666, SEAL.EXEC]],
    [2, MFD.EXEC, ['EACCES']],
    [2, MFD.NOEXEC_SEAL, [0o666, SEAL.EXEC]],
  ] as const)('%i with flags %i', (sysctl, flags, wanted) => {
    expect(made(sysctl, flags)).toEqual(wanted);
  });
});

describe('huge pages', () => {
  const HUGE = 2 * MIB;
  it('none are free by default', () => {
    const kernel = kernelOf();
    const fd = kernel.memfdCreate('h', MFD.HUGETLB);
    expect(name(kernel.ftruncate(fd, PAGE))).toBe('EINVAL');
    expect(kernel.ftruncate(fd, HUGE)).toBe(0);
    expect(name(kernel.mmap(0, HUGE, RW, SHARED, fd, 0))).toBe('ENOMEM');
    expect(name(kernel.fallocate(fd, 0, 0, HUGE))).toBe('ENOSPC');
    expect(name(kernel.memfdCreate('h', MFD.HUGETLB | (16 << 26)))).toBe('ENODEV');
  });

  it('are taken, mapped, seen through every alias and given back', () => {
    const kernel = kernelOf({ hugePages: new Map([[HUGE, 2]]) });
    const fd = kernel.memfdCreate('h', MFD.HUGETLB | MFD.ALLOW_SEALING);
    const at = kernel.mmap(0, 2 * HUGE, RW, SHARED, fd, 0);
    expect(at % HUGE).toBe(0);
    expect(statOf(kernel, fd)[STAT.size]).toBe(BigInt(2 * HUGE));
    expect(kernel.fill(at, 10, 5)).toBe(10);
    expect(statOf(kernel, fd)[STAT.blocks]).toBe(BigInt(HUGE / 512));
    const bytes = new Uint8Array(11);
    expect(kernel.pread(fd, bytes, 0)).toBe(11);
    expect([...bytes]).toEqual([5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0]);
    expect(name(kernel.munmap(at + PAGE, PAGE))).toBe('EINVAL');
    expect(name(kernel.mprotect(at + PAGE, HUGE, 1))).toBe('EINVAL');
    expect(name(kernel.fcntl(fd, F.ADD_SEALS, SEAL.WRITE))).toBe('EBUSY');
    expect(kernel.fallocate(fd, 3, 0, HUGE)).toBe(0);
    expect(kernel.compare(at, new Uint8Array(10))).toBe(10);
    const again = kernel.open(`/proc/self/fd/${fd}`, 0, 0);
    expect(statOf(kernel, again)[STAT.ino]).toBe(statOf(kernel, fd)[STAT.ino]);
    for (const one of [fd, again]) expect(kernel.close(one)).toBe(0);
    expect(kernel.munmap(at, 2 * HUGE)).toBe(0);
    const next = kernel.memfdCreate('h', MFD.HUGETLB);
    expect(kernel.fallocate(next, 0, 0, 2 * HUGE)).toBe(0);
  });
});

describe('releases', () => {
  it('the nearest is the newest that is not newer', () => {
    expect(['5.15.0', '6.1.90', '6.10.3', '6.18.44-x', '7.2.0', '8.0'].map(nearestRelease)).toEqual([
      '6.1',
      '6.1',
      '6.8',
      '6.18',
      '6.18',
      '7.3',
    ]);
  });

  it('6.1 knows no exec flags, no cachestat, no secret memory by default', () => {
    const kernel = kernelOf({}, '6.1');
    expect(name(kernel.memfdCreate('x', MFD.EXEC))).toBe('EINVAL');
    const fd = kernel.memfdCreate('x', MFD.ALLOW_SEALING);
    expect(Number((statOf(kernel, fd)[STAT.mode] ?? 0n) & 0o7777n)).toBe(0o777);
    expect(name(kernel.fcntl(fd, F.ADD_SEALS, SEAL.EXEC))).toBe('EINVAL');
    expect(name(kernel.cachestat(fd, 0, 0, new BigUint64Array(CACHESTAT_LENGTH)))).toBe('ENOSYS');
    expect(name(kernel.memfdSecret(0))).toBe('ENOSYS');
    expect(kernel.fcntl(fd, F.ADD_SEALS, SEAL.WRITE)).toBe(0);
    expect(name(kernel.mmap(0, PAGE, 1, SHARED, fd, 0))).toBe('EPERM');
  });

  it('guard regions: none, anonymous ones, all', () => {
    const guard = (release: SimRelease, file: boolean): string | number => {
      const kernel = kernelOf({}, release);
      const fd = kernel.memfdCreate('x', 0);
      kernel.ftruncate(fd, PAGE);
      const at = file ? kernel.mmap(0, PAGE, RW, SHARED, fd, 0) : kernel.mmap(0, PAGE, RW, ANONYMOUS, -1, 0);
      const result = kernel.madvise(at, PAGE, 102);
      expect(kernel.fill(at, 1, 1)).toBe(result === 0 ? 0 : 1);
      return name(result);
    };
    expect([guard('6.12', false), guard('6.18', false), guard('6.18', true)]).toEqual(['EINVAL', 0, 0]);
  });
});
