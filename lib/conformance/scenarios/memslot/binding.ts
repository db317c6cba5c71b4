/** KVM_MEM_GUEST_MEMFD: which files and which of their ranges a slot takes, and in which order that is judged. */

import type { Vm } from '../../../kvm/vm.ts';
import type { Context } from '../../context.ts';
import { type FileKind, forKinds, makeFile, PAGE, PLAIN, PROTECTED } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import { coveredPages, deleted, GPA, GUEST_MEMFD, type RegionFields, setRegion, setRegion2 } from '../../slots.ts';

/** A default VM takes the flag since 6.18, and then has the capability. */
export const BINDING_KINDS: readonly FileKind[] = [
  { ...PLAIN, needs: { vmType: 'default', vmCaps: { KVM_CAP_GUEST_MEMFD: 1 } } },
  PROTECTED,
];

export const bind = (vm: Vm, fd: number, fields: RegionFields = {}) =>
  setRegion2(vm, { flags: GUEST_MEMFD, fd, ...fields });

/** What a range that is bound already is refused with. */
export const clash = (t: Context): string =>
  t.differs({
    since: [7, 2],
    now: 'EEXIST',
    before: 'EINVAL',
    because: 'a clash in the file is judged when the slot is committed, and called what a clash of gpas is called',
  });

const PAGES = 8;
const END = PAGES * PAGE;

