/** FALLOC_FL_PUNCH_HOLE under a slot, as the guest sees it. */
import { phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const SIZE = 4 * PAGE;

export const privateMemoryPunch = topic(
  'private_memory/punch_hole',
  {
    promise: 'virt/kvm/guest_memfd.c: kvm_gmem_punch_hole, __kvm_gmem_invalidate_start, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('punched_private_page_is_zero', async (t) => {
      const vm = t.vm();
      const { file, shared } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x11);
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x21);
          turn(g);
          g.check(AREA, PAGE, 0x21);
          g.check(AREA + PAGE, 2 * PAGE, 0);
          g.check(AREA + 3 * PAGE, PAGE, 0x21);
          g.fill(AREA, SIZE, 0x22);
          g.check(AREA, SIZE, 0x22);
        },
        () => file.punchHole(PAGE, 2 * PAGE),
      );
      t.filledWith(shared.read(0, SIZE), 0x11, 'the shared side');
    });

    scenario('mapped_pages_are_left_at_once', async (t) => {
      // Were they not, the guest would go on writing to a page that is somebody else's by now.
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.store(AREA, 1);
          turn(g);
          g.report(0, g.load(AREA));
          g.store(AREA + 8, 2);
          turn(g);
          g.check(AREA, PAGE, 0);
        },
        () => file.punchHole(0, SIZE),
        () => {
          t.same(file.residency().cache, 1, 'pages after the guest touched one again');
          file.punchHole(0, PAGE);
        },
      ).then((reports) => t.same(reports.get(0), 0n, 'what the guest reads after the punch'));
    });

    scenario('hole_while_shared_shows_when_private_again', async (t) => {
      const vm = t.vm();
      const { file, shared } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x21);
          turn(g);
          g.fill(AREA, SIZE, 0x31);
          turn(g);
          g.check(AREA, PAGE, 0x21);
          g.check(AREA + PAGE, PAGE, 0);
          g.check(AREA + 2 * PAGE, 2 * PAGE, 0x21);
        },
        () => {
          vm.setShared(AREA, SIZE);
          file.punchHole(PAGE, PAGE);
        },
        () => vm.setPrivate(AREA, SIZE),
      );
      t.filledWith(shared.read(0, SIZE), 0x31, 'the shared side');
    });

    scenario('hole_under_shared_memory_leaves_it', async (t) => {
      const vm = t.vm();
      const { file, shared } = twoSided(t, vm, { size: SIZE });
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x31);
          turn(g);
          g.check(AREA, SIZE, 0x31);
        },
        () => file.punchHole(0, SIZE),
      );
      t.filledWith(shared.read(0, SIZE), 0x31, 'the shared side');
    });

    scenario('hole_finds_its_pages_by_the_offset_of_the_slot', async (t) => {
      // The slot shows pages 3 to 6 of the file.
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: SIZE, offset: 3 * PAGE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x21);
          turn(g);
          g.check(AREA, SIZE, 0x21);
          turn(g);
          g.check(AREA, PAGE, 0);
          g.check(AREA + PAGE, 3 * PAGE, 0x21);
          turn(g);
          g.check(AREA + PAGE, PAGE, 0x21);
          g.check(AREA + 2 * PAGE, 2 * PAGE, 0);
        },
        () => file.punchHole(0, 3 * PAGE),
        () => file.punchHole(PAGE, 3 * PAGE),
        () => file.punchHole(5 * PAGE, 2 * PAGE),
      );
    });

    scenario('hole_over_several_slots_of_one_file', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, 6 * PAGE);
      const gap = 64 * PAGE;
      const gpas = [AREA + 2 * gap, AREA, AREA + gap];
      gpas.forEach((gpa, i) => {
        twoSided(t, vm, { slot: i, gpa, size: 2 * PAGE, file, offset: 2 * PAGE * i });
      });
      vm.setPrivate(AREA, 3 * gap);
      const pages = gpas.flatMap((gpa) => [gpa, gpa + PAGE]);
      await phases(
        t.guest({ vm }),
        (g) => {
          for (const [i, gpa] of pages.entries()) g.fill(gpa, PAGE, 0x30 + i);
          turn(g);
          for (const [i, gpa] of pages.entries()) g.check(gpa, PAGE, i === 0 || i === 5 ? 0x30 + i : 0);
        },
        () => file.punchHole(PAGE, 4 * PAGE),
      );
    });

    scenario('hole_beyond_the_bound_range_touches_nothing', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, 8 * PAGE);
      twoSided(t, vm, { size: 2 * PAGE, file, offset: 2 * PAGE });
      vm.setPrivate(AREA, 2 * PAGE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, 2 * PAGE, 0x21);
          turn(g);
          g.check(AREA, 2 * PAGE, 0x21);
        },
        () => {
          file.punchHole(0, 2 * PAGE);
          file.punchHole(4 * PAGE, 4 * PAGE);
          file.punchHole(8 * PAGE, 64 * PAGE);
        },
      );
      t.same(file.residency().cache, 2, 'pages of the file');
    });

    scenario('allocation_keeps_contents', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA + PAGE, PAGE, 0x21);
          turn(g);
          g.check(AREA, PAGE, 0);
          g.check(AREA + PAGE, PAGE, 0x21);
          g.check(AREA + 2 * PAGE, 2 * PAGE, 0);
        },
        () => file.allocate(0, SIZE),
      );
    });

    scenario('hole_and_allocation_give_zero', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x21);
          turn(g);
          g.check(AREA, SIZE, 0);
        },
        () => {
          file.punchHole(0, SIZE);
          file.allocate(0, SIZE);
        },
      );
    });
  },
);
