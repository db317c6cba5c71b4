/** The checks of KVM_SET_USER_MEMORY_REGION and _REGION2, one by one, and which of two wrong arguments is named. */
import { afterAll, describe, expect, it } from 'vitest';
import { Mapping } from '../../lib/memory/mapping.ts';
import { KVM_CAP, KVM_MEM } from '../../lib/uapi/index.ts';
import { describeKvm, requires, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, KVM_MEM_GUEST_MEMFD } = KVM_MEM.value;
const GMEM = { flags: KVM_MEM_GUEST_MEMFD };

describeKvm(
  'memslot checks',
  ({ sys, kvm }) => {
    const vm = kvm.createVm();
    const backing = Mapping.anonymous(sys, 64 * PAGE);
    const file = vm.createGuestMemfd(16 * PAGE);
    afterAll(() => {
      vm.close();
      backing.close();
    });
    type Region = Parameters<typeof vm.setUserMemoryRegion2>[0];
    const base = { slot: 1, memory_size: PAGE, userspace_addr: backing.hva };
    const codeOf = (result: { ok: boolean; code?: string }): string => (result.ok ? 'ok' : (result.code ?? ''));
    /** The verdict on a region; a slot that comes into being is deleted again. */
    const v2 = (region: Region): string => {
      const code = codeOf(vm.raw.setUserMemoryRegion2({ ...base, ...region }));
      if (code === 'ok') vm.setUserMemoryRegion({ slot: region?.slot ?? base.slot });
      return code;
    };
    const v1 = (region: Region): string => {
      const code = codeOf(vm.raw.setUserMemoryRegion({ ...base, ...region }));
      if (code === 'ok') vm.setUserMemoryRegion({ slot: region?.slot ?? base.slot });
      return code;
    };

    it('slot numbers', () => {
      const most = vm.checkExtension(KVM_CAP.value.KVM_CAP_NR_MEMSLOTS);
      expect([v1({ slot: most - 1 }), v1({ slot: most }), v1({ slot: 0xffff })]).toEqual(['ok', 'EINVAL', 'EINVAL']);
    });

    it('address spaces', () => {
      // Absent means one.
      const spaces = vm.checkExtension(KVM_CAP.value.KVM_CAP_MULTI_ADDRESS_SPACE) || 1;
      expect(v1({ slot: (spaces - 1) << 16 })).toBe('ok');
      expect(v1({ slot: spaces << 16 })).toBe('EINVAL');
    });

    it('flags', () => {
      expect([v1({ flags: KVM_MEM_LOG_DIRTY_PAGES }), v2({ flags: KVM_MEM_LOG_DIRTY_PAGES })]).toEqual(['ok', 'ok']);
      expect([v1(GMEM), v1({ ...GMEM, memory_size: 0 })]).toEqual(['EINVAL', 'EINVAL']);
      for (const bit of [3, 4, 15, 16, 17, 31]) expect([bit, v2({ flags: 2 ** bit })]).toEqual([bit, 'EINVAL']);
    });

    requires({ vmCaps: { KVM_CAP_READONLY_MEM: 1 } })('read-only slots, and never both', () => {
      expect(v1({ flags: KVM_MEM_READONLY })).toBe('ok');
      expect(v1({ flags: KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES })).toBe('ok');
    });

    it('alignment', () => {
      expect(v1({ memory_size: PAGE + 1 })).toBe('EINVAL');
      expect(v1({ guest_phys_addr: 1 })).toBe('EINVAL');
      expect(v1({ userspace_addr: backing.hva + 1 })).toBe('EINVAL');
    });

    it('host addresses: those of users only, but nothing need be mapped there', () => {
      expect(v1({ userspace_addr: 0 })).toBe('ok');
      expect(v1({ userspace_addr: 0x5000_0000_0000 })).toBe('ok');
      expect(v1({ userspace_addr: 0xffff_8000_0000_0000n })).toBe('EINVAL');
      expect(v1({ userspace_addr: 1n << 62n })).toBe('EINVAL');
    });

    it('sizes: less than 2^31 pages', () => {
      // 2^43 - 4096 bytes fit the count; the address space of the guest may still be smaller.
      const big = 2 ** 43;
      expect(v1({ memory_size: big, userspace_addr: 0 })).toBe('EINVAL');
      expect(v1({ memory_size: (1n << 64n) - 4096n, userspace_addr: 0 })).toBe('EINVAL');
    });

    it('guest addresses that wrap, or that the guest cannot have', () => {
      expect(v1({ guest_phys_addr: (1n << 64n) - 4096n })).toBe('EINVAL');
      expect(v1({ guest_phys_addr: 1n << 52n })).toBe('EINVAL');
    });

    it('deleting what is not there', () => {
      expect([v1({ memory_size: 0 }), v2({ memory_size: 0 }), v2({ ...GMEM, memory_size: 0 })]).toEqual([
        'EINVAL',
        'EINVAL',
        'EINVAL',
      ]);
    });

    it('overlaps', () => {
      using slot = vm.addMemslot({ slot: 9, gpa: 16 * PAGE, size: 4 * PAGE, backing });
      for (const [page, pages] of [
        [16, 1],
        [15, 2],
        [19, 2],
        [15, 8],
        [17, 1],
      ] as const) {
        expect(v1({ guest_phys_addr: page * PAGE, memory_size: pages * PAGE })).toBe('EEXIST');
      }
      expect([v1({ guest_phys_addr: 15 * PAGE }), v1({ guest_phys_addr: 20 * PAGE })]).toEqual(['ok', 'ok']);
      expect(slot.closed).toBe(false);
    });

    it('changes of an existing slot', () => {
      using slot = vm.addMemslot({ slot: 1, gpa: 0, size: 2 * PAGE, backing });
      const same = { slot: 1, memory_size: 2 * PAGE, userspace_addr: slot.hva };
      const change = (region: Region): string => codeOf(vm.raw.setUserMemoryRegion2({ ...same, ...region }));
      expect(change({})).toBe('ok');
      expect(change({ memory_size: PAGE })).toBe('EINVAL');
      expect(change({ userspace_addr: slot.hva + 4096n })).toBe('EINVAL');
      expect(change({ flags: KVM_MEM_READONLY })).toBe('EINVAL');
      expect(change({ ...GMEM, guest_memfd: file.fd })).toBe('EINVAL');
      expect(change({ flags: KVM_MEM_LOG_DIRTY_PAGES })).toBe('ok');
      expect(change({ guest_phys_addr: 8 * PAGE })).toBe('ok');
      using _other = vm.addMemslot({ slot: 2, gpa: 0, size: 2 * PAGE, backing });
      expect(change({ guest_phys_addr: PAGE })).toBe('EEXIST');
    });

    describe('with a guest_memfd', () => {
      const bind = (region: Region): string => v2({ ...GMEM, guest_memfd: file.fd, ...region });

      requires(SHARED_GMEM)('binds on a default VM', () => {
        expect(bind({})).toBe('ok');
        expect(bind({ guest_memfd_offset: 15 * PAGE })).toBe('ok');
      });

      it('goes with no other flag', () => {
        expect(bind({ flags: KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES })).toBe('EINVAL');
        expect(bind({ flags: KVM_MEM_GUEST_MEMFD | KVM_MEM_READONLY })).toBe('EINVAL');
      });

      it('offsets', () => {
        expect(bind({ guest_memfd_offset: 1 })).toBe('EINVAL');
        expect(bind({ guest_memfd_offset: (1n << 64n) - 4096n, memory_size: 2 * PAGE })).toBe('EINVAL');
        expect(bind({ guest_memfd_offset: 16 * PAGE })).toBe('EINVAL');
        expect(bind({ guest_memfd_offset: 15 * PAGE, memory_size: 2 * PAGE })).toBe('EINVAL');
      });

      requires(SHARED_GMEM)('descriptors: open, a guest_memfd, of this VM', () => {
        using other = kvm.createVm();
        using foreign = other.createGuestMemfd(PAGE);
        const memfd = sys.memfdCreate('checks', 0);
        expect([bind({ guest_memfd: -1 }), bind({ guest_memfd: 999_999 })]).toEqual(['EBADF', 'EBADF']);
        expect([bind({ guest_memfd: memfd }), bind({ guest_memfd: foreign.fd }), bind({ guest_memfd: vm.fd })]).toEqual(
          ['EINVAL', 'EINVAL', 'EINVAL'],
        );
        sys.close(memfd);
      });

      requires(SHARED_GMEM)('a bad descriptor beats a guest address out of range, and an overlap beats both', () => {
        expect(bind({ guest_memfd: -1, guest_phys_addr: 1n << 52n })).toBe('EBADF');
        using _slot = vm.addMemslot({ slot: 9, gpa: 0, size: PAGE, backing });
        expect(bind({ guest_memfd: -1 })).toBe('EEXIST');
      });

      requires(SHARED_GMEM)('binds each range of a file once', () => {
        using _slot = vm.addMemslot({ slot: 3, gpa: 0, size: 4 * PAGE, backing, guestMemfd: file });
        // EEXIST since 7.2, EINVAL before.
        const clash = bind({ guest_phys_addr: 32 * PAGE, guest_memfd_offset: 3 * PAGE, memory_size: 2 * PAGE });
        expect(['EEXIST', 'EINVAL']).toContain(clash);
        expect(bind({ guest_phys_addr: 32 * PAGE, guest_memfd_offset: 4 * PAGE })).toBe('ok');
      });

      requires(SHARED_GMEM)('is never changed: not even to what it is', () => {
        using slot = vm.addMemslot({ slot: 1, gpa: 0, size: PAGE, backing, guestMemfd: file });
        const same = { ...base, memory_size: PAGE, userspace_addr: slot.hva, guest_memfd: file.fd };
        const change = (region: Region): string => codeOf(vm.raw.setUserMemoryRegion2({ ...same, ...region }));
        expect([change(GMEM), change({ ...GMEM, guest_phys_addr: PAGE }), change({})]).toEqual([
          'EINVAL',
          'EINVAL',
          'EINVAL',
        ]);
        expect([slot.raw.move(8 * PAGE), slot.raw.setFlags(KVM_MEM_LOG_DIRTY_PAGES)]).toEqual([
          expect.objectContaining({ code: 'EINVAL' }),
          expect.objectContaining({ code: 'EINVAL' }),
        ]);
        expect([slot.gpa, slot.flags]).toEqual([0, KVM_MEM_GUEST_MEMFD]);
      });

      it('pads and, without the flag, the fields of the file are not looked at', () => {
        expect(v2({ guest_memfd: -1, guest_memfd_offset: 5, pad1: 7, pad2: [1n, 2n] })).toBe('ok');
      });
    });
  },
  { caps: { KVM_CAP_USER_MEMORY2: 1, KVM_CAP_GUEST_MEMFD: 1 } },
);
