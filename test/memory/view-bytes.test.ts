/** Calls that are handed a view of memory which cannot be reached, or not to its end: what the kernel's copies from and to user memory do. */
import { afterEach, expect, it } from 'vitest';
import { Mapping } from '../../lib/memory/mapping.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { sinceRelease } from '../../lib/sim/profile.ts';
import { F_SEAL, KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region, MADV, PROT } from '../../lib/uapi/index.ts';
import { describeKvm } from '../support/kvm.ts';

const PAGE = 4096;
const EPERM = 1;
const EAGAIN = 11;
const EFAULT = 14;
const O_NONBLOCK = 0x800;

describeKvm(
  'bytes that lie in a view',
  ({ sys, kvm }) => {
    const owned: { close(): void }[] = [];
    afterEach(() => {
      for (const one of owned.splice(0).reverse()) one.close();
    });
    const own = <T extends { close(): void }>(one: T): T => {
      owned.push(one);
      return one;
    };
    const memfd = (size = PAGE): Memfd => own(Memfd.create(sys, { size }));
    /** A page of bytes 7, and one that nothing is behind. */
    function half(): Uint8Array {
      const file = memfd(2 * PAGE);
      const view = own(file.map({ length: 2 * PAGE })).unsafeView({ length: 2 * PAGE });
      view.fill(7);
      file.truncate(PAGE);
      return view;
    }
    function none(prot = 0): Uint8Array {
      const mapping = own(Mapping.anonymous(sys, PAGE));
      const view = mapping.unsafeView();
      mapping.protect(prot);
      return view;
    }
    const { kernel } = sys;
    const sizes = (file: Memfd): number[] => {
      const { size, blocks } = file.stat();
      return [Number(size), Number(blocks)];
    };
    const pwrite = (file: Memfd, bytes: Uint8Array, at: number): number => kernel.pwrite(file.fd, bytes, at);
    const pread = (file: Memfd, bytes: Uint8Array, at: number): number => kernel.pread(file.fd, bytes, at);
    const close = (fd: number): number => kernel.close(fd);

    it('are written as far as they can be read, and leave the page where they could not', () => {
      const file = memfd();
      const view = half();
      expect(pwrite(file, none(), 0)).toBe(-EFAULT);
      expect(sizes(file)).toEqual([PAGE, 8]);
      expect(pwrite(file, none().subarray(8, 40), 3 * PAGE + 5)).toBe(-EFAULT);
      expect(sizes(file)).toEqual([3 * PAGE + 5, 16]);
      expect(pwrite(file, view.subarray(PAGE - 10, PAGE + 10), 6 * PAGE - 4)).toBe(10);
      expect(sizes(file)).toEqual([6 * PAGE + 6, 32]);
      expect(pwrite(file, view.subarray(PAGE - 10, PAGE + 10), 8 * PAGE - 10)).toBe(10);
      expect(sizes(file)).toEqual([8 * PAGE, 48]);
    });

    it('are asked for after the seals', () => {
      const grown = memfd();
      grown.addSeals(F_SEAL.value.F_SEAL_GROW);
      expect(pwrite(grown, none(), PAGE)).toBe(-EPERM);
      // Up to 2 MiB are judged at once since some release after 6.18.
      const whole = sinceRelease(kernel.release, '7.3');
      expect(pwrite(grown, half().subarray(PAGE - 10, PAGE + 10), PAGE - 12)).toBe(whole ? -EPERM : 10);
      const written = memfd();
      written.addSeals(F_SEAL.value.F_SEAL_WRITE);
      expect(pwrite(written, none(), 0)).toBe(-EPERM);
    });

    it('are filled as far as they can be written', () => {
      const file = memfd(2 * PAGE);
      const view = half();
      expect(pread(file, none(), 0)).toBe(-EFAULT);
      expect(pread(file, none(), 2 * PAGE)).toBe(0);
      expect(pread(file, view.subarray(PAGE - 10, PAGE + 10), PAGE - 5)).toBe(10);
      expect([...view.subarray(PAGE - 12, PAGE)]).toEqual([7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      const readOnly = none(PROT.value.PROT_READ);
      expect([pread(file, readOnly, 0), pwrite(file, readOnly, 0)]).toEqual([-EFAULT, PAGE]);
    });

    it('cost an eventfd its counter', () => {
      const fd = sys.eventfd(5, O_NONBLOCK);
      const view = half();
      expect(kernel.read(fd, view.subarray(PAGE - 4, PAGE + 4))).toBe(-EFAULT);
      expect([...view.subarray(PAGE - 4, PAGE)]).toEqual([5, 0, 0, 0]);
      expect(kernel.read(fd, new Uint8Array(8))).toBe(-EAGAIN);
      expect(kernel.write(fd, view.subarray(PAGE - 4, PAGE + 4))).toBe(-EFAULT);
      close(fd);
    });

    it('go through a pipe in whole parts', () => {
      const ends = new BigInt64Array(2);
      expect(kernel.pipe(O_NONBLOCK, ends)).toBe(0);
      const [from = -1, to = -1] = [...ends].map(Number);
      const view = half();
      const read = (bytes: Uint8Array): number => kernel.read(from, bytes);
      const write = (bytes: Uint8Array): number => kernel.write(to, bytes);
      expect([read(none()), write(none()), write(view.subarray(PAGE - 8, PAGE + 8))]).toEqual([
        -EAGAIN,
        -EFAULT,
        -EFAULT,
      ]);
      expect([write(view), read(new Uint8Array(3 * PAGE))]).toEqual([PAGE, PAGE]);
      expect([write(new Uint8Array(100)), write(view.subarray(PAGE - 4, PAGE + 4))]).toEqual([100, -EFAULT]);
      expect([read(view.subarray(PAGE - 4, PAGE + 4)), read(none()), read(new Uint8Array(PAGE))]).toEqual([
        -EFAULT,
        -EFAULT,
        100,
      ]);
      close(from);
      close(to);
    });

    it('are the struct of a request, its name or its memory', () => {
      using vm = kvm.createVm();
      const view = half();
      const { size } = kvm_userspace_memory_region;
      const ask = (bytes: Uint8Array): number =>
        kernel.ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION.request, bytes.subarray(0, size));
      expect([ask(none()), ask(view.subarray(PAGE - 16))]).toEqual([-EFAULT, -EFAULT]);
      const link = `/proc/self/fd/${memfd().fd}`;
      expect([kernel.readlink(link, none()), kernel.readlink(link, view.subarray(PAGE - 4))]).toEqual([
        -EFAULT,
        -EFAULT,
      ]);
      const { hva } = own(Mapping.anonymous(sys, PAGE));
      const part = view.subarray(PAGE - 4, PAGE + 4);
      expect([kernel.processVmReadv(hva, none()), kernel.processVmReadv(hva, part)]).toEqual([-EFAULT, 4]);
      expect([kernel.processVmWritev(hva, none()), kernel.processVmWritev(hva, part)]).toEqual([-EFAULT, 4]);
    });

    it('are reached again once something is there', () => {
      const file = memfd(2 * PAGE);
      const mapping = own(file.map({ length: 2 * PAGE }));
      const view = mapping.unsafeView({ length: 2 * PAGE });
      file.truncate(PAGE);
      const other = memfd();
      expect(pwrite(other, view.subarray(PAGE), 0)).toBe(-EFAULT);
      file.truncate(2 * PAGE);
      mapping.advise(MADV.value.MADV_POPULATE_READ, { offset: PAGE, length: PAGE });
      expect(pwrite(other, view.subarray(PAGE), 0)).toBe(PAGE);
    });
  },
  { arch: 'x64', release: [6, 15] },
);
