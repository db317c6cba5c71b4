/** Huge pages: KVM may map 2 MiB of shared memory at once, but never over a frame that is private. */
import type { X64Builder } from '../../../guest/x64/builder.ts';
import type { Vm } from '../../../kvm/vm.ts';
import type { Context } from '../../context.ts';
import { handedOver, phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, HUGE, PAGE, PRIVATE_GUEST, type TwoSided, type TwoSidedOptions, twoSided } from '../../two-sided.ts';

/** A shared side that the host backs by huge pages where it can: private anonymous memory, aligned as the guest's. */
function hugeSided(
  t: Context,
  vm: Vm,
  size: number,
  options: Partial<TwoSidedOptions> = {},
): TwoSided & { readonly at: number } {
  const shared = t.anonymous(size + HUGE, { shared: false });
  const at = HUGE - (shared.hva % HUGE);
  shared.fill(0x11, { offset: at, length: size });
  return { ...twoSided(t, vm, { ...options, size, shared, sharedOffset: at }), at };
}

const read = (g: X64Builder, tag: number, page: number): void => g.report(tag, g.load(AREA + page * PAGE));
const SHARED = 0x1111_1111_1111_1111n;
const LAST = HUGE / PAGE - 1;

export const attributesHugePages = topic(
  'attributes/huge_pages',
  {
    promise:
      'arch/x86/kvm/mmu/mmu.c: kvm_arch_pre_set_memory_attributes, kvm_arch_post_set_memory_attributes, kvm_mmu_init_memslot_memory_attributes, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    for (const [words, page] of [
      ['first', 0],
      ['middle', 200],
      ['last', LAST],
    ] as const) {
      const other = page === 200 ? 201 : 200;
      scenario(`${words}_frame_private_before_the_guest_came`, async (t) => {
        const vm = t.vm();
        hugeSided(t, vm, 2 * HUGE);
        vm.setPrivate(AREA + page * PAGE, PAGE);
        const reports = await phases(t.guest({ vm }), (g) => {
          read(g, 0, other);
          read(g, 1, page);
          read(g, 2, LAST + 1);
        });
        t.same(
          [reports.get(0), reports.get(1), reports.get(2)],
          [SHARED, 0n, SHARED],
          'a neighbour, the private frame, the next 2 MiB',
        );
      });

      scenario(`${words}_frame_made_private_under_the_guest`, async (t) => {
        const vm = t.vm();
        const { shared, at } = hugeSided(t, vm, 2 * HUGE);
        const reports = await phases(
          t.guest({ vm }),
          (g) => {
            g.touch(AREA, 2 * HUGE);
            read(g, 9, other);
            turn(g);
            read(g, 0, other);
            read(g, 1, page);
            g.store(AREA + page * PAGE, 5);
            g.store(AREA + other * PAGE, 6);
            read(g, 2, page);
          },
          () => vm.setPrivate(AREA + page * PAGE, PAGE),
        );
        t.same(
          [reports.get(0), reports.get(1), reports.get(2)],
          [SHARED, 0n, 5n],
          'a neighbour, the private frame, what was stored there',
        );
        t.same(
          [shared.readU64(at + page * PAGE), shared.readU64(at + other * PAGE)],
          [SHARED, 6n],
          'the shared side of both',
        );
      });

      scenario(`${words}_frame_private_before_there_was_a_slot`, async (t) => {
        const vm = t.vm();
        vm.setPrivate(AREA + page * PAGE, PAGE);
        hugeSided(t, vm, 2 * HUGE);
        const reports = await phases(t.guest({ vm }), (g) => {
          read(g, 0, other);
          read(g, 1, page);
        });
        t.same([reports.get(0), reports.get(1)], [SHARED, 0n], 'a neighbour and the private frame');
      });
    }

    scenario('range_that_ends_within_2M', async (t) => {
      // The second 2 MiB are private in their first half only, by the tail of a range that covers the first ones.
      const vm = t.vm();
      hugeSided(t, vm, 3 * HUGE);
      vm.setPrivate(AREA, HUGE + HUGE / 2);
      const half = (HUGE + HUGE / 2) / PAGE;
      const reports = await phases(t.guest({ vm }), (g) => {
        for (const [i, page] of [half, half - 1, LAST + 1, LAST, 0, 2 * (LAST + 1)].entries()) read(g, i, page);
      });
      t.same([...reports.values()], [SHARED, 0n, 0n, 0n, 0n, SHARED], 'frames on both sides of each boundary');
    });

    scenario('range_that_begins_within_2M', async (t) => {
      const vm = t.vm();
      hugeSided(t, vm, 3 * HUGE);
      vm.setPrivate(AREA + HUGE / 2, HUGE + HUGE / 2);
      const half = HUGE / 2 / PAGE;
      const reports = await phases(t.guest({ vm }), (g) => {
        for (const [i, page] of [half - 1, half, LAST, LAST + 1, 2 * (LAST + 1) - 1, 2 * (LAST + 1)].entries())
          read(g, i, page);
      });
      t.same([...reports.values()], [SHARED, 0n, 0n, 0n, 0n, SHARED], 'frames on both sides of each boundary');
    });

    scenario('shared_frame_within_private_2M', async (t) => {
      const vm = t.vm();
      const { shared, at } = hugeSided(t, vm, HUGE);
      vm.setPrivate(AREA, HUGE);
      const reports = await phases(
        t.guest({ vm }),
        (g) => {
          g.store(AREA + 7 * PAGE, 7);
          g.store(AREA + 8 * PAGE, 8);
          turn(g);
          read(g, 0, 7);
          g.store(AREA + 7 * PAGE, 9);
          read(g, 1, 8);
        },
        () => vm.setShared(AREA + 7 * PAGE, PAGE),
      );
      t.same([reports.get(0), reports.get(1)], [SHARED, 8n], 'the shared frame and its neighbour');
      t.same([shared.readU64(at + 7 * PAGE), shared.readU64(at + 8 * PAGE)], [9n, SHARED], 'the shared side of both');
    });

    scenario('mixed_2M_stay_mixed_until_the_last_frame', async (t) => {
      // Two private frames; one becomes shared again: the other still forbids a huge page.
      const vm = t.vm();
      hugeSided(t, vm, HUGE);
      vm.setPrivate(AREA + 10 * PAGE, PAGE);
      vm.setPrivate(AREA + 400 * PAGE, PAGE);
      vm.setShared(AREA + 10 * PAGE, PAGE);
      const reports = await phases(
        t.guest({ vm }),
        (g) => {
          g.touch(AREA, HUGE);
          read(g, 0, 10);
          read(g, 1, 400);
          turn(g);
          read(g, 2, 10);
          read(g, 3, 400);
        },
        () => vm.setShared(AREA + 400 * PAGE, PAGE),
      );
      t.same(
        [0, 1, 2, 3].map((tag) => reports.get(tag)),
        [SHARED, 0n, SHARED, SHARED],
        'both frames before and after',
      );
    });

    scenario('range_made_shared_leaves_mixed_neighbours', async (t) => {
      const vm = t.vm();
      hugeSided(t, vm, 2 * HUGE);
      vm.setPrivate(AREA + 3 * PAGE, PAGE);
      vm.setPrivate(AREA + HUGE + 300 * PAGE, PAGE);
      // A range that straddles the boundary and touches neither.
      vm.setPrivate(AREA + HUGE - 4 * PAGE, 8 * PAGE);
      vm.setShared(AREA + HUGE - 4 * PAGE, 8 * PAGE);
      const reports = await phases(t.guest({ vm }), (g) => {
        g.touch(AREA, 2 * HUGE);
        for (const [i, page] of [LAST, 3, LAST + 1, LAST + 1 + 300].entries()) read(g, i, page);
      });
      t.same([...reports.values()], [SHARED, 0n, SHARED, 0n], 'a shared and a private frame of each 2 MiB');
    });

    scenario('slot_that_begins_and_ends_within_2M', async (t) => {
      const vm = t.vm();
      const gpa = AREA + HUGE / 2;
      const backing = t.anonymous(3 * HUGE, { shared: false });
      const sharedOffset = HUGE - (backing.hva % HUGE) + HUGE / 2;
      backing.fill(0x11);
      vm.setPrivate(AREA, PAGE);
      twoSided(t, vm, { gpa, size: HUGE, shared: backing, sharedOffset });
      vm.setPrivate(gpa + HUGE - PAGE, 5 * PAGE);
      vm.setPrivate(gpa, PAGE);
      const reports = await phases(t.guest({ vm }), (g) => {
        g.touch(AREA, 2 * HUGE);
        for (const [i, at] of [gpa + PAGE, gpa, gpa + HUGE - 2 * PAGE, gpa + HUGE - PAGE].entries())
          g.report(i, g.load(at));
      });
      t.same([...reports.values()], [SHARED, 0n, SHARED, 0n], 'frames at both ends of the slot');
    });

    scenario('random_conversions_of_frames', { timeoutMs: 30_000 }, async (t) => {
      const vm = t.vm();
      hugeSided(t, vm, 2 * HUGE);
      const frames = (2 * HUGE) / PAGE;
      const model = new Uint8Array(frames);
      const guest = t.guest({ vm });
      const looked = [0, 1, 255, 511, 512, 513, 800, 1023];
      guest.load((g) => {
        g.touch(AREA, 2 * HUGE);
        g.loopForever(() => {
          for (const [tag, page] of looked.entries()) read(g, tag, page);
          turn(g);
        });
      });
      for (let round = 0; round < 25; round++) {
        const from = t.random.pick([0, 1, 2, 255, 256, 511, 512, 513, 800, 1022]);
        const to = Math.min(frames, from + t.random.pick([1, 1, 2, 256, 511, 512, 513, 1024]));
        const isPrivate = t.random.below(2) === 1;
        vm.setMemoryAttributes(AREA + from * PAGE, (to - from) * PAGE, isPrivate ? 8 : 0);
        model.fill(isPrivate ? 1 : 0, from, to);
        const reports = handedOver(await guest.resume());
        t.same(
          looked.map((_, tag) => reports.get(tag)),
          looked.map((page) => (model[page] === 1 ? 0n : SHARED)),
          `frames ${looked.join(', ')} after conversion ${round + 1}`,
        );
      }
    });
  },
);
