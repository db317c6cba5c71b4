/** Requests for a slot that exists: what may change, and what a refusal leaves. */

import type { Vm } from '../../../kvm/vm.ts';
import type { Context } from '../../context.ts';
import { PAGE } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import { coveredPages, forRequests, GPA, LOG_DIRTY, READONLY, type SetRegion } from '../../slots.ts';

/** The slot is where and what it was: restating it is no change, and would be refused if anything differed. */
function unchanged(t: Context, vm: Vm, set: SetRegion, fields: Parameters<SetRegion>[1]): void {
  t.accepted(set(vm, fields), 'restating the slot as it was');
  t.same(coveredPages(t, vm, GPA - PAGE, 6), [false, true, true, true, true, false], 'pages that are covered');
}

export const memslotChange = topic(
  'memslot/change',
  { promise: 'virt/kvm/kvm_main.c: kvm_set_memory_region; before Linux 6.1', needs: { vmType: 'default' } },
  (scenario) => {
    const each = forRequests(scenario);

    each('restating_a_slot_is_accepted', (t, set) => {
      const vm = t.vm();
      const { hva } = t.anonymous(4 * PAGE);
      for (const [i, flags] of [0, LOG_DIRTY, READONLY, LOG_DIRTY | READONLY].entries()) {
        const fields = { slot: i, gpa: GPA * (i + 1), hva, flags };
        for (let round = 0; round < 3; round++) t.accepted(set(vm, fields), `flags ${flags}, round ${round}`);
      }
    });

    each('other_size_is_EINVAL', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'four pages');
      for (const size of [PAGE, 3 * PAGE, 5 * PAGE, 8 * PAGE])
        t.refused(set(vm, { size }), 'EINVAL', `${size} bytes in place of four pages`);
      unchanged(t, vm, set, {});
    });

    each('other_hva_is_EINVAL', (t, set) => {
      const vm = t.vm();
      const { hva } = t.anonymous(8 * PAGE);
      t.accepted(set(vm, { hva }), 'slot 1');
      for (const other of [hva + PAGE, hva + 4 * PAGE, 0]) {
        t.refused(set(vm, { hva: other }), 'EINVAL', 'another hva');
        t.refused(set(vm, { hva: other, gpa: GPA + 8 * PAGE }), 'EINVAL', 'another hva and another gpa');
      }
      unchanged(t, vm, set, { hva });
    });

    each('READONLY_cannot_be_added', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'slot 1');
      for (const flags of [READONLY, READONLY | LOG_DIRTY]) {
        t.refused(set(vm, { flags }), 'EINVAL', `flags ${flags}`);
        t.refused(set(vm, { flags, gpa: GPA + 8 * PAGE }), 'EINVAL', `flags ${flags} while moving`);
      }
      unchanged(t, vm, set, {});
    });

    each('READONLY_cannot_be_taken_away', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm, { flags: READONLY }), 'slot 1');
      for (const flags of [0, LOG_DIRTY]) t.refused(set(vm, { flags }), 'EINVAL', `flags ${flags}`);
      unchanged(t, vm, set, { flags: READONLY });
    });

    each('LOG_DIRTY_PAGES_can_be_turned_on_and_off', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'slot 1');
      for (const flags of [LOG_DIRTY, 0, LOG_DIRTY, 0]) t.accepted(set(vm, { flags }), `flags ${flags}`);
      unchanged(t, vm, set, {});
      t.accepted(set(vm, { slot: 2, gpa: 2 * GPA, flags: READONLY }), 'slot 2');
      for (const flags of [READONLY | LOG_DIRTY, READONLY])
        t.accepted(set(vm, { slot: 2, gpa: 2 * GPA, flags }), `flags ${flags} of a read-only slot`);
    });

    each('move_and_flags_may_change_at_once', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm, { gpa: 2 * GPA }), 'slot 1');
      t.accepted(set(vm, { flags: LOG_DIRTY }), 'moving and logging');
      unchanged(t, vm, set, { flags: LOG_DIRTY });
    });

    each('unknown_flag_is_EINVAL_for_a_slot_that_exists', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'slot 1');
      for (const flags of [8, 1 << 16, 1 << 17, (1 << 31) >>> 0])
        t.refused(set(vm, { flags }), 'EINVAL', `flags 0x${flags.toString(16)}`);
      unchanged(t, vm, set, {});
    });

    each('deletion_leaves_the_neighbours', (t, set) => {
      const vm = t.vm();
      for (const i of [0, 1, 2]) t.accepted(set(vm, { slot: i, gpa: GPA + i * 2 * PAGE, size: 2 * PAGE }), `slot ${i}`);
      t.accepted(set(vm, { slot: 1, size: 0 }), 'deleting the middle one');
      t.same(coveredPages(t, vm, GPA, 6), [true, true, false, false, true, true], 'pages that are covered');
      for (const i of [0, 2])
        t.accepted(set(vm, { slot: i, gpa: GPA + i * 2 * PAGE, size: 2 * PAGE }), `restating slot ${i}`);
    });

    each('slots_of_two_vms_are_apart', (t, set) => {
      const [one, two] = [t.vm(), t.vm()];
      t.accepted(set(one), 'slot 1 of the first VM');
      t.refused(set(two, { size: 0 }), 'EINVAL', 'deleting it in the second');
      t.accepted(set(two, { gpa: GPA + PAGE }), 'slot 1 of the second VM');
      t.accepted(set(one, { size: 0 }), 'deleting the first one');
      t.same(coveredPages(t, two, GPA, 6), [false, true, true, true, true, false], 'pages of the second VM');
    });
  },
);
