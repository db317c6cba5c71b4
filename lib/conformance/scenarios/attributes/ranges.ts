/** Which frames KVM_SET_MEMORY_ATTRIBUTES changes: these, and no other. */
import { Frames, PRE_FAULT, span } from '../../pre-fault.ts';
import { topic } from '../../scenario.ts';
import { AREA, HUGE, PAGE, PRIVATE_VM } from '../../two-sided.ts';

export const attributesRanges = topic(
  'attributes/ranges',
  {
    promise: 'virt/kvm/kvm_main.c: kvm_vm_set_mem_attributes; Documentation/virt/kvm/api.rst 4.140, Linux 6.8',
    needs: { ...PRIVATE_VM, ...PRE_FAULT },
  },
  (scenario) => {
    scenario('all_is_shared_at_first', (t) => {
      new Frames(t, AREA).privateAre([], 16, 'in a fresh VM');
      new Frames(t, 0).privateAre([], 16, 'at 0');
    });

    scenario('exactly_the_range_changes', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(3, 7, true);
      frames.privateAre(span(3, 7), 10, 'after 3 to 6');
    });

    scenario('one_frame_changes_alone', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(4, 5, true);
      frames.privateAre([4], 8, 'after one');
      frames.set(4, 5, false);
      frames.privateAre([], 8, 'after it is shared again');
    });

    scenario('range_splits_in_the_middle', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(2, 12, true);
      frames.set(5, 8, false);
      frames.privateAre([...span(2, 5), ...span(8, 12)], 14, 'with a hole');
      frames.set(5, 8, true);
      frames.privateAre(span(2, 12), 14, 'with the hole closed');
    });

    scenario('both_ends_can_be_cut_off', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(2, 12, true);
      frames.set(0, 4, false);
      frames.privateAre(span(4, 12), 14, 'without its head');
      frames.set(10, 14, false);
      frames.privateAre(span(4, 10), 14, 'without its tail');
    });

    scenario('partly_private_range_becomes_private_as_a_whole', (t) => {
      // The first and the last frame are already so: it is not enough to look at one of them.
      const frames = new Frames(t, AREA);
      for (const [from, to] of [
        [0, 2],
        [4, 5],
        [6, 8],
      ] as const)
        frames.set(from, to, true);
      frames.set(0, 8, true);
      frames.privateAre(span(0, 8), 10, 'after all of it');
    });

    scenario('partly_shared_range_becomes_shared_as_a_whole', (t) => {
      const frames = new Frames(t, AREA);
      for (const [from, to] of [
        [1, 2],
        [4, 7],
      ] as const)
        frames.set(from, to, true);
      frames.set(0, 8, false);
      frames.privateAre([], 10, 'after all of it');
    });

    scenario('private_at_one_end_only_is_no_uniform_range', (t) => {
      const head = new Frames(t, AREA);
      head.set(0, 3, true);
      head.set(0, 6, true);
      head.privateAre(span(0, 6), 8, 'when the head was private');
      const tail = new Frames(t, AREA);
      tail.set(3, 6, true);
      tail.set(0, 6, true);
      tail.privateAre(span(0, 6), 8, 'when the tail was private');
      tail.set(5, 7, false);
      tail.privateAre(span(0, 5), 8, 'when the last frame was shared before');
    });

    scenario('last_frame_alone_is_enough_to_do_something', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(7, 8, true);
      frames.set(0, 8, false);
      frames.privateAre([], 9, 'after the only private frame was the last');
      frames.set(0, 7, true);
      frames.set(0, 8, true);
      frames.privateAre(span(0, 8), 9, 'after the only shared frame was the last');
    });

    scenario('neighbour_behind_the_range_does_not_count', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(4, 6, true);
      frames.set(2, 4, false);
      frames.privateAre([4, 5], 8, 'after a range before it was made shared, as it was');
      frames.set(2, 4, true);
      frames.set(4, 6, false);
      frames.privateAre([2, 3], 8, 'after the range behind it');
    });

    scenario('adjacent_ranges_join', (t) => {
      const frames = new Frames(t, AREA);
      frames.set(0, 3, true);
      frames.set(3, 6, true);
      frames.privateAre(span(0, 6), 8, 'after two calls');
      frames.set(1, 5, false);
      frames.privateAre([0, 5], 8, 'after a range over the seam');
    });

    scenario('same_state_again_is_accepted', (t) => {
      const frames = new Frames(t, AREA);
      for (let round = 0; round < 3; round++) frames.set(1, 3, true);
      frames.privateAre([1, 2], 4, 'after three times private');
      for (let round = 0; round < 3; round++) frames.set(0, 4, false);
      frames.privateAre([], 4, 'after three times shared');
    });

    scenario('ranges_over_a_2M_boundary', (t) => {
      const frames = new Frames(t, AREA + HUGE - 4 * PAGE);
      frames.set(1, 7, true);
      frames.privateAre(span(1, 7), 9, 'over the boundary');
      frames.set(4, 9, false);
      frames.privateAre(span(1, 4), 9, 'cut at the boundary');
    });

    scenario('every_frame_of_a_large_range', (t) => {
      const frames = new Frames(t, AREA + 3 * PAGE);
      const pages = (2 * HUGE) / PAGE;
      frames.set(0, pages, true);
      frames.privateAre(span(0, pages), pages + 2, 'of 4 MiB');
      frames.set(1, pages - 1, false);
      frames.privateAre([0, pages - 1], pages + 2, 'of 4 MiB but their inside');
    });

    scenario('random_ranges', (t) => {
      const frames = new Frames(t, AREA);
      const count = 40;
      const model = new Set<number>();
      for (let round = 0; round < 60; round++) {
        const from = t.random.below(count);
        const to = from + 1 + t.random.below(count - from);
        const isPrivate = t.random.below(2) === 1;
        frames.set(from, to, isPrivate);
        for (let i = from; i < to; i++) isPrivate ? model.add(i) : model.delete(i);
        const expected = [...model].sort((a, b) => a - b);
        frames.privateAre(expected, count + 2, `after call ${round + 1}`);
      }
    });

    scenario('VMs_have_attributes_of_their_own', (t) => {
      const [one, two] = [new Frames(t, AREA), new Frames(t, AREA)];
      one.set(0, 4, true);
      two.set(6, 8, true);
      one.privateAre(span(0, 4), 10, 'of the first VM');
      two.privateAre([6, 7], 10, 'of the second VM');
    });

    scenario('attributes_end_with_their_VM', (t) => {
      for (let round = 0; round < 4; round++) {
        const frames = new Frames(t, AREA);
        frames.privateAre([], 4, `in VM ${round + 1}`);
        frames.set(0, 4, true);
        frames.vm.close();
      }
    });
  },
);