export const memslotBinding = topic(
  'memslot/binding',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_prepare_memory_region (before 7.2 kvm_gmem_bind), Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario, BINDING_KINDS);

    each('any_aligned_range_inside_the_file_is_accepted', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      for (let from = 0; from < PAGES; from++) {
        for (let pages = 1; from + pages <= PAGES; pages++) {
          t.accepted(bind(vm, fd, { offset: from * PAGE, size: pages * PAGE }), `${pages} pages from page ${from} on`);
          t.same(deleted(vm), true, 'the slot is there');
        }
      }
    });

    each('unaligned_offset_is_EINVAL', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      const offsets = Array.from({ length: 12 }, (_, i) => 1 << i).flatMap((off) => [off, PAGE - off, PAGE + off]);
      for (const offset of offsets) t.refused(bind(vm, fd, { offset, size: PAGE }), 'EINVAL', `offset ${offset}`);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(bind(vm, fd, { offset: PAGE, size: PAGE }), 'an aligned offset');
      for (const offset of offsets)
        t.refused(bind(vm, fd, { offset, size: 0 }), 'EINVAL', `deleting with offset ${offset}`);
      t.same(deleted(vm), true, 'the slot is still there');
    });

    each('range_beyond_the_file_is_EINVAL', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      for (const [from, pages] of [
        [0, 9],
        [1, 8],
        [7, 2],
        [8, 1],
        [9, 1],
        [1 << 20, 4],
      ] as const)
        t.refused(bind(vm, fd, { offset: from * PAGE, size: pages * PAGE }), 'EINVAL', `pages ${from} + ${pages} of 8`);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(bind(vm, fd, { offset: 7 * PAGE, size: PAGE }), 'the last page');
    });

    each('offset_that_wraps_is_EINVAL', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      for (const pages of [1, 2, 4]) {
        for (const back of [1, 2, 3]) {
          const offset = (1n << 64n) - BigInt(back * PAGE);
          t.refused(bind(vm, fd, { offset, size: pages * PAGE }), 'EINVAL', `${pages} pages at 2^64 - ${back} pages`);
        }
      }
      t.refused(bind(vm, fd, { offset: 1n << 63n }), 'EINVAL', 'four pages at 2^63');
      t.same(deleted(vm), false, 'a slot afterwards');
    });

    each('offset_just_below_2_to_63', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, 4, vm);
      const refused = t.differs({
        since: [7, 2],
        stable: [[6, 12, 114]],
        now: true,
        before: false,
        because: 'offset and size were added as signed numbers, so that the sum was negative and below every size',
      });
      const result = bind(vm, fd, { offset: (1n << 63n) - BigInt(PAGE), size: 4 * PAGE });
      if (refused) t.refused(result, 'EINVAL', 'four pages at 2^63 - 4096');
      else t.accepted(result, 'four pages at 2^63 - 4096');
      t.refused(bind(vm, fd, { slot: 2, gpa: 2 * GPA, offset: 1n << 62n }), 'EINVAL', 'four pages at 2^62');
    });

    each('descriptor_that_is_not_open_is_EBADF', (t, kind) => {
      const vm = t.vm();
      const file = makeFile(t, kind, PAGES, vm);
      const { fd } = file;
      t.accepted(bind(vm, fd), 'the open file');
      t.same(deleted(vm), true, 'its slot is there');
      file.close();
      for (const bad of [fd, -1, 0x7fff_ffff, -0x8000_0000])
        t.refused(bind(vm, bad), 'EBADF', bad === fd ? 'the closed file' : `descriptor ${bad}`);
      t.same(deleted(vm), false, 'a slot afterwards');
    });

    each('other_files_are_EINVAL', (t, kind) => {
      const vm = t.vm();
      const own = makeFile(t, kind, PAGES, vm);
      const others = {
        '/dev/kvm': t.kvm.fd,
        'the VM itself': vm.fd,
        'a vCPU': t.use(vm.createVcpu(0)).fd,
        'a memfd': t.memfd({ size: END }).fd,
        'another VM': t.vm().fd,
      };
      for (const [what, fd] of Object.entries(others)) t.refused(bind(vm, fd), 'EINVAL', what);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(bind(vm, own.fd), 'its own file');
    });

    each('file_of_another_vm_is_EINVAL', (t, kind) => {
      const [one, two] = [t.vm(), t.vm()];
      const [first, second] = [makeFile(t, kind, PAGES, one), makeFile(t, kind, PAGES, two)];
      t.refused(bind(one, second.fd), 'EINVAL', 'the file of the second VM in the first');
      t.refused(bind(two, first.fd), 'EINVAL', 'the file of the first VM in the second');
      t.accepted(bind(one, first.fd), 'its own in the first');
      t.accepted(bind(two, second.fd), 'its own in the second');
    });

    each('older_request_deletes_the_slot', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      for (let round = 0; round < 2; round++) {
        t.accepted(bind(vm, fd), `binding, round ${round}`);
        t.accepted(setRegion(vm, { size: 0 }), `deleting, round ${round}`);
      }
    });

    each('deletion_does_not_look_at_the_file', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      for (const other of [-1, fd, vm.fd, 0x7fff_ffff]) {
        for (const offset of [0, 1 << 30]) {
          t.accepted(bind(vm, fd), 'binding');
          t.accepted(bind(vm, other, { size: 0, offset }), `deleting with descriptor ${other} and offset ${offset}`);
        }
      }
      t.same(coveredPages(t, vm, GPA, 4), [false, false, false, false], 'pages that are covered');
    });

    each('slot_with_a_file_cannot_change', (t, kind) => {
      const vm = t.vm();
      const { hva } = t.anonymous(4 * PAGE);
      const { fd } = makeFile(t, kind, PAGES, vm);
      t.accepted(bind(vm, fd, { hva }), 'binding');
      const changes: Readonly<Record<string, RegionFields>> = {
        nothing: {},
        gpa: { gpa: 2 * GPA },
        offset: { offset: 4 * PAGE },
        size: { size: 2 * PAGE },
        hva: { hva: 0 },
      };
      for (const [what, fields] of Object.entries(changes)) {
        t.refused(bind(vm, fd, { hva, ...fields }), 'EINVAL', `changing ${what}`);
        t.refused(bind(vm, -1, { hva, ...fields }), 'EINVAL', `changing ${what} with no file`);
        t.refused(setRegion(vm, { hva, ...fields }), 'EINVAL', `changing ${what} without the flag`);
      }
      t.refused(setRegion(vm, { hva, flags: 1 }), 'EINVAL', 'logging');
      t.refused(setRegion(vm, { hva, flags: 2 }), 'EINVAL', 'read-only');
      t.same(coveredPages(t, vm, GPA - PAGE, 6), [false, true, true, true, true, false], 'pages that are covered');
    });

    each('slot_without_a_file_cannot_get_one', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      t.accepted(setRegion(vm), 'a slot without');
      t.refused(bind(vm, fd), 'EINVAL', 'adding the file');
      t.refused(bind(vm, fd, { gpa: 2 * GPA }), 'EINVAL', 'adding the file while moving');
      t.accepted(setRegion(vm), 'restating it without');
      t.accepted(bind(vm, fd, { slot: 2, gpa: 2 * GPA }), 'the file in another slot');
    });

    each('order_of_checks', (t, kind) => {
      const vm = t.vm();
      const { fd } = makeFile(t, kind, PAGES, vm);
      t.accepted(setRegion(vm, { slot: 2, gpa: GPA + 3 * PAGE }), 'slot 2');
      t.refused(bind(vm, -1, { offset: 1 }), 'EINVAL', 'an unaligned offset before a taken gpa and no file');
      t.refused(bind(vm, -1), 'EEXIST', 'a taken gpa before no file');
      t.refused(bind(vm, vm.fd), 'EEXIST', 'a taken gpa before a foreign file');
      t.refused(bind(vm, fd, { offset: END }), 'EEXIST', 'a taken gpa before a range beyond the file');
      t.refused(bind(vm, -1, { gpa: 1n << 60n }), 'EBADF', 'no file before a gpa beyond the host');
      t.refused(bind(vm, vm.fd, { gpa: 1n << 60n }), 'EINVAL', 'a foreign file or a gpa beyond the host');
      t.same(deleted(vm), false, 'slot 1 afterwards');
    });
  },
);
