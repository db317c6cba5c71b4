/** fallocate(2) on a guest_memfd: modes, ranges, what is held afterwards. */
import { fstatSync } from 'node:fs';
import { FALLOC_FL } from '../../../uapi/index.ts';
import { breathe } from '../../background.ts';
import { signals } from '../../elsewhere.ts';
import {
  CACHESTAT,
  forHeldPages,
  forKinds,
  heldCount,
  heldIndexes,
  makeFile,
  PAGE,
  PLAIN,
  SHARED,
} from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const { FALLOC_FL_KEEP_SIZE: KEEP, FALLOC_FL_PUNCH_HOLE: PUNCH } = FALLOC_FL.value;
const OTHERS = Object.values(FALLOC_FL.value).filter((bit) => bit !== KEEP && bit !== PUNCH);
const PAGES = 8;
/** Enough for a signal to come in between. */
const MANY = 16_384;
const END = PAGES * PAGE;
const BEYOND = [
  [END, PAGE],
  [END + PAGE, PAGE],
  [END - PAGE, 2 * PAGE],
  [0, END + PAGE],
] as const;
const EMPTY = [
  [0, 0],
  [PAGE, 0],
  [-PAGE, PAGE],
  [0, -PAGE],
  [-1, 1],
] as const;

export const guestMemfdFallocate = topic(
  'guest_memfd/fallocate',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fallocate, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario);

    each('mode_without_KEEP_SIZE_is_EOPNOTSUPP', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const mode of [0, PUNCH, ...OTHERS, PUNCH | 0x10, 0x100, 1 << 30])
        t.refused(file.raw.fallocate(mode, 0, PAGE), 'EOPNOTSUPP', `mode 0x${mode.toString(16)}`);
      t.accepted(file.raw.fallocate(KEEP, 0, PAGE), 'the same range with KEEP_SIZE');
    });

    each('other_modes_with_KEEP_SIZE_are_EOPNOTSUPP', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const mode of OTHERS) {
        t.refused(file.raw.fallocate(KEEP | mode, 0, PAGE), 'EOPNOTSUPP', `KEEP_SIZE|0x${mode.toString(16)}`);
        const both = KEEP | PUNCH | mode;
        t.refused(file.raw.fallocate(both, PAGE, PAGE), 'EOPNOTSUPP', `KEEP_SIZE|PUNCH_HOLE|0x${mode.toString(16)}`);
      }
    });

    forHeldPages(scenario)('refused_modes_change_nothing', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(PAGE, PAGE);
      for (const mode of [0, PUNCH, ...OTHERS, ...OTHERS.map((other) => KEEP | other), KEEP | PUNCH | 0x10])
        t.refused(file.raw.fallocate(mode, 0, 2 * PAGE), 'EOPNOTSUPP', `mode 0x${mode.toString(16)}`);
      t.same(heldIndexes(file), [1], 'pages afterwards');
    });

    each('mode_is_judged_before_alignment', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const mode of [0, KEEP | 0x10, KEEP | 0x40]) {
        t.refused(file.raw.fallocate(mode, 1, PAGE), 'EOPNOTSUPP', `mode ${mode} and an unaligned offset`);
        t.refused(file.raw.fallocate(mode, 0, 1), 'EOPNOTSUPP', `mode ${mode} and an unaligned length`);
      }
      t.refused(file.raw.fallocate(KEEP, 1, PAGE), 'EINVAL', 'the right mode and an unaligned offset');
    });

    each(
      'empty_and_negative_ranges_are_EINVAL',
      (t, kind) => {
        const file = makeFile(t, kind, PAGES);
        for (const mode of [KEEP, KEEP | PUNCH, 0]) {
          for (const [offset, length] of EMPTY)
            t.refused(file.raw.fallocate(mode, offset, length), 'EINVAL', `mode ${mode}, ${offset}, ${length}`);
        }
        t.accepted(file.raw.fallocate(KEEP, 0, PAGE), 'a page');
      },
      { promise: 'fs/open.c: vfs_fallocate; before Linux 6.1' },
    );

    each(
      'range_that_overflows_is_EFBIG',
      (t, kind) => {
        const file = makeFile(t, kind, PAGES);
        const last = (1n << 63n) - BigInt(PAGE);
        for (const mode of [KEEP, KEEP | PUNCH]) {
          t.refused(file.raw.fallocate(mode, last, PAGE), 'EFBIG', `mode ${mode}, the page that ends at 2^63`);
          t.refused(file.raw.fallocate(mode, PAGE, last), 'EFBIG', `mode ${mode}, a length up to 2^63`);
        }
        t.accepted(file.raw.fallocate(KEEP | PUNCH, last - BigInt(PAGE), PAGE), 'punching the page before');
      },
      { promise: 'fs/open.c: vfs_fallocate; before Linux 6.1' },
    );

    each(
      'accepted_calls_move_mtime_and_refused_ones_do_not',
      async (t, kind) => {
        const file = makeFile(t, kind, PAGES);
        const mtime = (): bigint => fstatSync(file.fd, { bigint: true }).mtimeNs;
        for (const mode of [KEEP, KEEP | PUNCH]) {
          const before = mtime();
          // Longer than a tick of the clock that files go by.
          await breathe(30);
          t.refused(file.raw.fallocate(mode, 1, PAGE), 'EINVAL', `mode ${mode}, an unaligned offset`);
          t.refused(file.raw.fallocate(KEEP, END, PAGE), 'EINVAL', 'allocating beyond the size');
          t.same(mtime(), before, `mtime after a refused call of mode ${mode}`);
          t.accepted(file.raw.fallocate(mode, 0, PAGE), `mode ${mode}, a page`);
          t.holds(mtime() > before, `mode ${mode} moves mtime`, `${mtime()} after ${before}`);
        }
      },
      { needs: { real: true }, promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fallocate, file_modified; Linux 6.8' },
    );
  },
);

