/** Holes under a running guest: exactly the pages of the hole read zero, wherever slots lie in the file. */
import { MADV } from '../../../uapi/index.ts';
import { PAGE } from '../../file-kinds.ts';
import { FILE_GPA, fileGuest, findStamps, forGuests, GUEST_PROTECTED, GUEST_SHARED, stamp } from '../../gmem-guest.ts';
import { halted } from '../../guest.ts';
import { topic } from '../../scenario.ts';
import { GPA } from '../../slots.ts';

/** Punches a range of pages of the file; then the guest finds zeros in `zero` and its stamps elsewhere. */
const HOLES = [
  { from: 0, to: 3, zero: [], why: 'before the slot' },
  { from: 9, to: 12, zero: [], why: 'behind the slot' },
  { from: 12, to: 20, zero: [], why: 'behind the file' },
  { from: 2, to: 4, zero: [0], why: 'over the first page of the slot' },
  { from: 8, to: 10, zero: [5], why: 'over the last page of the slot' },
  { from: 3, to: 5, zero: [0, 1], why: 'from the first page on' },
  { from: 7, to: 9, zero: [4, 5], why: 'up to the last page' },
  { from: 5, to: 7, zero: [2, 3], why: 'inside the slot' },
  { from: 3, to: 9, zero: [0, 1, 2, 3, 4, 5], why: 'all of the slot' },
  { from: 0, to: 12, zero: [0, 1, 2, 3, 4, 5], why: 'all of the file' },
] as const;

