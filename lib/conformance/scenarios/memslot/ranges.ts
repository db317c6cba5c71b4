/** Where slots may be: no two over one gpa. Creating, moving. */
import type { Context } from '../../context.ts';
import { PAGE } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import { coveredPages, deleted, forRequests, GPA, setRegion } from '../../slots.ts';

const at = (page: number): number => GPA + page * PAGE;
/** Ranges of pages against a slot over [4, 8). */
const OVERLAPPING = [
  [4, 8],
  [3, 5],
  [7, 9],
  [3, 9],
  [5, 7],
  [4, 5],
  [7, 8],
  [0, 5],
  [4, 12],
] as const;
const APART = [
  [3, 4],
  [8, 9],
  [0, 4],
  [8, 16],
] as const;

export const memslotRanges = topic(
  'memslot/ranges',
  {
    promise: 'virt/kvm/kvm_main.c: kvm_check_memslot_overlap; before Linux 6.1',
    needs: { vmType: 'default' },
  },
  (scenario) => {
    const each = forRequests(scenario);

    each('overlapping_slot_is_EEXIST', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm, { gpa: at(4) }), 'slot 1');
      for (const [from, to] of OVERLAPPING) {
        const fields = { slot: 2, gpa: at(from), size: (to - from) * PAGE };
        t.refused(set(vm, fields), 'EEXIST', `pages ${from} to ${to - 1} beside 4 to 7`);
      }
      t.same([deleted(vm, 2), deleted(vm, 1)], [false, true], 'slots afterwards');
    });

    each('neighbouring_slots_are_accepted', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm, { gpa: at(4) }), 'slot 1');
      for (const [from, to] of APART) {
        const fields = { slot: 2, gpa: at(from), size: (to - from) * PAGE };
        t.accepted(set(vm, fields), `pages ${from} to ${to - 1} beside 4 to 7`);
        t.accepted(set(vm, { slot: 2, size: 0 }), 'deleting it');
      }
    });

    each('overlap_is_found_among_many_slots', (t, set) => {
      const vm = t.vm();
      const count = 64;
      const order = shuffled(t, count);
      for (const i of order) t.accepted(set(vm, { slot: i, gpa: at(3 * i), size: 2 * PAGE }), `slot ${i}`);
      const covered = Array.from({ length: 3 * count }, (_, page) => page % 3 < 2);
      t.same(coveredPages(t, vm, GPA, 3 * count), covered, 'pages that are covered');
      for (let i = 0; i < count - 1; i += 7)
        t.refused(set(vm, { slot: 100, gpa: at(3 * i + 2), size: 2 * PAGE }), 'EEXIST', `a slot into slot ${i + 1}`);
    });

    each('move_onto_another_slot_is_EEXIST', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm, { slot: 1, gpa: at(4) }), 'slot 1');
      t.accepted(set(vm, { slot: 2, gpa: at(20), size: 2 * PAGE }), 'slot 2');
      for (const page of [3, 4, 5, 6, 7])
        t.refused(set(vm, { slot: 2, gpa: at(page), size: 2 * PAGE }), 'EEXIST', `moving slot 2 to page ${page}`);
      const covered = Array.from({ length: 24 }, (_, page) => (page >= 4 && page < 8) || page === 20 || page === 21);
      t.same(coveredPages(t, vm, GPA, 24), covered, 'pages that are covered');
      for (const page of [2, 8]) t.accepted(set(vm, { slot: 2, gpa: at(page), size: 2 * PAGE }), `to page ${page}`);
    });

    each('move_over_its_own_range_is_accepted', (t, set) => {
      const vm = t.vm();
      let page = 8;
      t.accepted(set(vm, { gpa: at(page) }), 'slot 1');
      for (const by of [1, -1, 3, -2, 4, -4]) {
        page += by;
        t.accepted(set(vm, { gpa: at(page) }), `moving by ${by} pages`);
        const covered = Array.from({ length: 20 }, (_, i) => i >= page && i < page + 4);
        t.same(coveredPages(t, vm, GPA, 20), covered, `pages that are covered after moving by ${by}`);
      }
    });

    each('move_beyond_what_the_host_can_map_is_EINVAL_and_leaves_the_slot', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'slot 1');
      t.refused(set(vm, { gpa: 1n << 60n }), 'EINVAL', 'moving it to 2^60');
      t.same(coveredPages(t, vm, GPA - PAGE, 6), [false, true, true, true, true, false], 'pages that are covered');
      t.accepted(set(vm, { gpa: 2 * GPA }), 'moving it elsewhere');
      t.same(coveredPages(t, vm, GPA, 4), [false, false, false, false], 'the old place');
    });

    each('deleted_range_can_be_taken_by_another_slot', (t, set) => {
      const vm = t.vm();
      for (let round = 0; round < 3; round++) {
        for (const slot of [1, 2]) {
          t.accepted(set(vm, { slot }), `slot ${slot}`);
          t.refused(set(vm, { slot: 3 - slot }), 'EEXIST', 'the other one at the same time');
          t.accepted(set(vm, { slot, size: 0 }), `deleting slot ${slot}`);
        }
      }
      t.same(coveredPages(t, vm, GPA, 4), [false, false, false, false], 'pages that are covered');
    });

    scenario('random_creations_moves_and_deletions_follow_the_model', (t) => {
      const vm = t.vm();
      const model = new Map<number, { page: number; pages: number }>();
      const space = 48;
      const isFree = (id: number, page: number, pages: number): boolean =>
        [...model].every(
          ([other, slot]) => other === id || page + pages <= slot.page || page >= slot.page + slot.pages,
        );
      for (let step = 0; step < 300; step++) {
        const id = t.random.below(8);
        const known = model.get(id);
        if (known !== undefined && t.random.below(3) === 0) {
          t.accepted(setRegion(vm, { slot: id, size: 0 }), `step ${step}: deleting ${id}`);
          model.delete(id);
          continue;
        }
        const pages = known?.pages ?? 1 + t.random.below(8);
        const page = t.random.below(space - pages + 1);
        const result = setRegion(vm, { slot: id, gpa: at(page), size: pages * PAGE });
        const what = `step ${step}: slot ${id} over ${pages} pages at ${page}`;
        if (!isFree(id, page, pages)) t.refused(result, 'EEXIST', what);
        else {
          t.accepted(result, what);
          model.set(id, { page, pages });
        }
      }
      const covered = Array.from({ length: space }, (_, page) => !isFree(-1, page, 1));
      t.same(coveredPages(t, vm, GPA, space), covered, 'pages that are covered in the end');
    });
  },
);

function shuffled(t: Context, count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = t.random.below(i + 1);
    [numbers[i], numbers[j]] = [numbers[j] ?? 0, numbers[i] ?? 0];
  }
  return numbers;
}
