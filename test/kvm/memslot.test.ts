/** Memslots as owners: what they keep alive, how they are changed and deleted, and what the guest meets afterwards. */
import { afterEach, expect, it } from 'vitest';
import { DisposedError, KernelError, StateError } from '../../lib/kernel/errors.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { KVM_CAP, KVM_MEM, PROT } from '../../lib/uapi/index.ts';
import { openHost } from '../differential/pair.ts';
import { Guest } from '../support/guest.ts';
import { ownMaps } from '../support/host-state.ts';
import { describeKvm, requires, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const AT = 0x100_0000;
/** KVM emulates each guest instruction on this host, and then on its twin in simulation too. Elsewhere guests run on the processor. */
const host = openHost();
const EMULATED = typeof host !== 'string' && host.kvm?.hardware === false;
const MMIO = { name: 'KVM_EXIT_MMIO', gpa: AT, isWrite: false, length: 8 };
const refused = (code: string) => expect.objectContaining({ ok: false, code });

describeKvm('Memslot', ({ sys, kvm }) => {
  const open: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(owner: T): T => {
    open.push(owner);
    return owner;
  };
  const anonymous = (pages: number): Mapping => keep(Mapping.anonymous(sys, pages * PAGE));
  afterEach(() => {
    for (const owner of open.splice(0).reverse()) owner.close();
  });

  it('knows what it was made of', () => {
    const vm = keep(kvm.createVm());
    const backing = anonymous(4);
    const slot = vm.addMemslot({ slot: 5, gpa: AT, size: 2 * PAGE, backing, backingOffset: PAGE });
    expect(slot).toMatchObject({ vm, slot: 5, gpa: AT, size: 2 * PAGE, flags: 0, backing, guestMemfd: undefined });
    expect(slot.hva).toBe(BigInt(backing.hva + PAGE));
    expect(String(slot)).toBe('memslot 5');
  });

  it('never reaches beyond its mapping: the kernel would let the guest at whatever is behind', () => {
    const vm = keep(kvm.createVm());
    const backing = anonymous(2);
    for (const reach of [
      { size: 3 * PAGE },
      { size: 2 * PAGE, backingOffset: PAGE },
      { size: PAGE, backingOffset: -PAGE },
    ]) {
      expect(() => vm.addMemslot({ slot: 0, gpa: 0, backing, ...reach })).toThrow(RangeError);
    }
    // A bare address is the caller's own affair.
    vm.addMemslot({ slot: 0, gpa: 0, size: 3 * PAGE, backing: backing.hva });
  });

  it('has one owner: an id in use, and a size of 0, are refused before the kernel would move or delete what is there', () => {
    const vm = keep(kvm.createVm());
    const backing = anonymous(2);
    const slot = vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    expect(() => vm.addMemslot({ slot: 0, gpa: AT, size: PAGE, backing })).toThrow(StateError);
    expect(() => vm.addMemslot({ slot: 1, gpa: AT, size: 0, backing })).toThrow(RangeError);
    slot.close();
    vm.addMemslot({ slot: 0, gpa: AT, size: PAGE, backing });
  });

  it('keeps its mapping from being unmapped', () => {
    const vm = keep(kvm.createVm());
    const backing = anonymous(1);
    const slot = vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    expect(() => backing.unmap()).toThrow(StateError);
    slot.delete();
    backing.unmap();
    expect(backing.closed).toBe(true);
  });

  it('is deleted once, by delete or by close, and can be made again', () => {
    const vm = keep(kvm.createVm());
    const backing = anonymous(1);
    const make = () => vm.addMemslot({ slot: 0, gpa: AT, size: PAGE, backing });
    const first = make();
    first.delete();
    expect(first.closed).toBe(true);
    expect(() => first.delete()).toThrow(DisposedError);
    const second = make();
    first.close();
    // The slot of the second is still there.
    expect(vm.raw.addMemslot({ slot: 1, gpa: AT, size: PAGE, backing })).toEqual(refused('EEXIST'));
    second.close();
    make();
  });

  it('delete says so when the slot is gone already; close does not', () => {
    const vm = keep(kvm.createVm());
    const slot = vm.addMemslot({ slot: 0, gpa: AT, size: PAGE, backing: anonymous(1) });
    vm.setUserMemoryRegion({ slot: 0 });
    expect(() => slot.delete()).toThrow(KernelError);
    expect(slot.closed).toBe(false);
    slot.close();
  });

  it('everything after closing is DisposedError', () => {
    const vm = keep(kvm.createVm());
    const slot = vm.addMemslot({ slot: 0, gpa: AT, size: PAGE, backing: anonymous(1) });
    slot.close();
    for (const use of [() => slot.move(0), () => slot.setFlags(1), () => slot.dirtyLog(), () => slot.delete()]) {
      expect(use).toThrow(DisposedError);
    }
  });

  it('a mapping that is closed under a slot stays reserved until the slot goes', () => {
    const vm = keep(kvm.createVm());
    const file = sys.memfdCreate('under-slot', 0);
    sys.ftruncate(file, PAGE);
    const before = ownMaps(sys).length;
    const backing = Mapping.ofFile(sys, file, PAGE);
    const slots = [0, 1].map((id) => vm.addMemslot({ slot: id, gpa: AT + id * PAGE, size: PAGE, backing }));
    sys.close(file);
    backing.close();
    expect(() => backing.hva).toThrow(DisposedError);
    expect(ownMaps(sys)).toHaveLength(before + 1);
    slots[0]?.close();
    expect(ownMaps(sys)).toHaveLength(before + 1);
    slots[1]?.delete();
    expect(ownMaps(sys)).toHaveLength(before);
  });

  it('a VM that goes takes its slots along, and their hold on mappings', () => {
    const vm = kvm.createVm();
    const backing = Mapping.anonymous(sys, PAGE);
    const slot = vm.addMemslot({ slot: 0, gpa: AT, size: PAGE, backing });
    backing.close();
    vm.close();
    expect([slot.closed, sys.raw.mincore(Number(slot.hva), PAGE, new Uint8Array(1))]).toEqual([
      true,
      refused('ENOMEM'),
    ]);
  });

  requires({ arch: 'x64' })('moves with its contents', () => {
    const guest = keep(new Guest(kvm));
    const backing = anonymous(1);
    backing.writeU64(0, 77);
    const slot = guest.vm.addMemslot({ slot: 1, gpa: AT, size: PAGE, backing });
    expect(guest.value((g) => g.report(0, g.load(AT)))).toBe(77n);
    slot.move(AT + 4 * PAGE);
    expect(slot.gpa).toBe(AT + 4 * PAGE);
    expect(guest.value((g) => g.report(0, g.load(AT + 4 * PAGE)))).toBe(77n);
    guest.load((g) => g.report(0, g.load(AT)));
    expect(guest.finish().last).toMatchObject({ name: 'KVM_EXIT_MMIO', gpa: AT, isWrite: false });
    expect(slot.raw.move(0)).toEqual(refused('EEXIST'));
    expect(slot.gpa).toBe(AT + 4 * PAGE);
  });

  requires({ arch: 'x64' })('logs the pages that the guest writes, once logging is on', () => {
    const guest = keep(new Guest(kvm));
    const backing = anonymous(70);
    const slot = guest.vm.addMemslot({ slot: 1, gpa: AT, size: 70 * PAGE, backing });
    expect(slot.raw.dirtyLog()).toEqual(refused('ENOENT'));
    slot.setFlags(KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES);
    guest.run((g) => {
      g.store(AT + PAGE, 1);
      g.store(AT + 69 * PAGE, 1);
      g.report(0, 1);
    });
    const log = slot.dirtyLog();
    expect(log).toHaveLength(16);
    expect(
      [...log].flatMap((byte, i) => [...Array(8).keys()].filter((bit) => byte & (1 << bit)).map((bit) => i * 8 + bit)),
    ).toEqual([1, 69]);
    expect(slot.dirtyLog().every((byte) => byte === 0)).toBe(true);
    slot.setFlags(0);
    expect([slot.flags, slot.raw.dirtyLog()]).toEqual([0, refused('ENOENT')]);
  });

  requires({ arch: 'x64', caps: { KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 3 } })(
    'clears a log by hand, page by page',
    () => {
      const guest = keep(new Guest(kvm));
      const slot = guest.vm.addMemslot({ slot: 1, gpa: AT, size: 70 * PAGE, backing: anonymous(70) });
      const only = (page: number) => Uint8Array.from({ length: 16 }, (_, i) => (i === page >> 3 ? 1 << (page & 7) : 0));
      expect(slot.raw.clearDirtyLog(only(0))).toEqual(refused('ENOENT'));
      guest.vm.enableCap(KVM_CAP.value.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, [3]);
      slot.setFlags(KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES);
      const all = slot.dirtyLog();
      expect(all).toEqual(Uint8Array.from({ length: 16 }, (_, i) => (i < 8 ? 0xff : i === 8 ? 0x3f : 0)));
      expect(slot.dirtyLog()).toEqual(all);
      slot.clearDirtyLog(all.subarray(0, 8));
      slot.clearDirtyLog(all.subarray(8), { firstPage: 64 });
      expect(slot.dirtyLog()).toEqual(new Uint8Array(16));
      guest.run((g) => {
        g.store(AT + PAGE, 1);
        g.store(AT + 69 * PAGE, 1);
      });
      slot.clearDirtyLog(only(1));
      expect(slot.dirtyLog()).toEqual(only(69));
      expect(slot.raw.clearDirtyLog(all, { firstPage: 1, pages: 64 })).toEqual(refused('EINVAL'));
      expect(slot.raw.clearDirtyLog(all, { pages: 65 })).toEqual(refused('EINVAL'));
      expect(slot.raw.clearDirtyLog(all.subarray(8), { firstPage: 128 })).toEqual(refused('EINVAL'));
      expect(() => slot.clearDirtyLog(new Uint8Array(8), { pages: 70 })).toThrow('70 pages need a bitmap of 16 bytes');
    },
  );

  requires({ arch: 'x64', vmCaps: { KVM_CAP_READONLY_MEM: 1 } })(
    'read-only: reads work, writes leave the guest',
    () => {
      const guest = keep(new Guest(kvm));
      const backing = anonymous(1);
      backing.writeU64(0, 5);
      guest.vm.addMemslot({ slot: 1, gpa: AT, size: PAGE, backing, flags: KVM_MEM.value.KVM_MEM_READONLY });
      expect(guest.value((g) => g.report(0, g.load(AT)))).toBe(5n);
      guest.load((g) => g.store(AT, 9));
      expect(guest.finish().last).toMatchObject({ name: 'KVM_EXIT_MMIO', gpa: AT, isWrite: true, length: 8 });
      expect(backing.readU64(0)).toBe(5n);
    },
  );

  requires({ arch: 'x64', ...SHARED_GMEM })('shows the guest what the host wrote into the file, and back', () => {
    const guest = keep(new Guest(kvm));
    const file = guest.vm.createGuestMemfd(4 * PAGE, { mmap: true, initShared: true });
    const host = keep(file.map());
    guest.vm.addMemslot({ slot: 1, gpa: AT, size: 4 * PAGE, backing: host, guestMemfd: file });
    host.writeU64(PAGE, 1234n);
    expect(guest.value((g) => g.report(0, g.load(AT + PAGE)))).toBe(1234n);
    guest.run((g) => g.store(AT + 2 * PAGE, 99));
    expect(host.readU64(2 * PAGE)).toBe(99n);
    file.punchHole(0, 4 * PAGE);
    expect(guest.value((g) => g.report(0, g.checksum(AT, 4 * PAGE)))).toBe(0n);
  });

  requires(SHARED_GMEM)('deleting frees the range of the file, closing the file does not free the slot', () => {
    const vm = keep(kvm.createVm());
    const file = keep(vm.createGuestMemfd(PAGE, { mmap: true, initShared: true }));
    const backing = keep(file.map());
    backing.fill(7);
    const options = { slot: 1, gpa: AT, size: PAGE, backing, guestMemfd: file };
    vm.addMemslot(options).delete();
    expect([file.residency().cache, backing.read(0, 1)[0]]).toEqual([1, 7]);
    const slot = vm.addMemslot(options);
    file.close();
    expect(vm.raw.addMemslot({ slot: 2, gpa: AT, size: PAGE, backing })).toEqual(refused('EEXIST'));
    slot.delete();
    vm.addMemslot({ slot: 2, gpa: AT, size: PAGE, backing });
  });

  requires({ arch: 'x64', ...SHARED_GMEM })('a file that is gone leaves the slot without memory', () => {
    const guest = keep(new Guest(kvm));
    const file = guest.vm.createGuestMemfd(PAGE, { mmap: true, initShared: true });
    const slot = guest.vm.addMemslot({ slot: 1, gpa: AT, size: PAGE, guestMemfd: file });
    file.close();
    guest.load((g) => g.report(0, g.load(AT)));
    const end = guest.vcpu().raw.runSync({ timeoutMs: 5000 });
    // A memory fault where the processor makes the access, an MMIO exit where KVM emulates it and finds nothing at userspace_addr.
    expect(end).toMatchObject({
      ok: true,
      value: EMULATED ? MMIO : { name: 'KVM_EXIT_MEMORY_FAULT', gpa: AT, size: PAGE },
    });
    slot.delete();
  });

  requires({ arch: 'x64' })(
    'memory that the host cannot reach ends the run with an error, not with a memory fault',
    () => {
      const guest = keep(new Guest(kvm));
      const backing = anonymous(1);
      guest.vm.addMemslot({ slot: 1, gpa: AT, size: PAGE, backing });
      backing.protect(PROT.value.PROT_NONE);
      guest.load((g) => g.report(0, g.load(AT)));
      // Where KVM emulates the access it finds no memory there, and asks userspace (MMIO); where the processor makes it, EFAULT.
      const end = guest.vcpu().raw.runSync({ timeoutMs: 5000 });
      if (end.ok) expect(end.value).toMatchObject({ name: 'KVM_EXIT_MMIO', gpa: AT });
      else expect(end).toMatchObject({ code: 'EFAULT', error: { request: 'KVM_RUN' } });
    },
  );
});
