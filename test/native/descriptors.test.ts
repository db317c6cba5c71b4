/** Descriptors: made close-on-exec, closed only by who made them. */
import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import guest from './children/guest.cjs';
import { kernel, must, withGuestMemfd, withKvm } from './host.ts';

const { E, FCNTL, KVM, O } = guest;
const FD_CLOEXEC = 1;
const SECRET_NONE = -E.ENOSYS;

const flagsOf = (fd: number): number => kernel.fcntl(fd, FCNTL.GETFD, 0);

function foreignFd(use: (fd: number) => void): void {
  const fd = fs.openSync('/dev/null', 'r+');
  try {
    use(fd);
  } finally {
    fs.closeSync(fd);
  }
}

describe('every descriptor made is close-on-exec', () => {
  const makers: [string, () => number][] = [
    ['open', () => kernel.open('/dev/null', O.RDWR, 0)],
    ['memfdCreate', () => kernel.memfdCreate('test', 0)],
    ['eventfd', () => kernel.eventfd(0, 0)],
    [
      'F_DUPFD_CLOEXEC',
      () => {
        const fd = must(kernel.memfdCreate('test', 0));
        const copy = kernel.fcntl(fd, FCNTL.DUPFD_CLOEXEC, 100);
        kernel.close(fd);
        expect(copy).toBeGreaterThanOrEqual(100);
        return copy;
      },
    ],
  ];
  it.each(makers)('%s', (_name, make) => {
    const fd = must(make());
    expect(flagsOf(fd)).toBe(FD_CLOEXEC);
    expect(kernel.close(fd)).toBe(0);
    expect(flagsOf(fd)).toBe(-E.EBADF);
  });

  it('memfdSecret, where the kernel has it', (context) => {
    const fd = kernel.memfdSecret(0);
    if (fd === SECRET_NONE) return context.skip('memfd_secret is not enabled');
    expect(flagsOf(must(fd))).toBe(FD_CLOEXEC);
    expect(kernel.close(fd)).toBe(0);
  });
});

withKvm('descriptors that an ioctl makes', () => {
  it('are close-on-exec and ours', () => {
    const { kvm, vm } = guest.openVm(kernel);
    const vcpu = must(kernel.ioctl(vm, KVM.CREATE_VCPU, 0, 1));
    for (const fd of [vcpu, vm, kvm]) {
      expect(flagsOf(fd)).toBe(FD_CLOEXEC);
      expect(kernel.close(fd)).toBe(0);
    }
  });

  it('stay foreign when the call does not say that it makes one', () => {
    const kvm = must(kernel.open('/dev/kvm', O.RDWR, 0));
    const vm = must(kernel.ioctl(kvm, KVM.CREATE_VM, 0));
    expect(() => kernel.close(vm)).toThrow(RangeError);
    expect(kernel.adopt(vm)).toBe(0);
    expect(kernel.close(vm)).toBe(0);
    kernel.close(kvm);
  });
});

withGuestMemfd('guest_memfd', () => {
  it('is close-on-exec although the kernel gives it otherwise', () => {
    const { kvm, vm } = guest.openVm(kernel);
    const fd = must(guest.guestMemfd(kernel, vm, guest.PAGE, 0));
    expect(flagsOf(fd)).toBe(FD_CLOEXEC);
    for (const one of [fd, vm, kvm]) kernel.close(one);
  });
});

describe('close', () => {
  it('refuses a descriptor made elsewhere, which stays open', () => {
    foreignFd((fd) => {
      expect(() => kernel.close(fd)).toThrow(RangeError);
      expect(() => kernel.close(fd)).toThrow(String(fd));
      expect(fs.fstatSync(fd).isCharacterDevice()).toBe(true);
    });
    for (const fd of [0, 1, 2]) expect(() => kernel.close(fd)).toThrow(RangeError);
  });

  it('gives EBADF for what is not open', () => {
    expect(kernel.close(-1)).toBe(-E.EBADF);
    expect(kernel.close(1_000_000)).toBe(-E.EBADF);
    const fd = must(kernel.eventfd(0, 0));
    expect(kernel.close(fd)).toBe(0);
    expect(kernel.close(fd)).toBe(-E.EBADF);
  });

  it('knows a number again as foreign when somebody else got it next', () => {
    const fd = must(kernel.eventfd(0, 0));
    kernel.close(fd);
    foreignFd((next) => {
      expect(() => kernel.close(next)).toThrow(RangeError);
    });
  });
});

