/** The helpers as a user's own suite has them. */
import { afterAll, describe, expect } from 'vitest';
import type { Vm } from '../../lib/kvm/vm.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { Broken, expectErrno, expectFault, requires, test } from '../../lib/testing/index.ts';

const vms: Vm[] = [];

describe('fixtures', () => {
  requires({ vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: 3 } })(
    'give a VM and a file with what it offers',
    ({ vm, guestMemfd, own }) => {
      vms.push(vm);
      expect(guestMemfd.vm).toBe(vm);
      expect(guestMemfd.size).toBe(2 ** 21);
      const mapping = own(guestMemfd.map());
      mapping.fill(1);
      expect(mapping.read(0, 1)[0]).toBe(1);
    },
  );

  requires({})('give each test a VM of its own', ({ vm, kvm }) => {
    vms.push(vm);
    expect(kvm.closed).toBe(false);
    expect(new Set(vms).size).toBe(vms.length);
  });

  afterAll(() => {
    expect(vms.every(({ closed }) => closed)).toBe(true);
  });
});

describe('requires', () => {
  requires({ vmType: 'sw-protected' })('gives a VM of the type that is needed', ({ vm }) => {
    expect(vm.type).toBe(1n);
    expect(vm.memoryAttributes()).toBe(8);
  });
});

describe('expectations', () => {
  requires({ vmCaps: { KVM_CAP_GUEST_MEMFD: 1 } })('expectErrno takes a raw result or a function', ({ vm }) => {
    expect(expectErrno(vm.raw.createGuestMemfd(0), 'EINVAL').error.message).toContain('KVM_CREATE_GUEST_MEMFD');
    expect(expectErrno(() => vm.createGuestMemfd(1), ['EPERM', 'EINVAL']).code).toBe('EINVAL');
    expect(() => expectErrno(vm.raw.createGuestMemfd(0), 'EPERM', 'an empty file')).toThrow(
      'an empty file: expected EPERM, got EINVAL',
    );
    expect(() => expectErrno(() => 5, 'EPERM')).toThrow(Broken);
    expect(() => expectErrno(() => JSON.parse('{'), 'EPERM')).toThrow(SyntaxError);
  });

  test('expectFault tells a fault from an errno', ({ sys, own }) => {
    const memory = own(Mapping.anonymous(sys, 8192));
    memory.protect(0, { offset: 4096, length: 4096 });
    const fault = expectFault(memory.raw.read(0, 8192), {
      kind: 'SIGSEGV',
      code: 'SEGV_ACCERR',
      offset: 4096,
      bytesDone: 4096,
    });
    expect(fault.offset).toBe(4096);
    expect(() => expectFault(memory.raw.read(0, 8), { kind: 'SIGBUS' })).toThrow('expected SIGBUS, got success');
    expect(() => expectFault(memory.raw.protect(0x80), { kind: 'SIGSEGV' })).toThrow('got EINVAL');
    expect(() => expectErrno(memory.raw.read(4096, 1), 'EFAULT')).toThrow('got SIGSEGV');
  });
});
