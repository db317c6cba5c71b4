/** Private memory of software-protected VMs: which side the guest sees, what converting does to contents, which exits there are. */
import { describe, expect, it } from 'vitest';
import { KVM_CAP } from '../../../../lib/uapi/index.ts';
import { DATA, DATA_PAGES, PAGE, protectedGuest } from './protected.ts';

const halted = expect.objectContaining({ name: 'KVM_EXIT_HLT' });
const C = KVM_CAP.value;

describe('private memory', () => {
  it('the attribute decides which side the guest sees; both keep what they have', () => {
    const { vm, shared, run, reports } = protectedGuest();
    shared.writeU64(0, 0x5a5an);
    expect(run((g) => g.report(0, g.load(DATA)))).toEqual(halted);
    expect(reports.get(0)).toBe(0x5a5an);
    vm.setPrivate(DATA, PAGE);
    expect(
      run((g) => {
        g.report(1, g.load(DATA));
        g.store(DATA, 0x77);
        g.report(2, g.load(DATA));
      }),
    ).toEqual(halted);
    expect([reports.get(1), reports.get(2), shared.readU64(0)]).toEqual([0n, 0x77n, 0x5a5an]);
    vm.setShared(DATA, PAGE);
    run((g) => g.report(3, g.load(DATA)));
    // Back again without a punch: the old private data is there.
    vm.setPrivate(DATA, PAGE);
    run((g) => g.report(4, g.load(DATA)));
    expect([reports.get(3), reports.get(4)]).toEqual([0x5a5an, 0x77n]);
  });

  it('a punched page is a fresh zero page, also for a guest that has just used it', () => {
    const { sys, vm, vcpu, file, load, go, reports } = protectedGuest();
    vm.setPrivate(DATA, 2 * PAGE);
    load((g) => {
      g.store(DATA, 1);
      g.store(DATA + PAGE, 2);
      g.report(0, 0);
      g.report(1, g.load(DATA));
      g.report(2, g.load(DATA + PAGE));
    });
    // To the first half of the first report.
    expect(vcpu.runSync()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
    file.punchHole(0, PAGE);
    expect(go()).toEqual(halted);
    expect([reports.get(1), reports.get(2), sys.cachestat(file.fd, 0, 0).cache]).toEqual([0n, 2n, 2]);
  });

  it('conversions by hypercall: the exit, the answer, who changes the attributes', () => {
    const { vm, vcpu, shared, run, go, reports } = protectedGuest();
    vm.enableExitHypercall(1 << 12);
    const exit = run((g) => {
      g.report(0, g.mapGpaRange(DATA, 2, { private: true }));
      g.store(DATA, 0x99);
      g.report(1, g.mapGpaRange(DATA, 2, { private: false }));
      g.report(2, g.load(DATA));
    });
    expect(exit).toMatchObject({ name: 'KVM_EXIT_HYPERCALL', nr: 12, flags: 1n });
    expect(exit.name === 'KVM_EXIT_HYPERCALL' && exit.args.slice(0, 3)).toEqual([BigInt(DATA), 2n, 0x10n]);
    vm.setPrivate(DATA, 2 * PAGE);
    expect(go()).toMatchObject({ name: 'KVM_EXIT_HYPERCALL' });
    vm.setShared(DATA, 2 * PAGE);
    vcpu.answer(-22);
    shared.writeU64(0, 0x44n);
    expect(go()).toEqual(halted);
    expect([reports.get(0), reports.get(1), reports.get(2)]).toEqual([0n, 2n ** 64n - 22n, 0x44n]);
  });

  it('hypercalls that KVM answers itself', () => {
    const { vm, run, reports } = protectedGuest();
    run((g) => g.report(0, g.mapGpaRange(DATA, 1, { private: true })));
    vm.enableExitHypercall(1 << 12);
    run((g) => {
      g.report(1, g.mapGpaRange(DATA + 1, 1, { private: true }));
      g.report(2, g.mapGpaRange(DATA, 0, { private: true }));
      g.report(3, g.hypercall(99, 0, 0, 0));
    });
    const results = [0, 1, 2, 3].map((tag) => BigInt.asIntN(64, reports.get(tag) ?? 0n));
    expect(results).toEqual([-1000n, -22n, -22n, -1000n]);
  });

  it('private memory without a slot, or without a file, is a memory fault that repeats until it is mended', () => {
    const { vm, run, go, reports } = protectedGuest();
    vm.setPrivate(DATA + DATA_PAGES * PAGE, PAGE);
    vm.setPrivate(0x10_0000, PAGE);
    const fault = { name: 'KVM_EXIT_MEMORY_FAULT', private: true, code: 'EFAULT', size: PAGE };
    const beyond = DATA + DATA_PAGES * PAGE;
    expect(run((g) => g.report(0, g.load(beyond + 8)))).toMatchObject({ ...fault, gpa: beyond });
    expect(go()).toMatchObject({ ...fault, gpa: beyond });
    expect(run((g) => g.report(1, g.load(0x10_0000)))).toMatchObject({ ...fault, gpa: 0x10_0000 });
    vm.setShared(0x10_0000, PAGE);
    expect(go()).toEqual(halted);
    expect(reports.get(1)).toBe(0n);
  });

  it('a file that is closed under its slot is a memory fault; the slot can be deleted', () => {
    const { vm, file, slot, run } = protectedGuest();
    vm.setPrivate(DATA, PAGE);
    expect(run((g) => g.store(DATA, 1))).toEqual(halted);
    file.close();
    expect(run((g) => g.report(0, g.load(DATA)))).toMatchObject({ name: 'KVM_EXIT_MEMORY_FAULT', private: true });
    slot.delete();
  });

  it('a shared access that leads nowhere is EFAULT without an exit', () => {
    const { sys, vcpu, shared, run } = protectedGuest();
    sys.mprotect(shared.hva, PAGE, 0);
    expect(() => run((g) => g.report(0, g.load(DATA)))).toThrow(/EFAULT/);
    expect(vcpu.runPage.getUint32(8, true)).toBe(0);
  });

  it('attributes survive slots, and may come before them', () => {
    const { vm, shared, file, slot, run, reports } = protectedGuest();
    vm.setPrivate(DATA, PAGE);
    run((g) => g.store(DATA, 0x31));
    slot.delete();
    vm.addMemslot({ slot: 1, gpa: DATA, size: DATA_PAGES * PAGE, backing: shared, guestMemfd: file });
    run((g) => g.report(0, g.load(DATA)));
    expect([reports.get(0), shared.readU64(0)]).toEqual([0x31n, 0n]);
  });

  it('the checks of KVM_SET_MEMORY_ATTRIBUTES', () => {
    const { vm, kvm } = protectedGuest();
    const code = (...args: Parameters<typeof vm.setMemoryAttributes>): string => {
      const result = vm.raw.setMemoryAttributes(...args);
      return result.ok ? 'ok' : result.code;
    };
    expect(code(0, PAGE, 8)).toBe('ok');
    expect(code(0, PAGE, 8, 1)).toBe('EINVAL');
    expect([code(0, PAGE, 1), code(0, PAGE, 9), code(0, 0, 8), code(1, PAGE, 8), code(0, 1, 8)]).toEqual(
      Array.from({ length: 5 }, () => 'EINVAL'),
    );
    expect([code(2n ** 64n - 4096n, PAGE, 8), code(2n ** 63n, 2n ** 62n, 8)]).toEqual(['EINVAL', 'ok']);
    using plain = kvm.createVm();
    expect(plain.raw.setPrivate(0, PAGE)).toMatchObject({ code: 'EINVAL' });
    expect(plain.raw.setShared(0, PAGE)).toMatchObject({ ok: true });
  });

  it('capabilities differ between the system, protected VMs and others', () => {
    const { vm, kvm } = protectedGuest();
    using plain = kvm.createVm();
    const caps = (cap: number) => [kvm, vm, plain].map((on) => on.checkExtension(cap));
    expect(caps(C.KVM_CAP_MEMORY_ATTRIBUTES)).toEqual([8, 8, 0]);
    expect(caps(C.KVM_CAP_GUEST_MEMFD_FLAGS)).toEqual([3, 1, 3]);
    expect(caps(C.KVM_CAP_VM_TYPES)).toEqual([3, 3, 3]);
    expect(caps(C.KVM_CAP_GUEST_MEMFD)).toEqual([1, 1, 1]);
    expect(vm.raw.createGuestMemfd(PAGE, { initShared: true })).toMatchObject({ code: 'EINVAL' });
  });

  it('pre-faulting goes as far as it can', () => {
    const { sys, vm, vcpu, file } = protectedGuest();
    vm.setPrivate(DATA, 4 * PAGE);
    expect(vcpu.preFault(DATA, 4 * PAGE)).toEqual({ gpa: DATA + 4 * PAGE, size: 0 });
    expect(sys.cachestat(file.fd, 0, 0).cache).toBe(4);
    const end = DATA + DATA_PAGES * PAGE;
    expect(vcpu.preFault(end - PAGE, 2 * PAGE)).toEqual({ gpa: end, size: PAGE });
    expect(vcpu.raw.preFault(end, PAGE)).toMatchObject({ code: 'ENOENT' });
    vm.setPrivate(end, PAGE);
    expect(vcpu.raw.preFault(end, PAGE)).toMatchObject({ code: 'EFAULT' });
    expect(vcpu.raw.preFault(end, PAGE, 1)).toMatchObject({ code: 'EINVAL' });
  });

  it('on 6.8 and 6.12 too, but only there do default VMs have no guest_memfd', () => {
    for (const release of ['6.8', '6.12'] as const) {
      const { vm, kvm, run, reports } = protectedGuest({ release });
      vm.setPrivate(DATA, PAGE);
      run((g) => {
        g.store(DATA, 3);
        g.report(0, g.load(DATA));
      });
      using plain = kvm.createVm();
      const guestMemfd = [kvm, vm, plain].map((on) => on.checkExtension(C.KVM_CAP_GUEST_MEMFD));
      expect([reports.get(0), ...guestMemfd]).toEqual([3n, 1, 1, 0]);
      using file = plain.createGuestMemfd(PAGE);
      expect(plain.raw.addMemslot({ slot: 0, gpa: 0, size: PAGE, guestMemfd: file })).toMatchObject({ code: 'EINVAL' });
      expect(vm.raw.createGuestMemfd(PAGE, { mmap: true })).toMatchObject({ code: 'EINVAL' });
    }
  });
});
