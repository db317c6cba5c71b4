/** Which ranges of a guest_memfd are bound: each at most once, until its slot is deleted. */

import { F } from '../../../uapi/mman.ts';
import { forKinds, makeFile, PAGE } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import { deleted, GPA, setRegion } from '../../slots.ts';
import { BINDING_KINDS, bind, clash } from './binding.ts';

/** Ranges of pages against one that is bound over [4, 8) of 12. */
const CLASHING = [
  [4, 8],
  [3, 5],
  [7, 9],
  [3, 9],
  [5, 7],
  [4, 5],
  [7, 8],
  [0, 5],
  [0, 12],
] as const;
const APART = [
  [8, 9],
  [8, 12],
  [3, 4],
  [0, 4],
] as const;

export const memslotBindingRanges = topic(
  'memslot/binding_ranges',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_commit_memory_region (before 7.2 kvm_gmem_bind), Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario, BINDING_KINDS);
    const range = (from: number, to: number) => ({ offset: from * PAGE, size: (to - from) * PAGE });

    each('range_that_is_bound_is_refused', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 12, vm);
      t.accepted(bind(vm, fd, range(4, 8)), 'pages 4 to 7');
      for (const [from, to] of CLASHING) {
        const fields = { slot: 2, gpa: 2 * GPA, ...range(from, to) };
        t.refused(bind(vm, fd, fields), clash(t), `pages ${from} to ${to - 1} beside 4 to 7`);
      }
      t.same(deleted(vm, 2), false, 'slot 2 afterwards');
    });

    each('neighbouring_ranges_are_accepted', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 12, vm);
      t.accepted(bind(vm, fd, range(4, 8)), 'pages 4 to 7');
      for (const [from, to] of APART) {
        t.accepted(bind(vm, fd, { slot: 2, gpa: 2 * GPA, ...range(from, to) }), `pages ${from} to ${to - 1}`);
        t.same(deleted(vm, 2), true, 'slot 2 is there');
      }
    });

    each('deletion_frees_exactly_its_range', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 12, vm);
      const slots = [
        [0, 3],
        [3, 8],
        [8, 12],
      ] as const;
      slots.forEach(([from, to], slot) => {
        t.accepted(bind(vm, fd, { slot, gpa: GPA + slot * GPA, ...range(from, to) }), `slot ${slot}`);
      });
      t.same(deleted(vm, 1), true, 'deleting the middle one');
      for (let page = 0; page < 12; page++) {
        const result = bind(vm, fd, { slot: 3, gpa: 9 * GPA, ...range(page, page + 1) });
        if (page < 3 || page >= 8) t.refused(result, clash(t), `page ${page}, which is bound`);
        else {
          t.accepted(result, `page ${page}, which is free`);
          t.same(deleted(vm, 3), true, 'its slot is there');
        }
      }
      t.accepted(bind(vm, fd, { slot: 1, gpa: 9 * GPA, ...range(3, 8) }), 'the whole range again');
    });

    each('same_range_of_two_files_is_accepted', (t, kind) => {
      const vm = t.vm();
      [1, 2, 3].forEach((slot) => {
        t.accepted(bind(vm, makeFile(t, kind, 4, vm).fd, { slot, gpa: slot * GPA }), `file ${slot}`);
      });
    });

    each('duplicate_of_the_descriptor_is_the_same_file', (t, kind) => {
      const vm = t.vm();
      const file = makeFile(t, kind, 4, vm);
      const copy = t.sys.fcntl(file.fd, F.value.F_DUPFD_CLOEXEC, 0);
      t.accepted(bind(vm, file.fd), 'the first');
      const again = bind(vm, copy, { slot: 2, gpa: 2 * GPA });
      t.same(deleted(vm), true, 'the slot is there');
      const after = bind(vm, copy, { slot: 2, gpa: 2 * GPA });
      t.sys.close(copy);
      t.refused(again, clash(t), 'the second while the first is bound');
      t.accepted(after, 'the second afterwards');
    });

    each('refused_slot_binds_nothing', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 4, vm);
      t.accepted(setRegion(vm, { slot: 2, gpa: 2 * GPA }), 'slot 2');
      t.refused(bind(vm, fd, { gpa: 2 * GPA + PAGE }), 'EEXIST', 'a gpa that is taken');
      t.refused(bind(vm, fd, { gpa: 1n << 60n }), 'EINVAL', 'a gpa beyond the host');
      t.refused(bind(vm, fd, { size: 5 * PAGE }), 'EINVAL', 'more than the file has');
      t.accepted(bind(vm, fd), 'the same range');
    });

    each('clash_leaves_the_slot_that_is_there', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 8, vm);
      t.accepted(bind(vm, fd, range(0, 4)), 'slot 1');
      t.refused(bind(vm, fd, { slot: 2, gpa: 2 * GPA, ...range(2, 8) }), clash(t), 'slot 2 over half of it');
      t.refused(bind(vm, fd, { slot: 2, gpa: 2 * GPA, ...range(0, 1) }), clash(t), 'its first page');
      t.accepted(bind(vm, fd, { slot: 2, gpa: 2 * GPA, ...range(4, 8) }), 'the rest of the file');
      t.refused(bind(vm, fd, { slot: 3, gpa: 3 * GPA, ...range(7, 8) }), clash(t), 'the last page, bound by now');
    });

    each('slot_deleted_and_made_anew_meets_its_neighbour', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 10, vm);
      const size = 4 * PAGE;
      t.accepted(bind(vm, fd, { slot: 0, offset: 0, size }), 'slot 0 over [0, 4)');
      t.accepted(bind(vm, fd, { slot: 1, gpa: GPA + size, offset: size, size }), 'slot 1 over [4, 8)');
      t.accepted(bind(vm, -1, { slot: 0, size: 0 }), 'deleting slot 0, with the flag and no file');
      for (const from of [2, 6]) {
        const fields = { slot: 0, gpa: 3 * GPA, offset: from * PAGE, size };
        t.refused(bind(vm, fd, fields), clash(t), `slot 0 over [${from}, ${from + 4}), at a free gpa`);
      }
      for (const by of [2, 6]) {
        const fields = { slot: 0, gpa: GPA + by * PAGE, offset: 0, size };
        t.refused(bind(vm, fd, fields), 'EEXIST', `slot 0 over the gpas of slot 1, ${by} pages further`);
      }
      t.accepted(bind(vm, fd, { slot: 0, offset: 0, size }), 'slot 0 as it was');
    });

    each('far_into_a_huge_file', (t, kind) => {
      const vm = t.vm();
      const file = t.use(vm.createGuestMemfd(1n << 50n, kind.flags));
      const offset = (1n << 50n) - BigInt(4 * PAGE);
      t.accepted(bind(vm, file.fd, { offset }), 'the last pages of 2^50 bytes');
      t.refused(bind(vm, file.fd, { slot: 2, gpa: 2 * GPA, offset }), clash(t), 'the same again');
      t.accepted(bind(vm, file.fd, { slot: 2, gpa: 2 * GPA, offset: offset & 0xffff_ffffn }), 'the same modulo 2^32');
      t.refused(bind(vm, file.fd, { slot: 3, gpa: 3 * GPA, offset: 1n << 50n }), 'EINVAL', 'behind the end');
    });

    each('random_bindings_follow_the_model', (t, kind) => {
      const vm = t.vm();
      const pages = 32;
      const { fd } = makeFile(t, kind, pages, vm);
      const bound = new Map<number, readonly [number, number]>();
      for (let step = 0; step < 150; step++) {
        const slot = t.random.below(6);
        if (bound.delete(slot)) {
          t.same(deleted(vm, slot), true, `step ${step}: slot ${slot} is there`);
          continue;
        }
        const from = t.random.below(pages);
        const to = from + 1 + t.random.below(Math.min(8, pages - from));
        const free = [...bound.values()].every(([low, high]) => to <= low || from >= high);
        const result = bind(vm, fd, { slot, gpa: (slot + 1) * GPA, ...range(from, to) });
        const what = `step ${step}: pages ${from} to ${to - 1}`;
        if (!free) t.refused(result, clash(t), what);
        else {
          t.accepted(result, what);
          bound.set(slot, [from, to]);
        }
      }
    });

    each('many_slots_of_one_file', (t, kind) => {
      const vm = t.vm();
      const count = 100;
      const { fd } = makeFile(t, kind, count, vm);
      for (let slot = 0; slot < count; slot++) {
        // In an order in which neighbours come late: 0, 37, 74, 11, ...
        const page = (slot * 37) % count;
        t.accepted(bind(vm, fd, { slot, gpa: GPA + slot * 2 * PAGE, ...range(page, page + 1) }), `slot ${slot}`);
      }
      for (const page of [0, 37, 99])
        t.refused(bind(vm, fd, { slot: count, gpa: 0, ...range(page, page + 1) }), clash(t), `page ${page} again`);
    });

    // The kernel may put the next file where the closed one was.
    each('slot_of_a_closed_file_has_no_part_in_the_next_one', (t, kind) => {
      const vm = t.vm();
      for (let round = 0; round < 8; round++) {
        const closed = vm.createGuestMemfd(12 * PAGE, kind.flags);
        t.accepted(bind(vm, closed.fd, { slot: 1, ...range(5, 9) }), `the first file, round ${round}`);
        closed.close();
        using next = vm.createGuestMemfd(12 * PAGE, kind.flags);
        t.accepted(bind(vm, next.fd, { slot: 2, gpa: 2 * GPA, ...range(5, 9) }), `the next file, round ${round}`);
        t.same(deleted(vm, 1), true, 'the slot of the closed file is there');
        t.refused(bind(vm, next.fd, { slot: 3, gpa: 3 * GPA, ...range(6, 7) }), clash(t), 'what is still bound');
        t.same(deleted(vm, 2), true, 'the slot of the next file is there');
      }
    });

    each('file_closed_under_its_slot_leaves_a_slot_that_can_be_deleted', (t, kind) => {
      const vm = t.vm();
      const file = makeFile(t, kind, 4, vm);
      t.accepted(bind(vm, file.fd), 'binding');
      file.close();
      t.refused(setRegion(vm, { slot: 2, gpa: GPA + PAGE }), 'EEXIST', 'another slot over its gpas');
      t.refused(setRegion(vm), 'EINVAL', 'restating it without a file');
      t.accepted(setRegion(vm, { size: 0 }), 'deleting it');
      t.refused(setRegion(vm, { size: 0 }), 'EINVAL', 'deleting it again');
      t.accepted(bind(vm, makeFile(t, kind, 4, vm).fd), 'the same slot with a new file');
    });
  },
);
