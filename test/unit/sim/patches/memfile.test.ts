/** The designs of 2022: fd-based private memory v5, and the variant in which registering converts. */
import { describe, expect, it } from 'vitest';
import { program, ReportCollector, SIDE_BIT, x64 } from '../../../../lib/guest/index.ts';
import { Sys } from '../../../../lib/kernel/sys.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { Mapping } from '../../../../lib/memory/mapping.ts';
import { type SimPatch, simulate } from '../../../../lib/sim/simulate.ts';
import {
  declarePrivateMemoryRegion,
  KVM_EXIT_MEMORY_ERROR,
  KVM_MEM_PRIVATE,
  KVM_RUN_EXIT_OFFSET,
  kvm_run_memory_error,
  kvm_userspace_memory_region_ext,
  MFD_INACCESSIBLE,
} from '../../../../lib/uapi/index.ts';

const PAGE = 4096;
const DATA = 0x20_0000;
const PAGES = 8;
const SIZE = PAGES * PAGE;
const [PUNCH, SEALING] = [3, 2];
const REGION = declarePrivateMemoryRegion();

function world(patch: SimPatch, options: { memlockLimit?: number } = {}) {
  const kernel = simulate({ patches: [patch], ...options });
  const sys = new Sys(kernel);
  const kvm = Kvm.open(sys);
  const vm = kvm.createVm(1);
  const shared = Mapping.anonymous(sys, SIZE);
  const bind = (fields: object, on = vm): string => {
    const bytes = kvm_userspace_memory_region_ext.encode({
      ...{ slot: 1, flags: KVM_MEM_PRIVATE, guest_phys_addr: DATA, memory_size: SIZE, userspace_addr: shared.hva },
      ...fields,
    });
    const result = sys.raw.ioctl(on.fd, REGION, bytes);
    return result.ok ? 'ok' : result.code;
  };
  const code = (call: () => unknown): string => {
    try {
      call();
    } catch (error) {
      return (error as { code: string }).code;
    }
    return 'ok';
  };
  return { kernel, sys, kvm, vm, shared, bind, code };
}

/** A guest that names the side by bit 47, and tells what it finds. */
function guest(patch: SimPatch, write: Parameters<typeof program<'x64'>>[1], fd?: (sys: Sys) => number) {
  const made = world(patch);
  const { sys, vm, bind } = made;
  const file = fd?.(sys) ?? sys.memfdCreate('private', MFD_INACCESSIBLE);
  if (fd === undefined) sys.ftruncate(file, SIZE);
  expect(bind({ private_fd: file })).toBe('ok');
  const low = Mapping.anonymous(sys, DATA);
  vm.addMemslot({ slot: 0, gpa: 0, size: DATA, backing: low });
  const sides = SIDE_BIT.tdx;
  const image = x64.startState(program({ arch: 'x64' }, write), sides === undefined ? {} : { sides });
  for (const { gpa, bytes } of image.memory) low.write(gpa, bytes);
  const vcpu = vm.createVcpu();
  vcpu.x64.updateSregs(image.sregs);
  vcpu.x64.setRegs(image.regs);
  const collector = new ReportCollector();
  const reports = new Map<number, bigint>();
  /** The exit's name, or for the error exit what it says. */
  const go = (): unknown => {
    for (;;) {
      try {
        const exit = vcpu.runSync({ timeoutMs: 10_000 });
        const event = exit.name === 'KVM_EXIT_MMIO' ? collector.accept(exit) : undefined;
        if (event === undefined) return exit.name;
        if (event !== 'pending' && event.kind === 'report') reports.set(event.tag, event.value);
      } catch (error) {
        const page = vcpu.runPage;
        const bytes = new Uint8Array(page.buffer, page.byteOffset + KVM_RUN_EXIT_OFFSET, 32);
        const { flags, gpa, size } = kvm_run_memory_error.decode(bytes);
        return { code: (error as { code: string }).code, reason: page.getUint32(8, true), flags, gpa, size };
      }
    }
  };
  return { ...made, file, low, vcpu, reports, go };
}

const fault = (flags: number, gpa: number) => ({
  code: 'EPERM',
  reason: KVM_EXIT_MEMORY_ERROR,
  flags,
  gpa,
  size: PAGE,
});

