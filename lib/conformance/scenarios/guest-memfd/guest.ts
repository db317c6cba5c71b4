/** What a guest sees of a guest_memfd: contents, places in the file, who else sees them. */
import { addressPattern } from '../../../guest/index.ts';
import { CACHESTAT, heldIndexes, PAGE, PLAIN } from '../../file-kinds.ts';
import { FILE_GPA, fileGuest, findStamps, forGuests, GUEST_PROTECTED, GUEST_SHARED, stamp } from '../../gmem-guest.ts';
import { topic } from '../../scenario.ts';

export const guestMemfdGuest = topic(
  'guest_memfd/guest',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_get_pfn, Linux 6.8' },
  (scenario) => {
    const each = forGuests(scenario);

    each('fresh_pages_read_zero', async (t, kind) => {
      const { guest, gpa, pages } = fileGuest(t, kind);
      await guest.run((g) => g.check(gpa, pages * PAGE, 0));
    });

    each('keeps_what_it_wrote', async (t, kind) => {
      const { guest, gpa, pages } = fileGuest(t, kind);
      await guest.run((g) => g.fill(gpa, pages * PAGE, addressPattern(0x1234n)));
      await guest.run((g) => g.check(gpa, pages * PAGE, addressPattern(0x1234n)));
    });

    each('memory_that_was_freed_reads_zero_when_it_is_used_again', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 64 });
      for (const allocate of [true, false]) {
        await guest.run((g) => g.fill(gpa, pages * PAGE, 0xaa));
        file.punchHole(0, pages * PAGE);
        if (allocate) file.allocate(0, pages * PAGE);
        await guest.run((g) => g.check(gpa, pages * PAGE, 0));
      }
    });

    each('allocating_leaves_what_the_guest_wrote', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind);
      await guest.run((g) => g.fill(gpa, PAGE, 0x77));
      file.allocate(0, pages * PAGE);
      await guest.run((g) => {
        g.check(gpa, PAGE, 0x77);
        g.check(gpa + PAGE, (pages - 1) * PAGE, 0);
      });
    });

    each(
      'page_of_the_slot_is_that_page_of_the_file',
      async (t, kind) => {
        const { guest, file, gpa } = fileGuest(t, kind, { pages: 12, first: 3, slotPages: 6 });
        await guest.run((g) => g.store(gpa + 4 * PAGE + 8, 1));
        t.same(heldIndexes(file), [7], 'pages of the file after a write to page 4 of a slot that starts at page 3');
        await guest.run((g) => g.load(gpa));
        t.same(heldIndexes(file), [3, 7], 'after a read of its first page');
        await guest.run((g) => g.load(gpa + 6 * PAGE - 8));
        t.same(heldIndexes(file), [3, 7, 8], 'after a read of its last page');
      },
      { needs: CACHESTAT },
    );

    each('slots_of_one_file_in_another_order', async (t, kind) => {
      const { guest, file } = fileGuest(t, kind, { pages: 9, first: 6, slotPages: 3 });
      const more = [1, 2].map((i) =>
        fileGuest(t, kind, { guest, file, slot: 1 + i, first: 6 - 3 * i, slotPages: 3, gpa: FILE_GPA + i * 16 * PAGE }),
      );
      const gpas = [FILE_GPA, ...more.map(({ gpa }) => gpa)];
      const ranges = gpas.map((gpa, salt) => ({ gpa, pages: 3, salt }));
      await stamp(guest, ...ranges);
      for (const range of ranges) await findStamps(t, guest, range);
    });

    each('files_of_one_vm_are_apart', async (t, kind) => {
      const { guest, file, gpa } = fileGuest(t, kind, { pages: 4 });
      const other = fileGuest(t, kind, { guest, slot: 2, pages: 4, gpa: FILE_GPA + 4 * PAGE });
      const [mine, others] = [
        { gpa, pages: 4, salt: 1 },
        { gpa: other.gpa, pages: 4, salt: 2 },
      ];
      await stamp(guest, mine);
      await findStamps(t, guest, others, [0, 1, 2, 3]);
      await stamp(guest, others);
      await findStamps(t, guest, mine);
      file.punchHole(0, 4 * PAGE);
      await findStamps(t, guest, mine, [0, 1, 2, 3]);
      await findStamps(t, guest, others);
    });

    each('accesses_over_a_page_boundary', async (t, kind) => {
      const { guest, gpa } = fileGuest(t, kind, { pages: 3 });
      await guest.run((g) => {
        g.store(gpa + PAGE - 3, 0x1122334455667788n);
        g.store(gpa + 2 * PAGE - 1, 0x99aan, { size: 2 });
      });
      const reports = await guest.run((g) => {
        g.report(0, g.load(gpa + PAGE - 3));
        g.report(1, g.load(gpa + 2 * PAGE - 1, { size: 2 }));
        g.check(gpa, PAGE - 8, 0);
        g.check(gpa + PAGE + 8, PAGE - 16, 0);
        g.check(gpa + 2 * PAGE + 8, PAGE - 8, 0);
      });
      t.same([reports.get(0), reports.get(1)], [0x1122334455667788n, 0x99aan], 'what was stored over the boundaries');
    });

    each(
      'memory_at_userspace_addr_is_not_used',
      async (t, kind) => {
        const backing = t.anonymous(4 * PAGE);
        backing.fill(0x5a);
        const { guest, gpa } = fileGuest(t, kind, { pages: 4, backing });
        await guest.run((g) => {
          g.check(gpa, 4 * PAGE, 0);
          g.fill(gpa, 4 * PAGE, 0xa5);
        });
        t.filledWith(backing.read(0, 4 * PAGE), 0x5a, 'memory at userspace_addr');
        backing.fill(0x11);
        await guest.run((g) => g.check(gpa, 4 * PAGE, 0xa5));
      },
      { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_prepare_memory_region, KVM_MEMSLOT_GMEM_ONLY; Linux 6.18' },
    );

    scenario(
      'file_without_MMAP_stays_unused_where_memory_is_shared',
      {
        needs: { ...PLAIN.needs, ...CACHESTAT, vmCaps: { KVM_CAP_GUEST_MEMFD: 1 }, guest: true },
        promise: 'arch/x86/kvm/mmu/mmu.c: kvm_mmu_faultin_pfn, Linux 6.18',
      },
      async (t) => {
        const backing = t.anonymous(4 * PAGE);
        backing.fill(0x5a);
        const { guest, file, gpa } = fileGuest(t, { ...GUEST_PROTECTED, private: false }, { pages: 4, backing });
        await guest.run((g) => {
          g.check(gpa, 4 * PAGE, 0x5a);
          g.fill(gpa, 4 * PAGE, 0xa5);
        });
        t.filledWith(backing.read(0, 4 * PAGE), 0xa5, 'memory at userspace_addr');
        t.same(heldIndexes(file), [], 'pages of the file');
      },
    );

    const shared = forGuests(scenario, [GUEST_SHARED]);

    shared(
      'host_and_guest_see_each_others_writes',
      async (t, kind) => {
        const { guest, file, gpa } = fileGuest(t, kind, { pages: 10, first: 2, slotPages: 6 });
        const map = t.map(file);
        for (let page = 0; page < 10; page++) map.fill(0x10 + page, { offset: page * PAGE, length: PAGE });
        await guest.run((g) => {
          for (let page = 0; page < 6; page++) g.check(gpa + page * PAGE, PAGE, 0x12 + page);
          for (let page = 0; page < 6; page++) g.fill(gpa + page * PAGE, PAGE, 0x80 + page);
        });
        for (let page = 0; page < 10; page++) {
          const byte = page >= 2 && page < 8 ? 0x80 + page - 2 : 0x10 + page;
          t.filledWith(map.read(page * PAGE, PAGE), byte, `page ${page} of the file`);
        }
      },
      { promise: 'Documentation/virt/kvm/api.rst: GUEST_MEMFD_FLAG_INIT_SHARED, Linux 6.18' },
    );

    shared(
      'host_may_unmap_while_the_guest_runs_on',
      async (t, kind) => {
        const { guest, file, gpa, pages } = fileGuest(t, kind);
        const map = file.map();
        map.fill(0xaa);
        map.close();
        await guest.run((g) => {
          g.check(gpa, pages * PAGE, 0xaa);
          g.fill(gpa, pages * PAGE, 0xff);
        });
        t.filledWith(t.map(file).read(0, pages * PAGE), 0xff, 'what a new mapping shows');
      },
      { promise: 'tools/testing/selftests/kvm/guest_memfd_test.c: test_guest_memfd_guest, Linux 6.18' },
    );

    shared('slot_without_userspace_addr_works_on_its_own_mapping_too', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind);
      const other = fileGuest(t, kind, { guest, slot: 2, pages: 4, gpa: FILE_GPA + 64 * PAGE, backing: t.map(file) });
      await guest.run((g) => {
        g.fill(gpa, pages * PAGE, 1);
        g.fill(other.gpa, 4 * PAGE, 2);
      });
      t.filledWith(t.map(file).read(0, pages * PAGE), 1, 'the first file');
      t.filledWith(t.map(other.file).read(0, 4 * PAGE), 2, 'the second file');
    });
  },
);