export const guestMemfdGuestPunch = topic(
  'guest_memfd/guest_punch_hole',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_punch_hole, kvm_gmem_invalidate_begin; Linux 6.8' },
  (scenario) => {
    const each = forGuests(scenario);

    each('each_single_page', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 9, first: 2, slotPages: 5 });
      for (let page = 0; page < pages; page++) {
        await stamp(guest, { gpa, pages, salt: page });
        file.punchHole((page + 2) * PAGE, PAGE);
        await findStamps(t, guest, { gpa, pages, salt: page }, [page]);
      }
    });

    each('ranges_around_and_inside_the_slot', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 12, first: 3, slotPages: 6 });
      for (const { from, to, zero, why } of HOLES) {
        await stamp(guest, { gpa, pages, salt: from });
        t.accepted(file.raw.punchHole(from * PAGE, (to - from) * PAGE), `a hole ${why}`);
        await findStamps(t, guest, { gpa, pages, salt: from }, zero);
      }
    });

    each('over_two_slots_of_one_file', async (t, kind) => {
      const first = fileGuest(t, kind, { pages: 8, slotPages: 4, gpa: FILE_GPA + 64 * PAGE });
      const { guest, file } = first;
      const second = fileGuest(t, kind, { guest, file, slot: 2, first: 4, slotPages: 4 });
      const ranges = [
        { gpa: first.gpa, pages: 4, salt: 1 },
        { gpa: second.gpa, pages: 4, salt: 2 },
      ] as const;
      await stamp(guest, ...ranges);
      file.punchHole(3 * PAGE, 2 * PAGE);
      await findStamps(t, guest, ranges[0], [3]);
      await findStamps(t, guest, ranges[1], [0]);
      file.punchHole(2 * PAGE, 5 * PAGE);
      await findStamps(t, guest, ranges[0], [2, 3]);
      await findStamps(t, guest, ranges[1], [0, 1, 2]);
    });

    // The slot's first page has a larger index in the file than its frame has among the guest's.
    each('under_a_slot_far_into_the_file', async (t, kind) => {
      const { guest, file, gpa } = fileGuest(t, kind, { pages: 0x1_0000, first: 0x9000, slotPages: 4, gpa: GPA });
      await stamp(guest, { gpa, pages: 4 });
      file.punchHole(0x9001 * PAGE, PAGE);
      await findStamps(t, guest, { gpa, pages: 4 }, [1]);
      file.punchHole(0, 0x9003 * PAGE);
      await findStamps(t, guest, { gpa, pages: 4 }, [0, 1, 2]);
      file.punchHole(0, 0x1_0000 * PAGE);
      await findStamps(t, guest, { gpa, pages: 4 }, [0, 1, 2, 3]);
    });

    each('of_one_file_leaves_the_other', async (t, kind) => {
      const one = fileGuest(t, kind, { pages: 4 });
      const two = fileGuest(t, kind, { guest: one.guest, slot: 2, pages: 4, gpa: FILE_GPA + 4 * PAGE });
      const ranges = [
        { gpa: one.gpa, pages: 4, salt: 1 },
        { gpa: two.gpa, pages: 4, salt: 2 },
      ] as const;
      await stamp(one.guest, ...ranges);
      two.file.punchHole(0, 2 * PAGE);
      await findStamps(t, one.guest, ranges[0]);
      await findStamps(t, one.guest, ranges[1], [0, 1]);
    });

    each('hole_can_be_written_again', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      for (let round = 0; round < 4; round++) {
        const range = { gpa, pages, salt: round };
        await findStamps(t, guest, range, [0, 1, 2, 3]);
        await stamp(guest, range);
        await findStamps(t, guest, range);
        file.punchHole(0, pages * PAGE);
      }
    });

    each('refused_hole_leaves_everything', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      await stamp(guest, { gpa, pages });
      t.refused(file.raw.punchHole(1, PAGE), 'EINVAL', 'an unaligned offset');
      t.refused(file.raw.punchHole(0, 2 * PAGE - 1), 'EINVAL', 'an unaligned length');
      await findStamps(t, guest, { gpa, pages });
    });

    each('guest_that_spins_on_a_page_sees_the_hole', async (t, kind) => {
      const { guest, file, gpa } = fileGuest(t, kind, { pages: 4 });
      guest.load((g) => {
        g.store(gpa + PAGE, 7);
        g.report(0, 1);
        g.whileEqual(gpa + PAGE, 7);
        g.report(1, g.load(gpa + PAGE));
      });
      const run = guest.resume();
      await new Promise((resolve) => setTimeout(resolve, 20));
      file.punchHole(0, PAGE);
      file.punchHole(PAGE, PAGE);
      t.same(halted(await run).get(1), 0n, 'what the guest reads after the hole');
    });

    each('holes_while_the_guest_writes', async (t, kind) => {
      const { guest, file, gpa } = fileGuest(t, kind, { pages: 4 });
      guest.load((g) => {
        g.repeat(400, (i) => {
          g.store(gpa + PAGE, i.add(1));
          g.store(gpa + 3 * PAGE, i.add(1));
        });
        g.report(0, g.load(gpa + 3 * PAGE));
      });
      const run = guest.resume();
      for (let round = 0; round < 40; round++) {
        file.punchHole(PAGE, PAGE);
        if (round % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      t.same(halted(await run).get(0), 400n, 'the last value on a page that has no hole');
      await guest.run((g) => {
        g.store(gpa + PAGE, 5);
        g.report(0, g.load(gpa + PAGE));
      });
    });

    forGuests(scenario, [GUEST_SHARED])('hole_through_MADV_REMOVE', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind);
      const map = t.map(file);
      await stamp(guest, { gpa, pages });
      map.advise(MADV.value.MADV_REMOVE, { offset: 2 * PAGE, length: 2 * PAGE });
      await findStamps(t, guest, { gpa, pages }, [2, 3]);
    });

    forGuests(scenario, [GUEST_PROTECTED])('leaves_shared_memory_at_the_same_gpa', async (t, kind) => {
      const backing = t.anonymous(8 * PAGE);
      const { guest, file, gpa, pages } = fileGuest(t, kind, { backing });
      await stamp(guest, { gpa, pages, salt: 1 });
      guest.vm.setShared(gpa, pages * PAGE);
      await stamp(guest, { gpa, pages, salt: 2 });
      file.punchHole(0, pages * PAGE);
      await findStamps(t, guest, { gpa, pages, salt: 2 });
      guest.vm.setPrivate(gpa, pages * PAGE);
      await guest.run((g) => g.check(gpa, pages * PAGE, 0));
    });
  },
);
