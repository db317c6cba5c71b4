/** ioctl: the rule for the buffer's length, and pointers that are placed only for the time of the call. */
import { describe, expect, it } from 'vitest';
import { IOCTL_LENGTH_CHECKED, IOCTL_MAKES_FD, type PointerPatch } from '../../lib/kernel/kernel.ts';
import guest from './children/guest.cjs';
import { foreignMemory, kernel, must, withKvm } from './host.ts';

const { E, KVM, MAP, PAGE, PROT } = guest;
const LOG_DIRTY_PAGES = 1;

describe('ioctl without KVM', () => {
  it('passes on what the kernel says', () => {
    const fd = must(kernel.memfdCreate('no ioctls', 0));
    expect(kernel.ioctl(-1, KVM.GET_API_VERSION, 0)).toBe(-E.EBADF);
    expect(kernel.ioctl(fd, KVM.GET_API_VERSION, 0)).toBe(-E.ENOTTY);
    expect(kernel.ioctl(fd, KVM.GET_REGS, new Uint8Array(144))).toBe(-E.ENOTTY);
    kernel.close(fd);
  });

  it('wants the encoded length, and at least that when the caller checked it', () => {
    for (const length of [0, 143, 145, 4096]) {
      expect(() => kernel.ioctl(-1, KVM.GET_REGS, new Uint8Array(length))).toThrow(RangeError);
    }
    expect(kernel.ioctl(-1, KVM.GET_REGS, new Uint8Array(145), IOCTL_LENGTH_CHECKED)).toBe(-E.EBADF);
    expect(() => kernel.ioctl(-1, KVM.GET_REGS, new Uint8Array(143), IOCTL_LENGTH_CHECKED)).toThrow(RangeError);
    expect(() => kernel.ioctl(-1, KVM.GET_API_VERSION, new Uint8Array(8))).toThrow(RangeError);
    expect(kernel.ioctl(-1, KVM.GET_API_VERSION, new Uint8Array(8), IOCTL_LENGTH_CHECKED)).toBe(-E.EBADF);
  });

  it('takes requests as signed or unsigned numbers', () => {
    expect(kernel.ioctl(-1, KVM.GET_REGS | 0, new Uint8Array(144))).toBe(-E.EBADF);
  });

  it('refuses a number as address of memory that somebody else mapped', () => {
    const ours = must(kernel.mmap(0, PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
    const foreign = foreignMemory();
    expect(() => kernel.ioctl(-1, KVM.GET_REGS, foreign)).toThrow(RangeError);
    expect(kernel.ioctl(-1, KVM.GET_REGS, ours)).toBe(-E.EBADF);
    expect(kernel.ioctl(-1, KVM.GET_REGS, 0)).toBe(-E.EBADF);
    expect(kernel.ioctl(-1, KVM.GET_REGS, 2n ** 64n - 1n)).toBe(-E.EBADF);
    must(kernel.munmap(ours, PAGE));
  });

  it('leaves `how` out or takes undefined, and refuses anything else', () => {
    expect(kernel.ioctl(-1, 0, 0, undefined, undefined)).toBe(-E.EBADF);
    for (const how of [null, '1', 1n, 1.5, 2 ** 32]) {
      expect(() => Reflect.apply(kernel.ioctl, undefined, [-1, 0, 0, how])).toThrow(/how/);
    }
  });
});

describe('pointers', () => {
  const buffer = new Uint8Array(16);
  const view = new Uint8Array(8);
  const call = (pointers: unknown): unknown =>
    Reflect.apply(kernel.ioctl, undefined, [-1, KVM.GET_DIRTY_LOG, buffer, 0, pointers]);

  it('must be an array of at most 8 pairs', () => {
    for (const bad of [1, 'x', {}, [1], [[]], [[0]], [['0', view]], [[0, 1]], [[0n, view]], [[0, new Int8Array(8)]]]) {
      expect(
        () => call(bad),
        JSON.stringify(bad, (_, v) => (typeof v === 'bigint' ? `${v}n` : v)),
      ).toThrow(TypeError);
    }
    expect(() => call(new Array(9).fill([0, view]))).toThrow(RangeError);
    expect(call(new Array(8).fill([0, view]))).toBe(-E.EBADF);
  });

  it('must lie inside the buffer', () => {
    for (const offset of [-1, 9, 16, 1.5, Number.NaN, 2 ** 64, Number.POSITIVE_INFINITY]) {
      expect(() => call([[offset, view]]), String(offset)).toThrow(RangeError);
    }
    expect(call([[8, view]])).toBe(-E.EBADF);
  });

  it('leave the buffer as it was, also when a later one is refused', () => {
    buffer.fill(0x5a);
    call([[0, view]]);
    call([
      [1, view],
      [5, view],
      [8, view],
    ]);
    expect(() =>
      call([
        [0, view],
        [99, view],
      ]),
    ).toThrow(RangeError);
    expect([...buffer]).toEqual(new Array(16).fill(0x5a));
  });

  it('survive entries whose getters throw, detach the buffer or shrink the array', () => {
    const thrower = Object.defineProperty([0, view], 0, {
      get: () => {
        throw new Error('from the getter');
      },
    });
    expect(() => call([thrower])).toThrow('from the getter');
    const mine = new Uint8Array(16);
    const detacher = Object.defineProperty([0, view], 0, {
      get: () => {
        structuredClone(mine.buffer, { transfer: [mine.buffer] });
        return 0;
      },
    });
    expect(() => kernel.ioctl(-1, KVM.GET_DIRTY_LOG, mine, 0, [detacher as unknown as PointerPatch])).toThrow(
      RangeError,
    );
    const list: unknown[] = [
      [0, view],
      [8, view],
    ];
    Object.defineProperty(list, 0, {
      get: () => {
        list.length = 1;
        return [0, view];
      },
    });
    expect(() => call(list)).toThrow(TypeError);
  });
});

withKvm('ioctl with KVM', () => {
  it('returns values and fills buffers', () => {
    const { kvm, vm } = guest.openVm(kernel);
    expect(kernel.ioctl(kvm, KVM.GET_API_VERSION, 0)).toBe(12);
    expect(kernel.ioctl(kvm, KVM.GET_API_VERSION, 1)).toBe(-E.EINVAL);
    expect(kernel.ioctl(vm, KVM.CHECK_EXTENSION, 3n)).toBeGreaterThan(0);
    const vcpu = must(kernel.ioctl(vm, KVM.CREATE_VCPU, 0, IOCTL_MAKES_FD));
    const regs = new Uint8Array(144);
    expect(kernel.ioctl(vcpu, KVM.GET_REGS, regs)).toBe(0);
    expect(new DataView(regs.buffer).getBigUint64(128, true)).toBe(0xfff0n);
    expect(kernel.ioctl(vm, KVM.CREATE_VCPU, 0, IOCTL_MAKES_FD)).toBe(-E.EEXIST);
    expect(kernel.ioctl(kvm, KVM.CREATE_VM, 0xffff, IOCTL_MAKES_FD)).toBe(-E.EINVAL);
    for (const fd of [vcpu, vm, kvm]) kernel.close(fd);
  });

  it('takes an address of ours, and gives EFAULT for one that nobody has', () => {
    const { kvm, vm } = guest.openVm(kernel);
    const vcpu = must(kernel.ioctl(vm, KVM.CREATE_VCPU, 0, IOCTL_MAKES_FD));
    const page = must(kernel.mmap(0, PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
    expect(kernel.ioctl(vcpu, KVM.GET_REGS, page)).toBe(0);
    const rip = new Uint8Array(2);
    kernel.copyOut(page + 128, rip);
    expect([...rip]).toEqual([0xf0, 0xff]);
    expect(kernel.ioctl(vcpu, KVM.GET_REGS, 0)).toBe(-E.EFAULT);
    expect(kernel.ioctl(vcpu, KVM.GET_REGS, 2n ** 63n)).toBe(-E.EFAULT);
    must(kernel.munmap(page, PAGE));
    expect(kernel.ioctl(vcpu, KVM.GET_REGS, page)).toBe(-E.EFAULT);
    for (const fd of [vcpu, vm, kvm]) kernel.close(fd);
  });

  it('takes a buffer longer than the request says when the caller checked it', () => {
    const { kvm, vm } = guest.openVm(kernel);
    const vcpu = must(kernel.ioctl(vm, KVM.CREATE_VCPU, 0, IOCTL_MAKES_FD));
    const msrs = new Uint8Array(8 + 16);
    const at = new DataView(msrs.buffer);
    at.setUint32(0, 1, true);
    at.setUint32(8, 0x10, true);
    expect(() => kernel.ioctl(vcpu, KVM.GET_MSRS, msrs)).toThrow(RangeError);
    expect(kernel.ioctl(vcpu, KVM.GET_MSRS, msrs, IOCTL_LENGTH_CHECKED)).toBe(1);
    for (const fd of [vcpu, vm, kvm]) kernel.close(fd);
  });

  it('places pointers: KVM_GET_DIRTY_LOG fills the bitmap, the buffer keeps no address', () => {
    const open = guest.openGuest(kernel, guest.CODE.dirty, LOG_DIRTY_PAGES);
    const argument = new Uint8Array(16);
    const bitmap = new Uint8Array(8);
    argument.fill(0x77, 8);
    const read = (): number => kernel.ioctl(open.vm, KVM.GET_DIRTY_LOG, argument, 0, [[8, bitmap]]);
    expect(read()).toBe(0);
    bitmap.fill(0);
    expect(kernel.vcpuRun(open.handle, 1000)).toBe(0);
    expect(guest.exitReason(kernel, open)).toBe(guest.EXIT.HLT);
    expect(read()).toBe(0);
    expect(bitmap[0]).toBe(1 << 3);
    expect([...argument.subarray(8)]).toEqual(new Array(8).fill(0x77));
    guest.closeGuest(kernel, open);
  });
});
