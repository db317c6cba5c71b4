/** memfd_create(2) and what can be done to the file: sizes, allocation, holes, reads. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { Memfd, type MemfdOptions } from '../../lib/memory/memfd.ts';
import { FALLOC_FL, FS_MAGIC, MFD } from '../../lib/uapi/memfd.ts';
import { F } from '../../lib/uapi/mman.ts';
import { describeKernel, requires } from '../support/kvm.ts';

const PAGE = 4096;
const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } = FALLOC_FL.value;
const refused = (code: string) => expect.objectContaining({ ok: false, code });

/** vm.memfd_noexec; undefined before Linux 6.3, where the exec flags do not exist. */
function noexec(): number | undefined {
  try {
    return Number(readFileSync('/proc/sys/vm/memfd_noexec', 'utf8'));
  } catch {
    return undefined;
  }
}

describeKernel('Memfd', (sys) => {
  const open: Memfd[] = [];
  const memfd = (options: MemfdOptions = {}): Memfd => {
    const file = Memfd.create(sys, options);
    open.push(file);
    return file;
  };
  const create = (options: MemfdOptions) => sys.raw.memfdCreate(options.name ?? '', options.flags ?? 0);
  afterEach(() => {
    for (const file of open.splice(0)) file.close();
  });

  it('is an empty tmpfs file without a name, close-on-exec, that can be read and written', () => {
    const file = memfd({ name: 'abc' });
    expect(file.stat()).toMatchObject({ size: 0n, nlink: 0, blocks: 0n, fsType: BigInt(FS_MAGIC.value.TMPFS_MAGIC) });
    if (sys.kernel.backend === 'kvm') expect(readlinkSync(`/proc/self/fd/${file.fd}`)).toBe('/memfd:abc (deleted)');
    expect(sys.fcntl(file.fd, F.value.F_GETFD)).toBe(1);
    expect(sys.fcntl(file.fd, F.value.F_GETFL) & 3).toBe(2);
    expect(file.kind).toBe('memfd');
  });

  it('takes names of 249 bytes and no more', () => {
    expect(memfd({ name: 'a'.repeat(249) }).closed).toBe(false);
    expect(() => memfd({ name: 'ä'.repeat(125) })).toThrow(/EINVAL/);
  });

  it('judges flags before names', () => {
    expect(create({ name: 'a'.repeat(250), flags: 0x100 })).toEqual(refused('EINVAL'));
    // Huge page sizes without MFD_HUGETLB are unknown bits.
    expect(create({ flags: 21 << 26 })).toEqual(refused('EINVAL'));
  });

  const execFlags = requires({
    kvm: false,
    also: () => (noexec() === undefined ? 'vm.memfd_noexec is missing (Linux 6.3)' : undefined),
  });
  execFlags('refuses EXEC together with NOEXEC_SEAL, and EXEC under vm.memfd_noexec=2', () => {
    const { MFD_EXEC, MFD_NOEXEC_SEAL } = MFD.value;
    expect(create({ flags: MFD_EXEC | MFD_NOEXEC_SEAL })).toEqual(refused('EINVAL'));
    const exec = create({ flags: MFD_EXEC });
    if (noexec() === 2) expect(exec).toEqual(refused('EACCES'));
    else expect(exec.ok).toBe(true);
    if (exec.ok) sys.close(exec.value);
  });

  it('names a size of huge pages, which the host may not have', () => {
    // ENODEV: no such size. ENOMEM: none free. ENOSYS: no hugetlbfs at all.
    const file = Memfd.create.bind(undefined, sys, { hugePageSize: 2 ** 34 });
    expect(file).toThrow(/ENODEV|ENOMEM|ENOSYS/);
    expect(() => memfd({ hugePageSize: 3000 })).toThrow(RangeError);
    expect(() => memfd({ hugePageSize: 0 })).toThrow(RangeError);
  });

  it('leaves no descriptor behind when the size is refused', () => {
    const before = readdirSync('/proc/self/fd').length;
    expect(() => Memfd.create(sys, { size: -1 })).toThrow(/EINVAL/);
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });

  it('changes its size, and drops what is beyond it', () => {
    const file = memfd({ size: 3 * PAGE });
    expect(file.size).toBe(3 * PAGE);
    file.pwrite(new Uint8Array(3 * PAGE).fill(7), 0);
    file.truncate(PAGE + 1);
    file.truncate(3 * PAGE);
    const into = new Uint8Array(3 * PAGE);
    expect(file.pread(into, 0)).toBe(3 * PAGE);
    expect(into.lastIndexOf(7)).toBe(PAGE);
    expect(file.raw.truncate(-1)).toEqual(refused('EINVAL'));
    file.truncate(1n << 62n);
    expect(() => file.size).toThrow(RangeError);
    expect(file.stat().size).toBe(1n << 62n);
  });

  it('refuses a change of size through a read-only descriptor, and reads only what it may', () => {
    const file = memfd({ size: PAGE });
    const fd = sys.open(`/proc/self/fd/${file.fd}`, 0);
    expect(sys.raw.ftruncate(fd, 0)).toEqual(refused('EINVAL'));
    expect(sys.raw.write(fd, new Uint8Array(1))).toEqual(refused('EBADF'));
    expect(sys.raw.fallocate(fd, 0, 0, PAGE)).toEqual(refused('EBADF'));
    sys.close(fd);
    expect(sys.raw.ftruncate(fd, 0)).toEqual(refused('EBADF'));
    expect(sys.raw.fallocate(fd, 0, 0, PAGE)).toEqual(refused('EBADF'));
  });

  it('allocates with and without changing the size, at any alignment', () => {
    const file = memfd({ size: PAGE });
    file.fallocate(0, 10, 2 * PAGE);
    expect(file.stat()).toMatchObject({ size: BigInt(2 * PAGE + 10), blocks: 24n });
    file.allocate(4 * PAGE, PAGE);
    expect(file.stat()).toMatchObject({ size: BigInt(2 * PAGE + 10), blocks: 32n });
  });

  it('punches holes at any alignment: parts of pages are zeroed, whole pages freed', () => {
    const file = memfd({ size: 3 * PAGE });
    file.pwrite(new Uint8Array(3 * PAGE).fill(9), 0);
    file.punchHole(100, 2 * PAGE);
    expect(file.stat().blocks).toBe(16n);
    const into = new Uint8Array(3 * PAGE);
    file.pread(into, 0);
    expect([into[99], into[100], into[2 * PAGE + 99], into[2 * PAGE + 100]]).toEqual([9, 0, 0, 9]);
    using mapping = file.map();
    file.punchHole(0, PAGE);
    expect(mapping.read(0, 100)).toEqual(new Uint8Array(100));
  });

  it.each([
    ['ZERO_RANGE', 0x10],
    ['COLLAPSE_RANGE', 8],
    ['INSERT_RANGE', 0x20],
    ['UNSHARE_RANGE', 0x40],
    ['an unknown bit', 0x400],
    ['PUNCH_HOLE without KEEP_SIZE', FALLOC_FL_PUNCH_HOLE],
    ['two modes', FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE | 0x10],
  ])('fallocate does not know %s', (_, mode) => {
    expect(memfd({ size: PAGE }).raw.fallocate(mode, 0, PAGE)).toEqual(refused('EOPNOTSUPP'));
  });

  it('fallocate judges the range first, then the mode, and an overflow last', () => {
    const file = memfd({ size: PAGE });
    expect(file.raw.fallocate(0x400, -1, PAGE)).toEqual(refused('EINVAL'));
    expect(file.raw.fallocate(0x400, 0, 0)).toEqual(refused('EINVAL'));
    expect(file.raw.fallocate(0x400, (1n << 63n) - 1n, PAGE)).toEqual(refused('EOPNOTSUPP'));
    expect(file.raw.allocate((1n << 63n) - 1n, PAGE)).toEqual(refused('EFBIG'));
    expect(file.raw.punchHole(0, 0)).toEqual(refused('EINVAL'));
  });

  it('seeks data and holes', () => {
    const file = memfd({ size: 4 * PAGE });
    expect(file.raw.seek('data', 0)).toEqual(refused('ENXIO'));
    file.pwrite(new Uint8Array([1]), PAGE);
    expect([file.seek('data', 0), file.seek('hole', 0), file.seek('hole', PAGE)]).toEqual([4096n, 0n, 8192n]);
    expect(file.raw.seek('data', 2 * PAGE)).toEqual(refused('ENXIO'));
    expect(file.raw.seek('hole', 4 * PAGE)).toEqual(refused('ENXIO'));
    expect(file.raw.seek('data', 4 * PAGE)).toEqual(refused('ENXIO'));
  });

  it('reads and writes at its own position', () => {
    const file = memfd();
    expect(file.write(new Uint8Array([1, 2, 3]))).toBe(3);
    const into = new Uint8Array(4);
    expect(file.read(into)).toBe(0);
    expect([file.pread(into, 1), [...into]]).toEqual([2, [2, 3, 0, 0]]);
    expect(file.raw.pread(into, -1)).toEqual(refused('EINVAL'));
  });

  requires({ kvm: false, release: [6, 5] })('says how many pages it holds', () => {
    const file = memfd({ size: 4 * PAGE });
    expect(file.residency().cache).toBe(0);
    file.allocate(PAGE, 2 * PAGE);
    expect([file.residency().cache, file.residency(0, PAGE).cache]).toEqual([2, 0]);
  });
});
