/** guest_memfd: creation, the system calls that it takes and refuses, allocation. */
import { readlinkSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import type { GuestMemfd } from '../../lib/kvm/guest-memfd.ts';
import { F, FALLOC_FL, FS_MAGIC, KVM_CREATE_GUEST_MEMFD, kvm_create_guest_memfd } from '../../lib/uapi/index.ts';
import { describeKvm, requires, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } = FALLOC_FL.value;
const refused = (code: string) => expect.objectContaining({ ok: false, code });
const ok = expect.objectContaining({ ok: true });

describeKvm(
  'guest_memfd',
  ({ sys, kvm }) => {
    const vm = kvm.createVm();
    const open: GuestMemfd[] = [];
    const create = (
      size: number | bigint = 4 * PAGE,
      flags: Parameters<typeof vm.createGuestMemfd>[1] = 0,
    ): GuestMemfd => {
      const file = vm.createGuestMemfd(size, flags);
      open.push(file);
      return file;
    };
    afterEach(() => {
      for (const file of open.splice(0)) file.close();
    });

    it('is close-on-exec, although the kernel hands it out without', () => {
      const file = create();
      expect(sys.fcntl(file.fd, F.value.F_GETFD)).toBe(1);
      expect(sys.fcntl(file.fd, F.value.F_GETFL) & 3).toBe(2);
    });

    it('takes positive multiples of the page size', () => {
      for (const size of [0, 1, PAGE - 1, PAGE + 1, 1n << 63n, (1n << 64n) - 4096n]) {
        expect(vm.raw.createGuestMemfd(size)).toEqual(refused('EINVAL'));
      }
      expect(create(PAGE).size).toBe(PAGE);
      // Nothing is reserved, so the largest size costs nothing.
      const huge = create((1n << 63n) - 4096n);
      expect(huge.stat().size).toBe((1n << 63n) - 4096n);
      expect(() => huge.size).toThrow(RangeError);
      expect(() => vm.createGuestMemfd(-4096)).toThrow(RangeError);
    });

    it('takes the flags that the VM offers, and no other', () => {
      const offered = vm.guestMemfdFlags();
      for (let bit = 0; bit < 64; bit++) {
        const flag = 1n << BigInt(bit);
        const made = vm.raw.createGuestMemfd(PAGE, flag);
        if (made.ok) made.value.close();
        expect(`bit ${bit}: ${made.ok}`).toBe(`bit ${bit}: ${(BigInt(offered) & flag) !== 0n}`);
      }
      // Flags are judged before the size.
      expect(vm.raw.createGuestMemfd(1, 1n << 40n)).toEqual(refused('EINVAL'));
    });

    it('does not look at the reserved words', () => {
      const arg = kvm_create_guest_memfd.encode({ size: PAGE, reserved: [1n, 2n, 3n, 4n, 5n, 6n] });
      sys.close(vm.ioctl(KVM_CREATE_GUEST_MEMFD, arg));
    });

    it('knows its flags', () => {
      const file = create(PAGE);
      expect([file.flags, file.mappable, file.initShared]).toEqual([0n, false, false]);
      expect(file.vm).toBe(vm);
    });

    it('is a file of its own kind, whose blocks are never counted', () => {
      const file = create();
      file.allocate(0, PAGE);
      expect(file.stat()).toMatchObject({ mode: 0o100600, size: 16384n, blksize: 4096, nlink: 1, blocks: 0n });
      // An inode of its own since 7.x, an anonymous one before.
      const { GUEST_MEMFD_MAGIC, ANON_INODE_FS_MAGIC } = FS_MAGIC.value;
      expect([BigInt(GUEST_MEMFD_MAGIC), BigInt(ANON_INODE_FS_MAGIC)]).toContain(file.stat().fsType);
      if (sys.kernel.backend === 'kvm') expect(readlinkSync(`/proc/self/fd/${file.fd}`)).toMatch(/\[kvm-gmem\]/);
    });

    it('cannot be read, written, seeked, sealed, resized or given another mode', () => {
      const file = create();
      const { raw } = file;
      const byte = new Uint8Array(1);
      const none = new Uint8Array(0);
      for (const call of [raw.read(byte), raw.read(none), raw.write(byte), raw.write(none)]) {
        expect(call).toEqual(refused('EINVAL'));
      }
      expect([raw.pread(byte, 0), raw.pwrite(byte, 0)]).toEqual([refused('ESPIPE'), refused('ESPIPE')]);
      for (const whence of [0, 1, 2, 3, 4]) expect(sys.raw.lseek(file.fd, 0, whence)).toEqual(refused('ESPIPE'));
      for (const size of [0, PAGE, 4 * PAGE, 8 * PAGE]) expect(raw.truncate(size)).toEqual(refused('EINVAL'));
      expect(raw.addSeals(0)).toEqual(refused('EINVAL'));
      expect(() => file.seals).toThrow(/F_GET_SEALS.*EINVAL/s);
      expect(sys.raw.fchmod(file.fd, 0o600)).toEqual(refused('EINVAL'));
    });

    it('takes no request', () => {
      const file = create();
      expect(file.raw.ioctl(0xae00)).toEqual(refused('ENOTTY'));
      expect(file.raw.ioctl(0xae80)).toEqual(refused('ENOTTY'));
    });

    it('cannot be opened again through /proc', () => {
      expect(sys.raw.open(`/proc/self/fd/${create().fd}`, 2)).toEqual(refused('ENXIO'));
    });

    it('allocates page by page, within its size', () => {
      const file = create();
      file.allocate(PAGE, 2 * PAGE);
      expect(file.residency().cache).toBe(2);
      expect([file.residency(0, PAGE).cache, file.residency(2 * PAGE, PAGE).cache]).toEqual([0, 1]);
      expect(file.raw.allocate(3 * PAGE, 2 * PAGE)).toEqual(refused('EINVAL'));
      expect(file.raw.allocate(4 * PAGE, PAGE)).toEqual(refused('EINVAL'));
      expect(file.residency().cache).toBe(2);
      expect(file.stat().size).toBe(16384n);
    });

    it.each([
      ['mode 0', 0],
      ['PUNCH_HOLE alone', FALLOC_FL_PUNCH_HOLE],
      ['ZERO_RANGE', FALLOC_FL_ZERO_RANGE],
      ['ZERO_RANGE|KEEP_SIZE', FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE],
      ['an unknown bit', 0x400 | FALLOC_FL_KEEP_SIZE],
    ])('fallocate refuses %s', (_, mode) => {
      expect(create().raw.fallocate(mode, 0, PAGE)).toEqual(refused('EOPNOTSUPP'));
    });

    it('fallocate wants whole pages, for both modes', () => {
      const { raw } = create();
      for (const [offset, length] of [
        [1, PAGE],
        [0, 1],
        [PAGE, PAGE + 1],
        [0, 0],
        [-PAGE, PAGE],
      ] as const) {
        expect(raw.allocate(offset, length)).toEqual(refused('EINVAL'));
        expect(raw.punchHole(offset, length)).toEqual(refused('EINVAL'));
      }
      expect(raw.allocate((1n << 63n) - 4096n, PAGE)).toEqual(refused('EFBIG'));
    });

    it('punches anywhere, beyond its end as well', () => {
      const file = create();
      file.allocate(0, 4 * PAGE);
      expect(file.raw.punchHole(2 * PAGE, 4 * PAGE)).toEqual(ok);
      expect(file.residency().cache).toBe(2);
      expect(file.raw.punchHole(4 * PAGE, PAGE)).toEqual(ok);
      expect(file.raw.punchHole(1n << 40n, PAGE)).toEqual(ok);
      expect(file.residency().cache).toBe(2);
    });

    it('cannot be mapped without the flag', () => {
      const file = create();
      expect(file.raw.map()).toEqual(refused('ENODEV'));
      expect(file.raw.map({ flags: 2 })).toEqual(refused('ENODEV'));
    });

    it('outlives the descriptor of its VM', () => {
      const other = kvm.createVm();
      const fd = sys.fcntl(other.createGuestMemfd(2 * PAGE).fd, F.value.F_DUPFD_CLOEXEC, 0);
      other.close();
      expect(sys.fstat(fd).size).toBe(8192n);
      sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, PAGE);
      expect(sys.cachestat(fd, 0, 0).cache).toBe(1);
      sys.close(fd);
    });

    requires(SHARED_GMEM)('INIT_SHARED without MMAP is accepted and cannot be mapped', () => {
      const file = create(PAGE, { initShared: true });
      expect([file.mappable, file.initShared]).toEqual([false, true]);
      expect(file.raw.map()).toEqual(refused('ENODEV'));
    });
  },
  { caps: { KVM_CAP_GUEST_MEMFD: 1 } },
);
