import { describe, expect, it } from 'vitest';
import * as uapi from '../../../lib/uapi/index.ts';

describe('what a user declares', () => {
  it('is not known before it is declared', () => {
    expect(uapi.ioctlByName('KVM_SET_MEMORY_ATTRIBUTES2')).toBeUndefined();
    expect(uapi.findIoctl(0xc080aed2)).toBeUndefined();
    expect(uapi.allLayouts().some(({ name }) => name === 'kvm_memory_attributes2')).toBe(false);
  });

  it('is found by number and name afterwards: the example of docs/uapi.md', () => {
    const { address, defineFlag, defineIoctl, KVM_MEMORY_ATTRIBUTE, named, struct, u64, array } = uapi;
    const kvm_memory_attributes2 = struct('kvm_memory_attributes2', {
      offset: address,
      size: address,
      attributes: named.u64(KVM_MEMORY_ATTRIBUTE),
      flags: u64,
      error_offset: address,
      reserved: array(u64, 11),
    });
    const KVM_SET_MEMORY_ATTRIBUTES2 = defineIoctl('KVM_SET_MEMORY_ATTRIBUTES2', {
      nr: 0xd2,
      direction: 'read-write',
      on: 'guest_memfd',
      arg: kvm_memory_attributes2,
    });
    expect(KVM_SET_MEMORY_ATTRIBUTES2.request).toBe(0xc080aed2);
    expect(KVM_SET_MEMORY_ATTRIBUTES2.since).toBe('declared by the user');
    expect(uapi.findIoctl(0xc080aed2, 'guest_memfd')).toBe(KVM_SET_MEMORY_ATTRIBUTES2);
    const argument = kvm_memory_attributes2.encode({ offset: 0x2000, size: 0x1000, attributes: 8 });
    expect(kvm_memory_attributes2.format(argument)).toBe(
      '{offset=0x2000, size=0x1000, attributes=KVM_MEMORY_ATTRIBUTE_PRIVATE, flags=0, error_offset=0}',
    );

    defineFlag('GUEST_MEMFD_FLAG', 'GUEST_MEMFD_FLAG_NO_DIRECT_MAP', 1n << 2n);
    expect(uapi.kvm_create_guest_memfd.format(uapi.kvm_create_guest_memfd.encode({ size: 4096, flags: 5 }))).toBe(
      '{size=0x1000, flags=GUEST_MEMFD_FLAG_MMAP|GUEST_MEMFD_FLAG_NO_DIRECT_MAP}',
    );
    expect(() => defineFlag('NO_SUCH_SET', 'X', 1)).toThrow('no set of names NO_SUCH_SET');
  });

  it('replaces an older declaration, also one with another number', () => {
    const declared = uapi.declareMemoryAttributes2();
    expect(uapi.findIoctl(0xc080aed2, 'guest_memfd')).toBe(declared);
    expect(uapi.kvm_memory_attributes2.size).toBe(128);
    const moved = uapi.defineIoctl('KVM_SET_MEMORY_ATTRIBUTES2', {
      nr: 0xd6,
      direction: 'read-write',
      on: 'guest_memfd',
      arg: uapi.kvm_memory_attributes2,
    });
    expect(uapi.findIoctl(0xc080aed2)).toBeUndefined();
    expect(uapi.ioctlByName('KVM_SET_MEMORY_ATTRIBUTES2')).toBe(moved);
  });

  it('can share a number with a merged request: the descriptor decides', () => {
    const older = uapi.defineIoctl('KVM_OLD_SERIES', {
      nr: 0xd4,
      direction: 'read-write',
      on: 'guest_memfd',
      arg: uapi.kvm_create_guest_memfd,
    });
    expect(older.request).toBe(uapi.KVM_CREATE_GUEST_MEMFD.request);
    expect(uapi.findIoctl(older.request, 'vm')).toBe(uapi.KVM_CREATE_GUEST_MEMFD);
    expect(uapi.findIoctl(older.request, 'guest_memfd')).toBe(older);
  });
});
