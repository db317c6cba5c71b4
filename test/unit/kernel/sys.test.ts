import { describe, expect, it } from 'vitest';
import { KernelError } from '../../../lib/kernel/errors.ts';
import { IOCTL_LENGTH_CHECKED, IOCTL_MAKES_FD } from '../../../lib/kernel/kernel.ts';
import { Sys } from '../../../lib/kernel/sys.ts';
import {
  defineIoctl,
  KVM_CREATE_DEVICE,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VM,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_SET_CPUID2,
  kvm_cpuid2,
  kvm_create_guest_memfd,
  kvm_msrs,
  struct,
  u64,
} from '../../../lib/uapi/index.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

describe('Sys.ioctl', () => {
  const fake = fakeKernel({ ioctl: () => 7 });
  const sys = new Sys(fake.kernel);
  const how = (call: () => void): unknown => {
    fake.calls.length = 0;
    call();
    return fake.calls[0]?.args[3];
  };

  it('passes buffers with the size that the number encodes, and says nothing more', () => {
    expect(how(() => sys.ioctl(5, KVM_GET_REGS, new Uint8Array(144)))).toBe(0);
    expect(fake.calls[0]?.args.slice(0, 2)).toEqual([5, 0x8090ae81]);
  });

  it('tells the kernel below which requests make descriptors, by declaration or number', () => {
    const arg = kvm_create_guest_memfd.encode({ size: 4096 });
    expect(how(() => sys.ioctl(5, KVM_CREATE_GUEST_MEMFD, arg))).toBe(IOCTL_MAKES_FD);
    expect(how(() => sys.ioctl(5, KVM_CREATE_GUEST_MEMFD.request, arg))).toBe(IOCTL_MAKES_FD);
    expect(how(() => sys.ioctl(4, KVM_CREATE_VM, 0))).toBe(IOCTL_MAKES_FD);
    // The descriptor comes in a field, and with a test flag there is none.
    expect(how(() => sys.ioctl(5, KVM_CREATE_DEVICE, new Uint8Array(12)))).toBe(0);
  });

  it('checks flexible arrays by their count', () => {
    const cpuid = kvm_cpuid2.encode({}, 3);
    expect(how(() => sys.ioctl(6, KVM_SET_CPUID2, cpuid))).toBe(IOCTL_LENGTH_CHECKED);
    expect(how(() => sys.ioctl(6, KVM_SET_CPUID2, new Uint8Array([...cpuid, ...new Uint8Array(40)])))).toBe(2);
    fake.calls.length = 0;
    expect(() => sys.ioctl(6, KVM_SET_CPUID2, cpuid.slice(0, -1))).toThrow(
      new RangeError('KVM_SET_CPUID2 touches 128 bytes, the buffer has 127'),
    );
    const lying = kvm_msrs.encode({ nmsrs: 1000 });
    expect(() => sys.ioctl(6, KVM_GET_MSRS, lying)).toThrow(RangeError);
    expect(() => sys.ioctl(6, KVM_GET_MSRS.request, lying)).toThrow(RangeError);
    expect(fake.calls).toEqual([]);
  });

  it('knows the requests whose number lies about the size', () => {
    expect(KVM_MEMORY_ENCRYPT_OP.realLength?.(new Uint8Array(24))).toBe(24);
    expect(() => sys.ioctl(5, KVM_MEMORY_ENCRYPT_OP, new Uint8Array(8))).toThrow(/touches 24 bytes/);
    expect(how(() => sys.ioctl(5, KVM_MEMORY_ENCRYPT_OP, new Uint8Array(24)))).toBe(IOCTL_LENGTH_CHECKED);
  });

  it('takes a request of the user at once, by declaration and by number', () => {
    const layout = struct('sys_test', { a: u64, b: u64 });
    const request = defineIoctl('SYS_TEST', {
      nr: 0xf7,
      direction: 'read-write',
      on: 'vm',
      arg: layout,
      makes: 'file',
    });
    expect(how(() => sys.ioctl(5, request, layout.encode({ a: 1 })))).toBe(IOCTL_MAKES_FD);
    expect(how(() => sys.ioctl(5, request.request, layout.encode({ a: 1 })))).toBe(IOCTL_MAKES_FD);
    expect(how(() => sys.ioctl(5, 0xc010aef8, new Uint8Array(16)))).toBe(0);
  });

  it('passes pointers on', () => {
    const view = new Uint8Array(8);
    sys.ioctl(5, KVM_GET_REGS, new Uint8Array(144), [[8, view]]);
    expect(fake.calls.at(-1)?.args[4]).toEqual([[8, view]]);
  });
});

describe('errors of Sys', () => {
  const sys = new Sys(fakeKernel({ ioctl: () => -25, close: () => -9, view: () => -22, open: () => -2 }).kernel);
  const caught = (call: () => unknown): KernelError => {
    try {
      call();
    } catch (error) {
      if (error instanceof KernelError) return error;
      throw error;
    }
    throw new Error('nothing was refused');
  };

  it('decode the argument as it was given', () => {
    const arg = kvm_create_guest_memfd.encode({ size: 8192, flags: 1 });
    const error = caught(() => sys.ioctl(5, KVM_CREATE_GUEST_MEMFD, arg));
    expect(error).toMatchObject({ code: 'ENOTTY', syscall: 'ioctl', request: 'KVM_CREATE_GUEST_MEMFD' });
    expect(error.args[2]).toBe('{size=0x2000, flags=GUEST_MEMFD_FLAG_MMAP}');
  });

  it('name requests that nobody knows by their parts', () => {
    expect(caught(() => sys.ioctl(5, 0xc080aefe, new Uint8Array(128)))).toMatchObject({
      request: undefined,
      args: ['5', '_IOWR(0xae, 0xfe, 128)', '<128 bytes>'],
    });
  });

  it('name calls as the manual pages do, or as the waist does', () => {
    expect(caught(() => sys.open('/nowhere', 0)).syscall).toBe('openat');
    expect(caught(() => sys.close(3)).syscall).toBe('close');
    expect(caught(() => sys.view(0x1000, 8)).syscall).toBe('view');
  });

  it('have raw twins', () => {
    expect(sys.raw.close(3)).toMatchObject({ ok: false, errno: 9, code: 'EBADF' });
    expect(sys.raw.ftruncate(3, 0)).toEqual({ ok: true, errno: 0, value: undefined });
  });
});
