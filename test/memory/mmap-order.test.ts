/** mmap(2), munmap(2), mprotect(2): which of several wrong arguments the kernel names. */
import { readFileSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { Memfd } from '../../lib/memory/memfd.ts';
import { MAP, PROT } from '../../lib/uapi/mman.ts';
import { describeKernel, requires } from '../support/kvm.ts';

const PAGE = 4096;
const { PROT_READ, PROT_WRITE, PROT_GROWSDOWN, PROT_GROWSUP } = PROT.value;
const { MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_HUGETLB, MAP_FIXED, MAP_FIXED_NOREPLACE } = MAP.value;
const RW = PROT_READ | PROT_WRITE;
const UNKNOWN_FLAG = 0x20_0000;
const refused = (code: string) => expect.objectContaining({ ok: false, code });

describeKernel('mmap', (sys) => {
  const file = Memfd.create(sys, { name: 'order', size: 2 * PAGE });
  const mapped: [number, number][] = [];
  const fds: number[] = [];
  const mmap = (
    length: number | bigint,
    prot: number,
    flags: number,
    fd = file.fd,
    offset: number | bigint = 0,
    at = 0,
  ) => {
    const result = sys.raw.mmap(at, length, prot, flags, fd, offset);
    if (result.ok) mapped.push([result.value, Number(length)]);
    return result;
  };
  const reopen = (flags: number): number => {
    const fd = sys.open(`/proc/self/fd/${file.fd}`, flags);
    fds.push(fd);
    return fd;
  };
  afterEach(() => {
    for (const [hva, length] of mapped.splice(0)) sys.munmap(hva, length);
    for (const fd of fds.splice(0)) sys.close(fd);
  });

  it('looks at the descriptor first', () => {
    expect(mmap(0, RW, MAP_SHARED, 999_999)).toEqual(refused('EBADF'));
  });

  it('looks at the offset in the stub of the system call', () => {
    expect(mmap(0, RW, MAP_SHARED, file.fd, 1)).toEqual(refused('EINVAL'));
  });

  it('refuses MAP_HUGETLB on other files', () => {
    expect(mmap(PAGE, RW, MAP_SHARED | MAP_HUGETLB)).toEqual(refused('EINVAL'));
  });

  it('length 0, then too long, then an offset that overflows', () => {
    expect(mmap(0, RW, 0)).toEqual(refused('EINVAL'));
    expect(mmap((1n << 64n) - 1n, RW, MAP_SHARED)).toEqual(refused('ENOMEM'));
    expect(mmap(1n << 60n, RW, MAP_SHARED)).toEqual(refused('ENOMEM'));
    expect(mmap(2 * PAGE, RW, MAP_SHARED, file.fd, -PAGE)).toEqual(refused('EOVERFLOW'));
  });

  it('judges the type, and takes unknown flags with MAP_SHARED only', () => {
    expect(mmap(PAGE, RW, 0)).toEqual(refused('EINVAL'));
    expect(mmap(PAGE, RW, MAP_SHARED_VALIDATE | UNKNOWN_FLAG)).toEqual(refused('EOPNOTSUPP'));
    expect(mmap(PAGE, RW, MAP_SHARED | UNKNOWN_FLAG).ok).toBe(true);
    expect(mmap(PAGE, RW, MAP_SHARED_VALIDATE).ok).toBe(true);
  });

  it('asks for the rights of the descriptor', () => {
    const readOnly = reopen(0);
    expect(mmap(PAGE, RW, MAP_SHARED, readOnly)).toEqual(refused('EACCES'));
    expect(mmap(PAGE, RW, MAP_SHARED_VALIDATE, readOnly)).toEqual(refused('EACCES'));
    expect(mmap(PAGE, RW, MAP_PRIVATE, readOnly).ok).toBe(true);
    expect(mmap(PAGE, PROT_READ, MAP_SHARED, reopen(1))).toEqual(refused('EACCES'));
  });

  it('ENODEV for a file that cannot be mapped', () => {
    const event = sys.eventfd(0, 0);
    fds.push(event);
    expect(mmap(PAGE, RW, MAP_SHARED, event)).toEqual(refused('ENODEV'));
  });

  it('MAP_FIXED: an odd address, a place that is taken', () => {
    const first = mmap(PAGE, RW, MAP_SHARED);
    const at = first.ok ? first.value : 0;
    expect(mmap(PAGE, RW, MAP_SHARED | MAP_FIXED, file.fd, 0, at + 1)).toEqual(refused('EINVAL'));
    expect(mmap(PAGE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, file.fd, 0, at)).toEqual(refused('EEXIST'));
  });

  it('munmap', () => {
    expect(sys.raw.munmap(1, PAGE)).toEqual(refused('EINVAL'));
    expect(sys.raw.munmap(0x10000, 0)).toEqual(refused('EINVAL'));
    // A range like that holds memory of others: the real kernel is not asked. In simulation there are no others.
    if (sys.kernel.backend === 'sim') expect(sys.raw.munmap(0x10000, 1n << 63n)).toEqual(refused('EINVAL'));
    else expect(() => sys.munmap(0x10000, 1n << 63n)).toThrow(RangeError);
    expect(sys.raw.munmap(0x10000, PAGE).ok).toBe(true);
  });

  it('mprotect', () => {
    const got = mmap(2 * PAGE, PROT_READ, MAP_SHARED, reopen(0));
    const at = got.ok ? got.value : 0;
    const { raw } = sys;
    expect(raw.mprotect(at + 1, 0, PROT_GROWSDOWN | PROT_GROWSUP)).toEqual(refused('EINVAL'));
    expect(raw.mprotect(at + 1, 0, PROT_READ)).toEqual(refused('EINVAL'));
    expect(raw.mprotect(at, 0, 0x4000).ok).toBe(true);
    expect(raw.mprotect(at, PAGE, 0x4000)).toEqual(refused('EINVAL'));
    expect(raw.mprotect(at, PAGE, RW)).toEqual(refused('EACCES'));
    sys.munmap(at + PAGE, PAGE);
    expect(raw.mprotect(at, 2 * PAGE, PROT_READ)).toEqual(refused('ENOMEM'));
    expect(raw.madvise(at, 2 * PAGE, 4)).toEqual(refused('ENOMEM'));
  });

  requires({ kvm: false, real: 'it is about memory of this process' })(
    'memory that is not ours is no business of ours',
    () => {
      // The text of this very process: no errno, since the kernel would obey.
      const [start = ''] = readFileSync('/proc/self/maps', 'utf8').split('-');
      const foreign = Number.parseInt(start, 16);
      expect(() => sys.mprotect(foreign, PAGE, PROT_READ)).toThrow(RangeError);
      expect(() => sys.munmap(foreign, PAGE)).toThrow(RangeError);
      expect(() => sys.madvise(foreign, PAGE, 4)).toThrow(RangeError);
      expect(() => mmap(PAGE, RW, MAP_SHARED | MAP_FIXED, file.fd, 0, foreign)).toThrow(RangeError);
    },
  );
});
