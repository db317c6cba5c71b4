/** FALLOC_FL_PUNCH_HOLE on a guest_memfd that no guest uses. What a guest sees of it is in guest.ts. */
import { forHeldPages, forKinds, heldCount, heldIndexes, makeFile, PAGE, SHARED } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const PAGES = 8;
const END = PAGES * PAGE;
const UNALIGNED = [
  [1, PAGE],
  [PAGE - 1, PAGE],
  [PAGE, PAGE - 1],
  [0, 1],
  [0, END + 1],
  [END - 1, PAGE],
] as const;
const all = [0, 1, 2, 3, 4, 5, 6, 7];
const without = (...gone: readonly number[]): number[] => all.filter((page) => !gone.includes(page));

export const guestMemfdPunchHole = topic(
  'guest_memfd/punch_hole',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_punch_hole, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario);

    each('unaligned_offset_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      for (const offset of [1, 512, PAGE - 1, PAGE + 1, END - 1, END + 1])
        t.refused(file.raw.punchHole(offset, PAGE), 'EINVAL', `a page at offset ${offset}`);
    });

    each('unaligned_length_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      for (const length of [1, 512, PAGE - 1, PAGE + 1, END - 1, END + 1])
        t.refused(file.raw.punchHole(PAGE, length), 'EINVAL', `${length} bytes`);
    });

    each('every_range_that_is_off_by_a_byte_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      for (const offset of [0, 1, PAGE]) {
        for (const length of [1, PAGE - 1, PAGE, PAGE + 1]) {
          if (offset !== 1 && length === PAGE) continue;
          t.refused(file.raw.punchHole(offset, length), 'EINVAL', `${length} bytes at ${offset}`);
        }
      }
    });

    const held = forHeldPages(scenario);

    held('refused_ranges_and_those_beyond_the_size_free_nothing', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      for (const [offset, length] of UNALIGNED)
        t.refused(file.raw.punchHole(offset, length), 'EINVAL', `${length} bytes at ${offset}`);
      file.punchHole(END, PAGE);
      file.punchHole(END + PAGE, 1n << 50n);
      t.same([heldIndexes(file), file.size], [all, END], 'pages and size afterwards');
    });

    held('frees_exactly_the_range', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      t.accepted(file.raw.punchHole(2 * PAGE, 3 * PAGE), 'punching pages 2 to 4');
      t.same(heldIndexes(file), without(2, 3, 4), 'pages after it');
      file.punchHole(6 * PAGE, PAGE);
      t.same(heldIndexes(file), without(2, 3, 4, 6), 'pages after punching 6 too');
    });

    held('each_single_page', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const page of all) {
        file.allocate(0, END);
        file.punchHole(page * PAGE, PAGE);
        t.same(heldIndexes(file), without(page), `pages after punching ${page}`);
      }
    });

    each('at_and_beyond_the_size_is_accepted', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      t.accepted(file.raw.punchHole(END, PAGE), 'punching at the size');
      t.accepted(file.raw.punchHole(END + PAGE, PAGE), 'punching a page beyond');
      t.accepted(file.raw.punchHole(1n << 50n, PAGE), 'punching far beyond');
      t.same(file.size, END, 'size afterwards');
    });

    held('over_the_size_frees_what_is_inside', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      t.accepted(file.raw.punchHole(END - 2 * PAGE, 4 * PAGE), 'punching over the end');
      t.same([heldIndexes(file), file.size], [without(6, 7), END], 'pages and size afterwards');
      t.accepted(file.raw.punchHole(PAGE, (1n << 63n) - 2n * BigInt(PAGE)), 'punching all that follows page 0');
      t.same(heldIndexes(file), [0], 'pages afterwards');
    });

    held('whole_file', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      file.allocate(0, END);
      t.accepted(file.raw.punchHole(0, END), 'punching the whole file');
      t.same([heldCount(file), file.size], [0, END], 'pages and size afterwards');
    });

    held('holes_may_be_punched_again', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      t.accepted(file.raw.punchHole(0, END), 'punching an empty file');
      file.allocate(PAGE, PAGE);
      for (let round = 0; round < 2; round++) t.accepted(file.raw.punchHole(0, 4 * PAGE), `punching, round ${round}`);
      t.same(heldIndexes(file), [], 'pages afterwards');
    });

    held('hole_can_be_allocated_again', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (let round = 0; round < 3; round++) {
        file.allocate(PAGE, PAGE);
        t.same(heldIndexes(file), [1], `pages after allocating, round ${round}`);
        file.punchHole(PAGE, PAGE);
        t.same(heldIndexes(file), [], `pages after punching, round ${round}`);
      }
    });

    const shared = forKinds(scenario, [SHARED]);

    shared('hole_reads_zero_and_neighbours_keep_every_byte', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const map = t.map(file);
      const contents = t.random.bytes(END);
      map.write(0, contents);
      file.punchHole(3 * PAGE, 2 * PAGE);
      const expected = contents.slice().fill(0, 3 * PAGE, 5 * PAGE);
      t.same(map.firstDifference(0, expected), undefined, 'first byte that differs');
    });

    shared('mapping_is_taken_away_from_the_host', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const [one, two] = [t.map(file), t.map(file, { offset: 2 * PAGE, length: 2 * PAGE })];
      one.fill(0xaa);
      t.filledWith(two.read(0, 2 * PAGE), 0xaa, 'the second mapping');
      file.punchHole(2 * PAGE, PAGE);
      t.same(one.resident(), [true, true, false, true, true, true, true, true], 'pages that mincore sees');
      t.filledWith(one.read(2 * PAGE, PAGE), 0, 'the hole in the first mapping');
      t.filledWith(two.read(0, PAGE), 0, 'the hole in the second mapping');
      t.filledWith(two.read(PAGE, PAGE), 0xaa, 'the page behind the hole');
      two.fill(0x55, { length: PAGE });
      t.filledWith(one.read(2 * PAGE, PAGE), 0x55, 'what was written into the hole');
    });

    shared('hole_can_be_filled_again', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const map = t.map(file);
      map.fill(0xaa);
      file.punchHole(0, PAGE);
      t.filledWith(map.read(0, PAGE), 0, 'page 0 after punching it');
      t.filledWith(map.read(PAGE, END - PAGE), 0xaa, 'the rest');
      map.fill(0xbb);
      t.filledWith(map.read(0, END), 0xbb, 'everything after filling it again');
    });

    shared('freed_memory_does_not_come_back_with_its_bytes', (t, kind) => {
      const file = makeFile(t, kind, 64);
      const map = t.map(file);
      for (const byte of [0xde, 0xad]) {
        map.fill(byte);
        file.punchHole(0, 64 * PAGE);
        file.allocate(0, 32 * PAGE);
        t.filledWith(map.read(0, 64 * PAGE), 0, 'allocated and faulted pages');
      }
    });
  },
);