describe('an inaccessible memfd (v5)', () => {
  it('cannot be reached from its creation on', () => {
    const { sys, code } = world('inaccessible-memfd-v5');
    expect(code(() => sys.memfdCreate('x', MFD_INACCESSIBLE | SEALING))).toBe('EINVAL');
    const fd = sys.memfdCreate('x', MFD_INACCESSIBLE);
    expect(sys.fcntl(fd, 1034)).toBe(1);
    expect(code(() => sys.fcntl(fd, 1033, 2))).toBe('EPERM');
    expect(code(() => sys.ftruncate(fd, 100))).toBe('EINVAL');
    sys.ftruncate(fd, SIZE);
    expect([SIZE, 2 * SIZE, PAGE, 0].map((size) => code(() => sys.ftruncate(fd, size)))).toEqual([
      ...['EPERM', 'EPERM', 'EPERM', 'EPERM'],
    ]);
    const bytes = new Uint8Array(16);
    expect([code(() => sys.read(fd, bytes)), code(() => sys.pwrite(fd, bytes, 0))]).toEqual(['EPERM', 'EPERM']);
    expect(code(() => Mapping.ofFile(sys, fd, PAGE))).toBe('EPERM');
    expect(code(() => sys.fallocate(fd, PUNCH, 8, PAGE))).toBe('EINVAL');
    expect(code(() => sys.fallocate(fd, PUNCH, 0, PAGE))).toBe('ok');
    // Only ftruncate is guarded: allocation grows the file.
    sys.fallocate(fd, 0, SIZE, PAGE);
    expect(sys.fstat(fd).size).toBe(BigInt(SIZE + PAGE));
  });

  it('counts as locked memory while it holds pages', () => {
    const { sys, code } = world('inaccessible-memfd-v5', { memlockLimit: 4 * PAGE });
    const fd = sys.memfdCreate('x', MFD_INACCESSIBLE);
    sys.ftruncate(fd, SIZE);
    expect(code(() => sys.fallocate(fd, 0, 0, 5 * PAGE))).toBe('ENOMEM');
    expect(code(() => sys.fallocate(fd, 0, 0, 4 * PAGE))).toBe('ok');
    const second = sys.memfdCreate('y', MFD_INACCESSIBLE);
    expect(code(() => sys.fallocate(second, 0, 0, PAGE))).toBe('ENOMEM');
    sys.fallocate(fd, PUNCH, 0, PAGE);
    expect(code(() => sys.fallocate(second, 0, 0, PAGE))).toBe('ok');
    sys.close(fd);
    expect(code(() => sys.fallocate(second, 0, 0, 4 * PAGE))).toBe('ok');
  });

  it('the checks of KVM_MEM_PRIVATE, in their order', () => {
    const { sys, kvm, vm, bind } = world('inaccessible-memfd-v5');
    const fd = sys.memfdCreate('x', MFD_INACCESSIBLE);
    expect(bind({ private_fd: fd }, kvm.createVm())).toBe('EINVAL');
    expect(bind({ private_fd: 99 })).toBe('EINVAL');
    expect(bind({ private_fd: kvm.fd })).toBe('EOPNOTSUPP');
    expect(bind({ private_fd: fd, guest_phys_addr: 2 ** 47 })).toBe('EINVAL');
    expect(bind({ private_fd: fd })).toBe('ok');
    expect([bind({ private_fd: fd }), bind({ private_fd: fd, guest_phys_addr: 2 * DATA })]).toEqual([
      'EINVAL',
      'EINVAL',
    ]);
    // Overlap is looked at before the file system, a descriptor that is not open before both.
    expect(bind({ slot: 2, private_fd: kvm.fd })).toBe('EEXIST');
    expect(bind({ slot: 2, private_fd: 99 })).toBe('EINVAL');
    // Nobody enforces that a page has one owner.
    expect(bind({ slot: 2, private_fd: fd, guest_phys_addr: 2 * DATA })).toBe('ok');
    expect(bind({ slot: 1, private_fd: -1, memory_size: 0 })).toBe('ok');
    expect(bind({ private_fd: fd })).toBe('ok');
    expect(vm.raw.createGuestMemfd(PAGE)).toMatchObject({ code: 'ENOTTY' });
  });

  it('allocating makes private, punching gives back; wrong sides are exit 36 with EPERM', () => {
    const { sys, file, shared, reports, go } = guest('inaccessible-memfd-v5', (g) => {
      g.report(0, g.load(g.shared(DATA)));
      g.store(DATA, 0x11);
      g.report(1, g.load(DATA));
      g.report(2, g.load(g.shared(DATA)));
    });
    shared.writeU64(0, 0xabn);
    expect(go()).toEqual(fault(1, DATA));
    expect(go()).toEqual(fault(1, DATA));
    sys.fallocate(file, 0, 0, PAGE);
    expect(go()).toEqual(fault(0, DATA));
    expect([reports.get(0), reports.get(1)]).toEqual([0xabn, 0x11n]);
    sys.fallocate(file, PUNCH, 0, PAGE);
    expect(go()).toBe('KVM_EXIT_HLT');
    expect(reports.get(2)).toBe(0xabn);
  });

  it('punching loses the data, and every memslot over the range is told', () => {
    const { kernel, sys, file, bind, reports, go } = guest('inaccessible-memfd-v5', (g) => {
      g.store(DATA + PAGE, 0x22);
      g.out(0x80, 1);
      g.report(0, g.load(DATA + PAGE));
    });
    bind({ slot: 2, guest_phys_addr: 2 * DATA, memory_size: 2 * PAGE, private_offset: PAGE, private_fd: file });
    sys.fallocate(file, 0, 0, 2 * PAGE);
    expect(go()).toBe('KVM_EXIT_IO');
    kernel.events.length = 0;
    sys.fallocate(file, PUNCH, 0, 2 * PAGE);
    sys.fallocate(file, 0, PAGE, PAGE);
    expect(go()).toBe('KVM_EXIT_HLT');
    expect(reports.get(0)).toBe(0n);
    const { ino } = sys.fstat(file);
    const told = (callback: string, zapped: string, slot: number, from: number, gpa: number, size: number) => ({
      ...{ kind: 'memfile-notifier', ino, callback, zapped, slot, gpa, size },
      ...{ from, to: from + size },
    });
    expect(kernel.events).toEqual([
      told('invalidate', 'private', 1, 0, DATA, 2 * PAGE),
      told('invalidate', 'private', 2, PAGE, 2 * DATA, PAGE),
      told('fallocate', 'shared', 1, PAGE, DATA + PAGE, PAGE),
      told('fallocate', 'shared', 2, PAGE, 2 * DATA, PAGE),
    ]);
  });

  it('an ordinary memfd that is mapped and full is bound as well: nobody asks', () => {
    let mapping: Mapping | undefined;
    const { reports, go } = guest(
      'inaccessible-memfd-v5',
      (g) => {
        g.report(0, g.load(DATA));
        g.store(DATA, 2);
      },
      (sys) => {
        const fd = sys.memfdCreate('plain', 0);
        sys.ftruncate(fd, SIZE);
        mapping = Mapping.ofFile(sys, fd, SIZE);
        mapping.writeU64(0, 0x5an);
        return fd;
      },
    );
    expect(go()).toBe('KVM_EXIT_HLT');
    expect([reports.get(0), mapping?.readU64(0)]).toEqual([0x5an, 2n]);
  });

  it('the slot keeps the file when its descriptor goes', () => {
    const { sys, file, reports, go } = guest('inaccessible-memfd-v5', (g) => g.report(0, g.load(DATA).add(1)));
    sys.fallocate(file, 0, 0, PAGE);
    sys.close(file);
    expect(go()).toBe('KVM_EXIT_HLT');
    expect(reports.get(0)).toBe(1n);
  });

  it('presence is behaviour: the same calls on a release succeed and protect nothing', () => {
    const sys = new Sys(simulate({ release: '7.3' }));
    const fd = sys.memfdCreate('x', MFD_INACCESSIBLE);
    sys.ftruncate(fd, PAGE);
    expect(sys.write(fd, new Uint8Array(8))).toBe(8);
    expect(() => simulate({ release: '7.3', patches: ['inaccessible-memfd-v5'] })).toThrow('is for Linux 6.1, not 7.3');
    expect(() => simulate({ patches: ['in-place-v8', 'register-converts'] })).toThrow(RangeError);
    const plain = new Sys(simulate({ release: '6.1' }));
    expect(() => plain.memfdCreate('x', MFD_INACCESSIBLE)).toThrow(/EINVAL/);
  });
});