describe('adopt', () => {
  it('makes a descriptor close-on-exec and closable', () => {
    const fd = fs.openSync('/dev/null', 'r');
    kernel.fcntl(fd, FCNTL.SETFD, 0);
    expect(flagsOf(fd)).toBe(0);
    expect(kernel.adopt(fd)).toBe(0);
    expect(flagsOf(fd)).toBe(FD_CLOEXEC);
    expect(kernel.close(fd)).toBe(0);
  });

  it('gives EBADF for what is not open', () => {
    expect(kernel.adopt(-1)).toBe(-E.EBADF);
    expect(kernel.adopt(999_999)).toBe(-E.EBADF);
  });
});

describe('open', () => {
  it('passes on what the kernel says', () => {
    expect(kernel.open('/nonexistent/file', O.RDONLY, 0)).toBe(-E.ENOENT);
    expect(kernel.open('/', O.RDWR, 0)).toBe(-E.EISDIR);
    expect(kernel.open('/dev/null/x', O.RDONLY, 0)).toBe(-E.ENOTDIR);
    expect(kernel.open('x'.repeat(5000), O.RDONLY, 0)).toBe(-E.ENAMETOOLONG);
    expect(kernel.open('', O.RDONLY, 0)).toBe(-E.ENOENT);
  });
});

describe('fcntl', () => {
  it('reads and sets flags and seals', () => {
    const MFD_ALLOW_SEALING = 2;
    const F_SEAL_SHRINK = 2;
    const fd = must(kernel.memfdCreate('sealed', MFD_ALLOW_SEALING));
    expect(kernel.fcntl(fd, FCNTL.GET_SEALS, 0)).toBe(0);
    expect(kernel.ftruncate(fd, 8192)).toBe(0);
    expect(kernel.fcntl(fd, FCNTL.ADD_SEALS, F_SEAL_SHRINK)).toBe(0);
    expect(kernel.fcntl(fd, FCNTL.GET_SEALS, 0)).toBe(F_SEAL_SHRINK);
    expect(kernel.ftruncate(fd, 0)).toBe(-E.EPERM);
    expect(kernel.fcntl(fd, FCNTL.GETFL, 0) & 3).toBe(O.RDWR);
    expect(kernel.fcntl(fd, FCNTL.SETFL, 0o4000)).toBe(0);
    expect(kernel.fcntl(fd, FCNTL.GETFL, 0) & 0o4000).toBe(0o4000);
    expect(kernel.fcntl(fd, FCNTL.SETFD, 0)).toBe(0);
    expect(flagsOf(fd)).toBe(0);
    kernel.close(fd);
    expect(kernel.fcntl(fd, FCNTL.GETFL, 0)).toBe(-E.EBADF);
  });

  it('refuses commands whose argument would be a pointer, and plain F_DUPFD', () => {
    for (const command of [FCNTL.DUPFD, 5, 6, 7, 16, 1036]) {
      expect(() => kernel.fcntl(0, command, 0)).toThrow(RangeError);
    }
  });
});

describe('makers pass on what the kernel says', () => {
  it('memfdCreate', () => {
    expect(kernel.memfdCreate('x'.repeat(250), 0)).toBe(-E.EINVAL);
    expect(kernel.memfdCreate('x', 0x8000_0000)).toBe(-E.EINVAL);
  });
  it('eventfd', () => {
    expect(kernel.eventfd(0, 0x100)).toBe(-E.EINVAL);
  });
  it('memfdSecret', () => {
    expect([-E.EINVAL, SECRET_NONE]).toContain(kernel.memfdSecret(1));
  });
});