export const guestMemfdAllocate = topic(
  'guest_memfd/allocate',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_allocate, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario);

    each('unaligned_offset_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const offset of [1, 511, 2048, PAGE - 1, PAGE + 1, 3 * PAGE + 512])
        t.refused(file.raw.allocate(offset, PAGE), 'EINVAL', `a page at offset ${offset}`);
      t.accepted(file.raw.allocate(PAGE, PAGE), 'an aligned page');
    });

    each('unaligned_length_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const length of [1, 511, 2048, PAGE - 1, PAGE + 1, 3 * PAGE - 512])
        t.refused(file.raw.allocate(PAGE, length), 'EINVAL', `${length} bytes`);
      t.accepted(file.raw.allocate(PAGE, 3 * PAGE), 'three pages');
    });

    each('range_beyond_the_size_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const [offset, length] of BEYOND)
        t.refused(file.raw.allocate(offset, length), 'EINVAL', `${length} bytes at ${offset} of ${END}`);
      t.same(file.size, END, 'size');
      t.accepted(file.raw.allocate(END - PAGE, PAGE), 'the last page');
    });

    const held = forHeldPages(scenario);

    forKinds(scenario, [SHARED])('freed_memory_that_is_allocated_again_is_zero', (t, kind) => {
      const file = makeFile(t, kind, 512);
      const map = t.map(file);
      for (let round = 0; round < 3; round++) {
        file.allocate(0, 512 * PAGE);
        t.filledWith(map.read(0, 512 * PAGE), 0, `what was allocated in round ${round}`);
        map.fill(0xb6);
        file.punchHole(0, 512 * PAGE);
      }
    });

    scenario(
      'signal_ends_it_with_EINTR',
      {
        needs: { real: true, ...PLAIN.needs, ...CACHESTAT },
        promise: 'virt/kvm/guest_memfd.c: kvm_gmem_allocate, signal_pending; Linux 6.8',
      },
      async (t) => {
        const file = makeFile(t, PLAIN, MANY);
        const sender = t.use(signals(0));
        let interrupted = false;
        for (let attempt = 0; attempt < 200 && !interrupted; attempt++) {
          const done = file.raw.allocate(0, MANY * PAGE);
          if (done.ok) {
            t.same(heldCount(file), MANY, 'pages after a call that was not interrupted');
            file.punchHole(0, MANY * PAGE);
            // The other process may not have begun.
            await breathe(10);
            continue;
          }
          t.refused(done, 'EINTR', 'an interrupted call');
          interrupted = true;
        }
        sender.close();
        t.holds(interrupted, 'a signal interrupts one of the calls');
        const kept = heldCount(file);
        t.holds(kept < MANY, 'the interrupted call left pages out', `${kept} of ${MANY} pages`);
        // The last of the signals may still be on its way.
        let again = file.raw.allocate(0, MANY * PAGE);
        for (let i = 0; i < 200 && !again.ok && again.code === 'EINTR'; i++) again = file.raw.allocate(0, MANY * PAGE);
        t.accepted(again, 'the call without signals');
        t.same(heldCount(file), MANY, 'pages then');
      },
    );

    held('refused_ranges_allocate_nothing', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const [offset, length] of [...BEYOND, [1, PAGE], [PAGE, 3 * PAGE - 1], [0, END + 1]] as const)
        t.refused(file.raw.allocate(offset, length), 'EINVAL', `${length} bytes at ${offset} of ${END}`);
      t.same(heldIndexes(file), [], 'pages afterwards');
      file.allocate(END - PAGE, PAGE);
      t.same(heldIndexes(file), [PAGES - 1], 'pages with the last one');
    });

    held('whole_file', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      t.accepted(file.raw.allocate(0, PAGES * PAGE), 'allocating the whole file');
      t.same(heldCount(file), PAGES, 'pages held');
      t.same(file.size, PAGES * PAGE, 'size');
    });

    held('holds_exactly_the_range', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(2 * PAGE, 3 * PAGE);
      t.same(heldIndexes(file), [2, 3, 4], 'pages after allocating 2 to 4');
      file.allocate(7 * PAGE, PAGE);
      file.allocate(0, PAGE);
      t.same(heldIndexes(file), [0, 2, 3, 4, 7], 'pages after allocating 7 and 0');
    });

    held('again_is_accepted_and_adds_only_what_is_missing', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (let round = 0; round < 2; round++) file.allocate(2 * PAGE, 2 * PAGE);
      t.same(heldIndexes(file), [2, 3], 'pages after the same twice');
      file.allocate(PAGE, 4 * PAGE);
      t.same(heldIndexes(file), [1, 2, 3, 4], 'pages after a range around it');
    });

    held('only_page_of_a_file_of_one', (t, kind) => {
      const file = makeFile(t, kind, 1);
      t.refused(file.raw.allocate(0, 2 * PAGE), 'EINVAL', 'two pages of one');
      t.accepted(file.raw.allocate(0, PAGE), 'the one');
      t.same(heldCount(file), 1, 'pages held');
    });

    forKinds(scenario, [PLAIN, SHARED])(
      'far_into_a_sparse_file',
      (t, kind) => {
        const vm = t.vm();
        const size = 1n << 45n;
        const file = t.use(vm.createGuestMemfd(size, kind.flags));
        for (const offset of [size - BigInt(PAGE), 1n << 32n, (1n << 32n) - BigInt(PAGE), 1n << 44n]) {
          file.allocate(offset, PAGE);
          t.same(file.residency(offset, PAGE).cache, 1, `the page at 0x${offset.toString(16)}`);
        }
        t.same(file.residency().cache, 4, 'pages in all');
        t.refused(file.raw.allocate(size, PAGE), 'EINVAL', 'the page after the last');
      },
      { needs: CACHESTAT },
    );

    held('size_of_a_huge_page', (t, kind) => {
      const file = makeFile(t, kind, 1024);
      file.allocate(0, 512 * PAGE);
      t.same(heldCount(file), 512, 'pages held');
      t.same(heldIndexes(file).at(-1), 511, 'the last of them');
    });

    forKinds(scenario, [SHARED])('leaves_what_is_there', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const map = t.map(file);
      map.fill(0x77, { offset: 3 * PAGE, length: PAGE });
      file.allocate(0, PAGES * PAGE);
      t.filledWith(map.read(3 * PAGE, PAGE), 0x77, 'the page that was written before');
      t.filledWith(map.read(0, 3 * PAGE), 0, 'the pages before it');
      t.filledWith(map.read(4 * PAGE, 4 * PAGE), 0, 'the pages behind it');
    });
  },
);