describe('registering converts', () => {
  it('an ordinary memfd keeps its contents and becomes inaccessible at the moment it is bound', () => {
    let mapping: Mapping | undefined;
    const { sys, file, code, reports, go } = guest(
      'register-converts',
      (g) => {
        g.report(0, g.load(DATA));
        g.store(DATA + 8, 3);
        g.report(1, g.load(g.shared(DATA + PAGE)));
      },
      (sys) => {
        const fd = sys.memfdCreate('plain', 0);
        sys.ftruncate(fd, SIZE);
        mapping = Mapping.ofFile(sys, fd, SIZE);
        mapping.writeU64(0, 0x5an);
        return fd;
      },
    );
    const bytes = new Uint8Array(8);
    expect([code(() => sys.pread(file, bytes, 0)), code(() => sys.pwrite(file, bytes, 0))]).toEqual(['EPERM', 'EPERM']);
    expect(code(() => Mapping.ofFile(sys, file, PAGE))).toBe('EPERM');
    expect(mapping?.raw.readU64(0)).toMatchObject({ code: 'SIGBUS' });
    expect(go()).toBe('KVM_EXIT_HLT');
    expect([reports.get(0), reports.get(1)]).toEqual([0x5an, 0n]);
    expect(code(() => sys.ftruncate(file, 2 * SIZE))).toBe('EPERM');
    expect(() => sys.memfdCreate('x', MFD_INACCESSIBLE)).toThrow(/EINVAL/);
  });

  it('before that it is a file like any other', () => {
    const { sys } = world('register-converts');
    const fd = sys.memfdCreate('plain', 0);
    sys.ftruncate(fd, SIZE);
    expect(sys.pwrite(fd, Uint8Array.of(7), 0)).toBe(1);
    const mapping = Mapping.ofFile(sys, fd, SIZE);
    expect(mapping.read(0, 1)).toEqual(Uint8Array.of(7));
  });
});
