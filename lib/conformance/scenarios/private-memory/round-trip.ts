/** Frames that change sides while a guest uses them: each side keeps its contents until somebody frees them. */
import { addressPattern } from '../../../guest/index.ts';
import { phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const SIZE = 4 * PAGE;

export const privateMemoryRoundTrip = topic(
  'private_memory/round_trip',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_vm_set_mem_attributes; arch/x86/kvm/mmu/mmu.c: kvm_arch_pre_set_memory_attributes, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('mapped_shared_page_is_left_when_it_becomes_private', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x11);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.check(AREA, SIZE, 0x11);
          g.fill(AREA, SIZE, 0x12);
          turn(g);
          g.check(AREA, SIZE, 0);
          g.fill(AREA, SIZE, 0x22);
        },
        () => vm.setPrivate(AREA, SIZE),
      );
      t.filledWith(shared.read(0, SIZE), 0x12, 'the shared side');
    });

    scenario('mapped_private_page_is_left_when_it_becomes_shared', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x11);
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x22);
          turn(g);
          g.check(AREA, SIZE, 0x11);
          g.fill(AREA, SIZE, 0x13);
        },
        () => vm.setShared(AREA, SIZE),
      );
      t.filledWith(shared.read(0, SIZE), 0x13, 'the shared side after the guest wrote there');
    });

    scenario('stale_private_data_shows_again', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, addressPattern(7));
          turn(g);
          g.fill(AREA, SIZE, 0x44);
          turn(g);
          g.check(AREA, SIZE, addressPattern(7));
        },
        () => vm.setShared(AREA, SIZE),
        () => vm.setPrivate(AREA, SIZE),
      );
      t.filledWith(shared.read(0, SIZE), 0x44, 'the shared side, as stale as the other');
    });

    scenario('neighbours_keep_side_and_contents', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, PAGE);
      vm.setPrivate(AREA + 3 * PAGE, PAGE);
      shared.fill(0x11);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x21);
          turn(g);
          g.check(AREA, PAGE, 0x21);
          g.check(AREA + PAGE, PAGE, 0);
          g.check(AREA + 2 * PAGE, 2 * PAGE, 0x21);
          turn(g);
          g.check(AREA, PAGE, 0x11);
          g.check(AREA + 2 * PAGE, 2 * PAGE, 0x21);
        },
        () => vm.setPrivate(AREA + PAGE, PAGE),
        () => vm.setShared(AREA, PAGE),
      );
      t.filledWith(shared.read(0, PAGE), 0x11, 'shared side of page 0');
      t.filledWith(shared.read(PAGE, 2 * PAGE), 0x21, 'shared side of pages 1 and 2');
      t.filledWith(shared.read(3 * PAGE, PAGE), 0x11, 'shared side of page 3');
    });

    scenario('every_frame_of_the_range_changes', async (t) => {
      // One range over many frames, all of which the guest has mapped.
      const vm = t.vm();
      const size = 67 * PAGE;
      const { shared } = twoSided(t, vm, { size });
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, size, 0x11);
          turn(g);
          g.check(AREA, size, 0);
          g.fill(AREA, size, addressPattern(9));
          turn(g);
          g.check(AREA, size, 0x11);
          turn(g);
          g.check(AREA, size, addressPattern(9));
        },
        () => vm.setPrivate(AREA, size),
        () => vm.setShared(AREA, size),
        () => vm.setPrivate(AREA, size),
      );
      t.filledWith(shared.read(0, size), 0x11, 'the shared side');
    });

    scenario('same_state_again_keeps_contents', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, 2 * PAGE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, addressPattern(4));
          turn(g);
          g.check(AREA, SIZE, addressPattern(4));
        },
        () => {
          vm.setPrivate(AREA, 2 * PAGE);
          vm.setShared(AREA + 2 * PAGE, 2 * PAGE);
        },
      );
    });

    scenario('shared_memory_is_found_again_after_writes_of_the_host', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x11);
          turn(g);
          g.fill(AREA, SIZE, 0x22);
          turn(g);
          g.check(AREA, SIZE, 0x33);
        },
        () => vm.setPrivate(AREA, SIZE),
        () => {
          shared.fill(0x33);
          vm.setShared(AREA, SIZE);
        },
      );
    });

    scenario('many_round_trips', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: SIZE });
      const rounds = 20;
      const flips = Array.from(
        { length: 2 * rounds },
        (_, i) => () => vm.setMemoryAttributes(AREA, SIZE, i % 2 === 0 ? 8 : 0),
      );
      await phases(
        t.guest({ vm }),
        (g) => {
          g.store(AREA, 1);
          turn(g);
          g.repeat(rounds - 1, (i) => {
            g.store(AREA, i.add(1000));
            turn(g);
            g.store(AREA, i.add(2));
            turn(g);
          });
          g.report(0, g.load(AREA));
          turn(g);
          g.report(1, g.load(AREA));
        },
        ...flips,
      ).then((reports) =>
        t.same(
          [reports.get(0), reports.get(1)],
          [BigInt(1000 + rounds - 2), BigInt(rounds)],
          'last private and last shared value',
        ),
      );
    });
  },
);
