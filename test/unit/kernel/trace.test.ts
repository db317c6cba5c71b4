import { beforeEach, describe, expect, it } from 'vitest';
import type { Kernel } from '../../../lib/kernel/kernel.ts';
import { type TraceRecord, traceKernel } from '../../../lib/kernel/trace.ts';
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_REGS,
  KVM_PRE_FAULT_MEMORY,
  kvm_create_guest_memfd,
  kvm_pre_fault_memory,
  kvm_regs,
} from '../../../lib/uapi/index.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

let records: TraceRecord[] = [];
const texts = (): string[] => records.map(({ text }) => text);

beforeEach(() => {
  records = [];
});

/** Descriptors 3, 4, 5, … in the order in which they are asked for. */
function scripted(): Kernel {
  let fd = 3;
  const makes = new Set<number>([KVM_CREATE_VM.request, KVM_CREATE_VCPU.request, KVM_CREATE_GUEST_MEMFD.request]);
  return traceKernel(
    fakeKernel({
      open: () => fd++,
      memfdCreate: () => fd++,
      memfdSecret: () => fd++,
      eventfd: () => fd++,
      mmap: () => 0x7f00_0000_0000,
      lseek: (_fd: number, _offset: number, _whence: number, out: BigInt64Array) => {
        out[0] = 0x1_0000_0000_0000_0n;
        return 0;
      },
      read: (_fd: number, into: Uint8Array) => into.fill(0xab).length,
      ioctl: (_fd: number, request: number, arg: Uint8Array) => {
        if (makes.has(request)) return fd++;
        if (request === KVM_GET_REGS.request) arg.set(kvm_regs.encode({ rax: (1n << 64n) - 1n, rip: 0x1000 }));
        if (request === KVM_PRE_FAULT_MEMORY.request) arg.set(kvm_pre_fault_memory.encode({ gpa: 8192, size: 4096 }));
        return request === KVM_CHECK_EXTENSION.request ? 1 : 0;
      },
      fallocate: () => -95,
      copyOut: () => 4,
    }).kernel,
    (record) => records.push(record),
  );
}

describe('trace', () => {
  it('keeps the identity of the kernel and its results', () => {
    const kernel = scripted();
    expect([kernel.backend, kernel.arch, kernel.release]).toEqual(['sim', 'x64', '7.3.4']);
    expect(kernel.open('/dev/kvm', 2, 0)).toBe(3);
    expect(records).toHaveLength(1);
  });

  it('knows which descriptor is what, until it is closed', () => {
    const kernel = scripted();
    kernel.open('/dev/kvm', 2, 0);
    kernel.ioctl(3, KVM_CREATE_VM.request, 0);
    kernel.ioctl(4, KVM_CREATE_GUEST_MEMFD.request, kvm_create_guest_memfd.encode({ size: 4096 }));
    kernel.memfdCreate('x', 1);
    kernel.fallocate(6, 0x10, 0, 4096);
    kernel.close(6);
    kernel.ftruncate(6, 0);
    expect(texts()).toEqual([
      'openat(AT_FDCWD, "/dev/kvm", O_RDWR) = 3<kvm>',
      'ioctl(3<kvm>, KVM_CREATE_VM, KVM_X86_DEFAULT_VM) = 4<vm>',
      'ioctl(4<vm>, KVM_CREATE_GUEST_MEMFD, {size=0x1000, flags=0}) = 5<guest_memfd>',
      'memfd_create("x", MFD_CLOEXEC) = 6<memfd>',
      expect.stringMatching(/^fallocate\(6<memfd>, FALLOC_FL_ZERO_RANGE, 0, 0x1000\) = -1 EOPNOTSUPP/),
      'close(6<memfd>) = 0',
      'ftruncate(6, 0) = 0',
    ]);
  });

  it('decodes structs on the way in and on the way out', () => {
    const kernel = scripted();
    kernel.ioctl(9, KVM_GET_REGS.request, kvm_regs.encode());
    kernel.ioctl(9, KVM_PRE_FAULT_MEMORY.request, kvm_pre_fault_memory.encode({ gpa: 4096, size: 8192 }));
    expect(texts()[0]).toMatch(/^ioctl\(9, KVM_GET_REGS, \{rax=0xffffffffffffffff, .*rip=0x1000/);
    expect(texts()[1]).toBe(
      'ioctl(9, KVM_PRE_FAULT_MEMORY, {gpa=0x1000, size=0x2000, flags=0} => {gpa=0x2000, size=0x1000, flags=0}) = 0',
    );
  });

  it('keeps what the buffers held before and after', () => {
    const kernel = scripted();
    const buffer = new Uint8Array([1, 2]);
    kernel.read(3, buffer);
    const [record] = records;
    expect(record).toMatchObject({ n: 1, call: 'read', syscall: 'read', result: 2 });
    expect(record?.args[1]).toEqual(new Uint8Array([1, 2]));
    expect(record?.out?.[1]).toEqual(new Uint8Array([0xab, 0xab]));
    kernel.lseek(3, 0, 3, new BigInt64Array(1));
    expect(records[1]?.out?.[3]).toEqual(new Uint8Array(new BigInt64Array([0x1_0000_0000_0000_0n]).buffer));
  });

  it('marks what is no system call', () => {
    const kernel = scripted();
    kernel.copyOut(0x1000, new Uint8Array(4));
    kernel.vcpuKick(1);
    expect(records.map(({ syscall }) => syscall)).toEqual([null, null]);
    expect(texts()).toEqual(['[copyOut](0x1000, <4 bytes>) = 4', '[vcpuKick](1) = 0']);
  });

  it('records every call, in order, errors by name', () => {
    const kernel = scripted();
    kernel.mmap(0, 4096, 1, 1, 3, 0);
    kernel.fallocate(3, 1, 0, 4096);
    expect(records.map(({ n }) => n)).toEqual([1, 2]);
    expect(texts()[0]).toBe('mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, 3, 0) = 0x7f0000000000');
    expect(records[1]).toMatchObject({ result: -95, errno: 'EOPNOTSUPP' });
    expect(records[0]).not.toHaveProperty('errno');
    for (const { micros } of records) expect(micros).toBeGreaterThanOrEqual(0);
  });

  it('lets every call of the waist through once', () => {
    const fake = fakeKernel();
    const kernel = traceKernel(fake.kernel, (record) => records.push(record));
    const calls = Object.keys(fake.kernel).filter((key) => !['backend', 'arch', 'release'].includes(key));
    for (const call of calls) {
      const method = kernel[call as 'close'] as (...args: unknown[]) => unknown;
      if (call === 'vcpuStart') method(1, () => {});
      else method(1, 2, 3, 4, 5, 6);
    }
    expect(fake.calls.map(({ call }) => call)).toEqual(calls);
    // A start that went well is recorded when it ends, and the script never ends it.
    expect(records.map(({ call }) => call)).toEqual(calls.filter((call) => call !== 'vcpuStart'));
  });

  it('records nothing for arguments that never reached the kernel', () => {
    const kernel = traceKernel(
      fakeKernel({
        close: () => {
          throw new RangeError('not ours');
        },
      }).kernel,
      (record) => records.push(record),
    );
    expect(() => kernel.close(1)).toThrow(RangeError);
    expect(records).toEqual([]);
  });
});
