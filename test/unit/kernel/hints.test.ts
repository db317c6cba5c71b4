import { describe, expect, it } from 'vitest';
import type { CallName } from '../../../lib/kernel/calls.ts';
import { errnoOf } from '../../../lib/kernel/errno.ts';
import { KernelError } from '../../../lib/kernel/errors.ts';
import { hintFor } from '../../../lib/kernel/hints.ts';
import { Sys } from '../../../lib/kernel/sys.ts';
import {
  ioctlByName,
  kvm_create_guest_memfd,
  kvm_memory_attributes,
  kvm_userspace_memory_region2,
} from '../../../lib/uapi/index.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

type Refused = (sys: Sys) => unknown;

/** The hint of the error that `call` ends in when the kernel answers `code`. */
function hintOf(code: string, call: CallName, refused: Refused): string | undefined {
  const sys = new Sys(fakeKernel({ [call]: () => -errnoOf(code) }).kernel);
  try {
    refused(sys);
  } catch (error) {
    if (error instanceof KernelError) return error.hint;
    throw error;
  }
  throw new Error('nothing was refused');
}

function ioctlHint(request: string, code: string, arg: Uint8Array | number = 0): string | undefined {
  const ioctl = ioctlByName(request, 'x86');
  if (ioctl === undefined) throw new Error(`no request ${request}`);
  return hintOf(code, 'ioctl', (sys) => sys.ioctl(5, ioctl, arg));
}

const gmem = (values: Parameters<typeof kvm_create_guest_memfd.encode>[0]): Uint8Array =>
  kvm_create_guest_memfd.encode(values);
const region = (values: Parameters<typeof kvm_userspace_memory_region2.encode>[0]): Uint8Array =>
  kvm_userspace_memory_region2.encode(values);
const attributes = (values: Parameters<typeof kvm_memory_attributes.encode>[0]): Uint8Array =>
  kvm_memory_attributes.encode(values);

describe('hints of requests', () => {
  it.each<[string, string, Uint8Array | number, RegExp]>([
    ['KVM_CREATE_GUEST_MEMFD', 'EINVAL', gmem({ size: 1 }), /^the size must be/],
    ['KVM_CREATE_GUEST_MEMFD', 'EINVAL', gmem({ size: 0 }), /^the size must be/],
    ['KVM_CREATE_GUEST_MEMFD', 'EINVAL', gmem({ size: 1n << 63n }), /^the size must be/],
    ['KVM_CREATE_GUEST_MEMFD', 'EINVAL', gmem({ size: 4096, flags: 0x80 }), /^a flag bit is outside/],
    // A size that no number holds is no wrong size.
    ['KVM_CREATE_GUEST_MEMFD', 'EINVAL', gmem({ size: 1n << 60n, flags: 0x80 }), /^a flag bit is outside/],
    ['KVM_CREATE_GUEST_MEMFD', 'ENOTTY', gmem({ size: 4096 }), /no guest_memfd/],
    ['KVM_SET_MEMORY_ATTRIBUTES', 'ENOTTY', attributes({}), /no memory attributes/],
    ['KVM_SET_MEMORY_ATTRIBUTES', 'EINVAL', attributes({ address: 1, size: 4096 }), /multiples of the page size/],
    ['KVM_SET_MEMORY_ATTRIBUTES', 'EINVAL', attributes({ size: 0 }), /multiples of the page size/],
    [
      'KVM_SET_MEMORY_ATTRIBUTES',
      'EINVAL',
      attributes({ size: 4096, attributes: 8 }),
      /does not support the attribute/,
    ],
    ['KVM_SET_USER_MEMORY_REGION2', 'EEXIST', region({}), /overlaps another slot, or/],
    ['KVM_SET_USER_MEMORY_REGION', 'EEXIST', new Uint8Array(32), /overlaps another slot of/],
    ['KVM_SET_USER_MEMORY_REGION2', 'EBADF', region({ flags: 4 }), /not an open descriptor/],
    ['KVM_SET_USER_MEMORY_REGION2', 'EINVAL', region({ flags: 4, guest_memfd_offset: 1 }), /must be multiples/],
    ['KVM_SET_USER_MEMORY_REGION2', 'EINVAL', region({ flags: 4, memory_size: 4096 }), /only be deleted/],
    ['KVM_SET_USER_MEMORY_REGION2', 'ENOTTY', region({}), /Linux 6\.8/],
    ['KVM_CREATE_VM', 'EINVAL', 4, /VM type is not offered/],
    ['KVM_PRE_FAULT_MEMORY', 'EOPNOTSUPP', new Uint8Array(64), /two-dimensional paging/],
    ['KVM_PRE_FAULT_MEMORY', 'ENOENT', new Uint8Array(64), /no memslot/],
    ['KVM_RUN', 'EFAULT', 0, /MEMORY_FAULT/],
    ['KVM_RUN', 'ENOEXEC', 0, /KVM_ARM_VCPU_INIT/],
    ['KVM_CREATE_VCPU', 'EIO', 0, /another process/],
    ['KVM_SET_USER_MEMORY_REGION2', 'EIO', region({}), /another process/],
  ])('%s %s', (request, code, arg, expected) => {
    expect(ioctlHint(request, code, arg)).toMatch(expected);
  });

  it('is silent where it knows nothing', () => {
    expect(ioctlHint('KVM_SET_USER_MEMORY_REGION2', 'EINVAL', region({}))).toBeUndefined();
    expect(ioctlHint('KVM_SET_USER_MEMORY_REGION2', 'EBADF', region({}))).toBeUndefined();
    expect(ioctlHint('KVM_GET_REGS', 'ENXIO', new Uint8Array(144))).toBeUndefined();
    expect(hintOf('EIO', 'read', (sys) => sys.read(3, new Uint8Array(1)))).toBeUndefined();
  });
});

