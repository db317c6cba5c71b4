/** madvise(2) on a mapped guest_memfd. */
import { MADV } from '../../../uapi/index.ts';
import {
  CACHESTAT,
  EVERY_KIND,
  forKinds,
  HOST_BLIND,
  heldCount,
  heldIndexes,
  MMAP,
  makeFile,
  PAGE,
  SHARED,
} from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const PAGES = 8;
const END = PAGES * PAGE;
const PMD = 512 * PAGE;
const { MADV_DONTNEED, MADV_REMOVE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE, MADV_FREE } = MADV.value;
const MAPPABLES = EVERY_KIND.filter(({ flags }) => (flags & MMAP) !== 0);

export const guestMemfdAdvice = topic(
  'guest_memfd/advice',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_vm_ops, mm/madvise.c; Linux 6.18' },
  (scenario) => {
    const shared = forKinds(scenario, [SHARED]);

    shared('DONTNEED_keeps_the_contents', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES));
      const contents = t.random.bytes(END);
      map.write(0, contents);
      map.advise(MADV_DONTNEED);
      t.same(map.firstDifference(0, contents), undefined, 'first byte that differs');
      map.advise(MADV_DONTNEED, { offset: PAGE, length: 2 * PAGE });
      t.same(map.firstDifference(0, contents), undefined, 'first byte that differs after a part');
    });

    shared('REMOVE_punches_a_hole', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const map = t.map(file, { offset: PAGE });
      map.fill(0x6b);
      map.advise(MADV_REMOVE, { offset: 2 * PAGE, length: 2 * PAGE });
      t.same(map.resident(), [true, true, false, false, true, true, true], 'pages that mincore sees');
      t.filledWith(map.read(0, 2 * PAGE), 0x6b, 'the pages before');
      t.filledWith(map.read(2 * PAGE, 2 * PAGE), 0, 'the hole');
      t.filledWith(map.read(4 * PAGE, 3 * PAGE), 0x6b, 'the pages behind');
    });

    forKinds(scenario, MAPPABLES)(
      'REMOVE_frees_pages_whether_private_or_shared',
      (t, kind) => {
        const file = makeFile(t, kind, PAGES);
        file.allocate(0, END);
        const map = t.map(file, { length: 2 * END });
        map.advise(MADV_REMOVE, { offset: 3 * PAGE, length: 2 * PAGE });
        t.same(heldIndexes(file), [0, 1, 2, 5, 6, 7], 'pages afterwards');
        t.accepted(map.raw.advise(MADV_REMOVE, { offset: END - PAGE, length: 3 * PAGE }), 'over the size');
        t.same(heldIndexes(file), [0, 1, 2, 5, 6], 'pages afterwards');
      },
      { needs: CACHESTAT },
    );

    shared('POPULATE_gives_zero_pages', (t, kind) => {
      for (const advice of [MADV_POPULATE_READ, MADV_POPULATE_WRITE]) {
        const map = t.map(makeFile(t, kind, PAGES));
        t.accepted(map.raw.advise(advice, { offset: PAGE, length: 3 * PAGE }), `advice ${advice}`);
        t.same(map.resident(), [false, true, true, true, false, false, false, false], 'pages that mincore sees');
        t.filledWith(map.read(0, END), 0, 'the file');
      }
    });

    shared('POPULATE_beyond_the_size_is_EFAULT', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES), { length: 2 * END });
      for (const advice of [MADV_POPULATE_READ, MADV_POPULATE_WRITE]) {
        t.refused(map.raw.advise(advice, { offset: END, length: PAGE }), 'EFAULT', `advice ${advice} at the size`);
        t.refused(map.raw.advise(advice, { offset: END - PAGE, length: 2 * PAGE }), 'EFAULT', 'over the size');
        t.accepted(map.raw.advise(advice, { length: END }), 'up to the size');
      }
    });

    forKinds(scenario, HOST_BLIND)('POPULATE_of_private_memory_is_EFAULT', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES));
      for (const advice of [MADV_POPULATE_READ, MADV_POPULATE_WRITE])
        t.refused(map.raw.advise(advice), 'EFAULT', `advice ${advice}`);
      t.same(map.resident().includes(true), false, 'a page is there');
    });

    forKinds(scenario, HOST_BLIND)(
      'POPULATE_of_private_memory_allocates_nothing',
      (t, kind) => {
        const file = makeFile(t, kind, PAGES);
        t.refused(t.map(file).raw.advise(MADV_POPULATE_WRITE), 'EFAULT', 'populating');
        t.same(heldCount(file), 0, 'pages held');
      },
      { needs: CACHESTAT },
    );

    forKinds(scenario, MAPPABLES)('FREE_and_WIPEONFORK_are_EINVAL', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES));
      for (const advice of [MADV_FREE, MADV.value.MADV_WIPEONFORK])
        t.refused(map.raw.advise(advice), 'EINVAL', `advice ${advice}`);
    });

    shared('pages_are_never_collapsed_into_a_huge_one', (t, kind) => {
      const file = makeFile(t, kind, 512);
      // Aligned as a huge page would have to be.
      const place = t.anonymous(2 * PMD);
      const at = Math.ceil(place.hva / PMD) * PMD;
      t.sys.mmap(at, PMD, 3, 0x11, file.fd, 0);
      const map = { offset: at - place.hva, length: PMD };
      place.fill(0x3d, map);
      t.refused(place.raw.advise(MADV_COLLAPSE, map), 'EINVAL', 'MADV_COLLAPSE');
      t.filledWith(place.read(map.offset, PMD), 0x3d, 'the file');
    });

    shared('hints_leave_the_contents', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES));
      const contents = t.random.bytes(END);
      map.write(0, contents);
      const { MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT } = MADV.value;
      for (const advice of [MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT]) {
        t.accepted(map.raw.advise(advice), `advice ${advice}`);
        t.same(map.firstDifference(0, contents), undefined, `first byte that differs after advice ${advice}`);
      }
    });
  },
);
