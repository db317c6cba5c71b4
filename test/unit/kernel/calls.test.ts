import { describe, expect, it } from 'vitest';
import { CALLS, type CallName, requestOf, showArgs, showIoctlArg } from '../../../lib/kernel/calls.ts';
import {
  findIoctl,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VM,
  KVM_GET_SUPPORTED_CPUID,
  KVM_SET_USER_MEMORY_REGION2,
  kvm_cpuid2,
  kvm_create_guest_memfd,
  kvm_userspace_memory_region2,
} from '../../../lib/uapi/index.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

const show = (call: CallName, ...args: readonly unknown[]): string =>
  showArgs(call, args, call === 'ioctl' ? requestOf(args) : undefined).join(', ');

describe('the table of calls', () => {
  it('has every call of a kernel and nothing else', () => {
    const methods = Object.entries(fakeKernel().kernel).filter(([, value]) => typeof value === 'function');
    expect(methods.map(([name]) => name).sort()).toEqual(Object.keys(CALLS).sort());
  });
});

describe('arguments', () => {
  it.each<[string, CallName, readonly unknown[]]>([
    ['AT_FDCWD, "/dev/kvm", O_RDWR|O_CLOEXEC', 'open', ['/dev/kvm', 0x80002, 0]],
    ['AT_FDCWD, "a", O_WRONLY|O_CREAT, 0644', 'open', ['a', 0x41, 0o644]],
    ['7', 'close', [7]],
    ['5, F_ADD_SEALS, 9', 'fcntl', [5, 1033, 9]],
    ['"a\\"b", MFD_CLOEXEC|MFD_ALLOW_SEALING', 'memfdCreate', ['a"b', 3]],
    ['"x", MFD_CLOEXEC|0x100', 'memfdCreate', ['x', 0x101]],
    ['3, 0x1000', 'ftruncate', [3, 4096n]],
    ['3, -0x1', 'ftruncate', [3, -1]],
    ['3, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 0, 0x2000', 'fallocate', [3, 3, 0, 8192]],
    ['3, 0, 0, 8', 'fallocate', [3, 0, 0n, 8n]],
    ['3, 0, SEEK_DATA', 'lseek', [3, 0, 3, new BigInt64Array(1)]],
    ['4, <5 bytes>', 'write', [4, new Uint8Array(5)]],
    ['4, <5 bytes>, 0xffffffffffff', 'pread', [4, new Uint8Array(5), 0xffff_ffff_ffff]],
    ['NULL, 0x1000, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0', 'mmap', [0, 4096, 3, 1, 3, 0]],
    [
      '0x10000, 0x1000, PROT_NONE, MAP_SHARED_VALIDATE|MAP_SYNC, 3, 0x1000',
      'mmap',
      [65536n, 4096, 0, 0x80003, 3, 4096],
    ],
    ['NULL, 0x1000, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0', 'mmap', [0n, 4096, 1, 0x22, -1, 0]],
    ['0x7f0000001000, 0x1000, MADV_REMOVE', 'madvise', [0x7f0000001000, 4096, 9]],
    ['0x1000, 0x2000', 'mincore', [4096, 8192, new Uint8Array(2)]],
    ['0x1000, 0x2000, MLOCK_ONFAULT', 'mlock', [4096, 8192, 1]],
    ['0x1000, 0x2000, MS_SYNC', 'msync', [4096, 8192, 4]],
    ['0x1000, 0x2000, MPOL_BIND, 0x103, MPOL_MF_STRICT', 'mbind', [4096, 8192, 2, Uint8Array.of(3, 1, 0, 0), 1]],
    ['0x1000, MPOL_F_NODE|MPOL_F_ADDR', 'getMempolicy', [new BigInt64Array(1), new Uint8Array(8), 4096, 3]],
    ['4, 0x1000, 8, SPLICE_F_NONBLOCK', 'vmsplice', [4, 4096, 8, 2]],
    ['3, 4, 0x1000, 0', 'splice', [3, 4, 4096, 0]],
    ['4, 3, 0x1000', 'sendfile', [4, 3, 4096]],
    ['O_NONBLOCK', 'pipe', [0x800, new BigInt64Array(2)]],
    ['3, LOCK_EX|LOCK_NB', 'flock', [3, 6]],
    ['3, POLLIN|POLLOUT', 'poll', [3, 5]],
    ['3, 0, 0x1000, POSIX_FADV_DONTNEED', 'fadvise', [3, 0, 4096, 4]],
    ['AT_FDCWD, "/proc/self/fd/3", <64 bytes>', 'readlink', ['/proc/self/fd/3', new Uint8Array(64)]],
    ['0x1000, 0x10, 170', 'fill', [4096, 16, 0xaa, new BigInt64Array(3)]],
    ['0x1000, <16 bytes>', 'copyOut', [4096, new Uint8Array(16), new BigInt64Array(3)]],
  ])('%s', (text, call, args) => {
    expect(show(call, ...args)).toBe(text);
  });

  it('never throws, whatever it is given', () => {
    for (const call of Object.keys(CALLS) as CallName[]) {
      for (const junk of [undefined, null, 'x', 1.5, -5, {}, Number.NaN, 2n ** 70n, new Uint8Array(1)]) {
        expect(() => showArgs(call, [junk, junk, junk, junk, junk, junk])).not.toThrow();
      }
    }
  });
});

describe('ioctl arguments', () => {
  it('decodes structs, and names flags', () => {
    const arg = kvm_create_guest_memfd.encode({ size: 8192, flags: 0x13 });
    expect(show('ioctl', 5, KVM_CREATE_GUEST_MEMFD.request, arg)).toBe(
      '5, KVM_CREATE_GUEST_MEMFD, {size=0x2000, flags=GUEST_MEMFD_FLAG_MMAP|GUEST_MEMFD_FLAG_INIT_SHARED|0x10}',
    );
  });

  it('shows numbers beyond 2^53 exactly', () => {
    const arg = kvm_userspace_memory_region2.encode({ guest_phys_addr: 0xffff_ffff_ffff_f000n, guest_memfd: -1 });
    const text = show('ioctl', 5, KVM_SET_USER_MEMORY_REGION2.request, arg);
    expect(text).toContain('guest_phys_addr=0xfffffffffffff000');
    expect(text).toContain('guest_memfd=-1');
  });

  it('names plain values, and says which request an unknown number is', () => {
    expect(show('ioctl', 4, KVM_CHECK_EXTENSION.request, 234)).toBe('4, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD');
    expect(show('ioctl', 4, KVM_CHECK_EXTENSION.request, 9999)).toBe('4, KVM_CHECK_EXTENSION, 0x270f');
    expect(show('ioctl', 4, KVM_CREATE_VM.request, 0)).toContain('4, KVM_CREATE_VM, ');
    expect(show('ioctl', 4, 0xc080_aeff, new Uint8Array(128))).toBe('4, _IOWR(0xae, 0xff, 128), <128 bytes>');
  });

  it('marks a flexible tail, and says so when a struct is cut short', () => {
    const entries = kvm_cpuid2.encode({}, 2);
    expect(showIoctlArg(KVM_GET_SUPPORTED_CPUID, entries)).toBe('{nent=2, entries=[…]}');
    expect(showIoctlArg(KVM_GET_SUPPORTED_CPUID, new Uint8Array(3))).toBe('<3 bytes, too few for struct kvm_cpuid2>');
    expect(showIoctlArg(findIoctl(0xdead), -3)).toBe('-3');
  });
});