describe('hints of system calls', () => {
  it.each<[CallName, string, Refused, RegExp]>([
    ['fallocate', 'EOPNOTSUPP', (sys) => sys.fallocate(3, 0, 0, 4096), /KEEP_SIZE is missing/],
    ['fallocate', 'EOPNOTSUPP', (sys) => sys.fallocate(3, 2, 0, 4096), /KEEP_SIZE is missing/],
    // Another mode than allocation and punching: no flag would help.
    ['fallocate', 'EOPNOTSUPP', (sys) => sys.fallocate(3, 0x10, 0, 4096), /only plain allocation and PUNCH_HOLE/],
    ['fallocate', 'EOPNOTSUPP', (sys) => sys.fallocate(3, 3, 0, 4096), /memfd_secret knows none/],
    ['fallocate', 'EINVAL', (sys) => sys.fallocate(3, 1, 1, 4096), /multiples of the page size/],
    ['fallocate', 'EINVAL', (sys) => sys.fallocate(3, 1, 0, 4096), /past its size/],
    ['fallocate', 'EPERM', (sys) => sys.fallocate(3, 3, 0, 4096), /a seal forbids/],
    ['mmap', 'ENODEV', (sys) => sys.mmap(0, 4096, 3, 1, 3, 0), /GUEST_MEMFD_FLAG_MMAP/],
    ['mmap', 'EINVAL', (sys) => sys.mmap(0, 4096, 3, 2, 3, 0), /only with MAP_SHARED/],
    ['mmap', 'EPERM', (sys) => sys.mmap(0, 4096, 3, 1, 3, 0), /a seal forbids/],
    ['ftruncate', 'EPERM', (sys) => sys.ftruncate(3, 0), /seal/],
    ['ftruncate', 'EINVAL', (sys) => sys.ftruncate(3, 0), /keeps the size/],
    ['pread', 'ESPIPE', (sys) => sys.pread(3, new Uint8Array(1), 0), /through a mapping/],
    ['pwrite', 'ESPIPE', (sys) => sys.pwrite(3, new Uint8Array(1), 0), /through a mapping/],
    ['read', 'EINVAL', (sys) => sys.read(3, new Uint8Array(1)), /cannot be read/],
    ['write', 'EINVAL', (sys) => sys.write(3, new Uint8Array(1)), /cannot be written/],
    ['fcntl', 'EPERM', (sys) => sys.fcntl(3, 1033, 1), /MFD_ALLOW_SEALING/],
    ['fcntl', 'EBUSY', (sys) => sys.fcntl(3, 1033, 8), /F_SEAL_WRITE/],
    ['memfdSecret', 'ENOSYS', (sys) => sys.memfdSecret(0), /secretmem\.enable=1/],
    ['cachestat', 'ENOSYS', (sys) => sys.cachestat(3, 0, 0), /6\.5/],
    ['mlock', 'ENOMEM', (sys) => sys.mlock(0, 4096), /cannot be had/],
    ['msync', 'EINVAL', (sys) => sys.msync(0, 4096, 4), /no write-back/],
    ['msync', 'EBUSY', (sys) => sys.msync(0, 4096, 2), /unlock/],
    ['mbind', 'ENOSYS', (sys) => sys.mbind(0, 4096, 2, new Uint8Array(8)), /CONFIG_NUMA/],
    ['mbind', 'EINVAL', (sys) => sys.mbind(0, 4096, 2, new Uint8Array(8)), /need a node/],
    ['mbind', 'EIO', (sys) => sys.mbind(0, 4096, 2, new Uint8Array(8), 1), /lie on other nodes/],
    ['getMempolicy', 'ENOSYS', (sys) => sys.getMempolicy(0, 0), /CONFIG_NUMA/],
    ['processVmReadv', 'EFAULT', (sys) => sys.processVmReadv(0, new Uint8Array(1)), /cannot be pinned/],
    ['processVmWritev', 'EFAULT', (sys) => sys.processVmWritev(0, new Uint8Array(1)), /cannot be pinned/],
    ['vmsplice', 'EFAULT', (sys) => sys.vmsplice(4, 0, 4096), /cannot be pinned/],
    ['vmsplice', 'EBADF', (sys) => sys.vmsplice(4, 0, 4096), /end of a pipe/],
    ['splice', 'EINVAL', (sys) => sys.splice(3, 4, 4096), /must be a pipe/],
    ['sendfile', 'EINVAL', (sys) => sys.sendfile(4, 3, 4096), /cannot be read from/],
    ['copyFileRange', 'EINVAL', (sys) => sys.copyFileRange(3, 4, 4096), /different ranges/],
    ['copyFileRange', 'EXDEV', (sys) => sys.copyFileRange(3, 4, 4096), /use sendfile/],
    ['flock', 'EAGAIN', (sys) => sys.flock(3, 6), /a lock that conflicts/],
    ['fsync', 'EINVAL', (sys) => sys.fsync(3), /no write-back/],
    ['fdatasync', 'EINVAL', (sys) => sys.fdatasync(3), /no write-back/],
    ['fchown', 'EINVAL', (sys) => sys.fchown(3, 0, 0), /cannot be changed/],
    ['fcntl', 'EAGAIN', (sys) => sys.fcntl(3, 1024, 1), /conflicts with the lease/],
    ['fcntl', 'EINVAL', (sys) => sys.fcntl(3, 1024, 1), /only memfd/],
    ['open', 'EACCES', (sys) => sys.open('/dev/kvm', 2), /join its group/],
    ['open', 'ENOENT', (sys) => sys.open('/dev/kvm', 2), /load the module/],
  ])('%s %s (%#)', (call, code, refused, expected) => {
    expect(hintOf(code, call, refused)).toMatch(expected);
  });

  it('says nothing of a mapping that is shared, aligned and all right', () => {
    expect(hintOf('EINVAL', 'mmap', (sys) => sys.mmap(0, 4096, 3, 1, 3, 0))).toBeUndefined();
    expect(
      hintFor({ call: 'munmap', request: undefined, code: 'EINVAL', args: [], struct: undefined }),
    ).toBeUndefined();
  });
});
