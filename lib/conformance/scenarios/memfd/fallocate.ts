/** fallocate(2) on a memfd: the order of checks that all files share, allocation, punched holes. */
import { FALLOC_FL } from '../../../uapi/memfd.ts';
import { topic } from '../../scenario.ts';

const { FALLOC_FL_KEEP_SIZE: KEEP, FALLOC_FL_PUNCH_HOLE: PUNCH, FALLOC_FL_ZERO_RANGE: ZERO } = FALLOC_FL.value;
const {
  FALLOC_FL_COLLAPSE_RANGE: COLLAPSE,
  FALLOC_FL_INSERT_RANGE: INSERT,
  FALLOC_FL_UNSHARE_RANGE: UNSHARE,
} = FALLOC_FL.value;
const PAGE = 4096;
const MAX = 2n ** 63n - 1n;
const UNKNOWN = 0x1000;

export const memfdFallocate = topic(
  'memfd/fallocate',
  { promise: 'fallocate(2); fs/open.c: vfs_fallocate, mm/shmem.c: shmem_fallocate', needs: { kvm: false } },
  (scenario) => {
    for (const [what, offset, length] of [
      ['length_0', 0, 0],
      ['negative_length', 0, -1],
      ['negative_offset', -1, 1],
    ] as const) {
      scenario(`${what}_is_EINVAL_before_the_mode`, (t) => {
        const file = t.memfd({ size: PAGE });
        for (const mode of [0, KEEP, PUNCH | KEEP, UNKNOWN])
          t.refused(file.raw.fallocate(mode, offset, length), 'EINVAL', `mode 0x${mode.toString(16)}`);
      });
    }

    for (const [what, mode] of [
      ['unknown_bit', UNKNOWN],
      ['PUNCH_HOLE_without_KEEP_SIZE', PUNCH],
      ['PUNCH_HOLE_with_ZERO_RANGE', PUNCH | ZERO | KEEP],
      ['COLLAPSE_RANGE_with_KEEP_SIZE', COLLAPSE | KEEP],
      ['INSERT_RANGE_with_KEEP_SIZE', INSERT | KEEP],
      ['ZERO_RANGE', ZERO],
      ['COLLAPSE_RANGE', COLLAPSE],
      ['INSERT_RANGE', INSERT],
      ['UNSHARE_RANGE', UNSHARE],
    ] as const) {
      scenario(`${what}_is_EOPNOTSUPP`, (t) => {
        const file = t.memfd({ size: 2 * PAGE });
        t.refused(file.raw.fallocate(mode, 0, PAGE), 'EOPNOTSUPP', `mode 0x${mode.toString(16)}`);
        t.same(file.size, 2 * PAGE, 'size');
      });
    }

    scenario('end_beyond_the_largest_file_is_EFBIG', (t) => {
      const file = t.memfd({ size: PAGE });
      t.refused(file.raw.fallocate(0, MAX - 10n, 100), 'EFBIG', 'offset + length overflows');
      t.refused(file.raw.fallocate(PUNCH | KEEP, MAX - 10n, 100), 'EFBIG', 'a hole whose end overflows');
    });

    scenario('read_only_descriptor_is_EBADF_after_the_mode', (t) => {
      const file = t.memfd({ size: PAGE });
      const fd = t.sys.open(`/proc/self/fd/${file.fd}`, 0);
      try {
        t.refused(t.sys.raw.fallocate(fd, 0, 0, PAGE), 'EBADF', 'allocation through it');
        t.refused(t.sys.raw.fallocate(fd, UNKNOWN, 0, PAGE), 'EOPNOTSUPP', 'an unknown mode through it');
      } finally {
        t.sys.close(fd);
      }
    });

    scenario('allocates_whole_pages_and_grows_the_size', (t) => {
      const file = t.memfd();
      file.fallocate(0, PAGE - 1, 2);
      t.same([file.size, file.stat().blocks], [PAGE + 1, 16n], 'size and blocks after 2 bytes over a page boundary');
    });

    scenario('KEEP_SIZE_allocates_beyond_the_end', (t) => {
      const file = t.memfd({ size: PAGE });
      file.fallocate(KEEP, 4 * PAGE, 2 * PAGE);
      t.same([file.size, file.stat().blocks], [PAGE, 16n], 'size and blocks');
    });

    scenario('allocation_keeps_contents', (t) => {
      const file = t.memfd({ size: 2 * PAGE });
      file.pwrite(new Uint8Array(PAGE).fill(0x55), 0);
      file.fallocate(0, 0, 2 * PAGE);
      const into = new Uint8Array(2 * PAGE).fill(0xee);
      file.pread(into, 0);
      t.filledWith(into.subarray(0, PAGE), 0x55, 'the page that was written');
      t.filledWith(into.subarray(PAGE), 0, 'the page that was allocated');
    });

    scenario('hole_frees_whole_pages_only', (t) => {
      const file = t.memfd({ size: 4 * PAGE });
      file.pwrite(new Uint8Array(4 * PAGE).fill(0x66), 0);
      file.punchHole(PAGE - 10, 2 * PAGE + 20);
      t.same(file.stat().blocks, 16n, 'blocks: two of four pages are left');
      const into = new Uint8Array(4 * PAGE);
      file.pread(into, 0);
      t.filledWith(into.subarray(0, PAGE - 10), 0x66, 'before the hole');
      t.filledWith(into.subarray(PAGE - 10, 3 * PAGE + 10), 0, 'the hole');
      t.filledWith(into.subarray(3 * PAGE + 10), 0x66, 'behind the hole');
    });

    scenario('hole_shows_in_every_mapping', (t) => {
      const file = t.memfd({ size: 4 * PAGE });
      const [a, b] = [t.map(file), t.map(file, { offset: PAGE, length: PAGE })];
      a.fill(0x31);
      file.punchHole(PAGE, PAGE);
      t.filledWith(a.read(PAGE, PAGE), 0, 'the hole in a mapping of the whole file');
      t.filledWith(b.read(0, PAGE), 0, 'the hole in a mapping of its page');
      t.filledWith(a.read(0, PAGE), 0x31, 'the page before');
      t.filledWith(a.read(2 * PAGE, 2 * PAGE), 0x31, 'the pages behind');
    });

    scenario('hole_keeps_the_size_and_may_lie_beyond_it', (t) => {
      const file = t.memfd({ size: 2 * PAGE });
      t.accepted(file.raw.punchHole(PAGE, 10 * PAGE), 'a hole over the end');
      t.accepted(file.raw.punchHole(20 * PAGE, PAGE), 'a hole beyond the end');
      t.same(file.size, 2 * PAGE, 'size');
    });

    scenario('hole_leaves_copies_of_private_mappings', (t) => {
      const file = t.memfd({ size: PAGE });
      file.pwrite(new Uint8Array(PAGE).fill(1), 0);
      const copy = t.map(file, { flags: 2 });
      copy.fill(2);
      file.punchHole(0, PAGE);
      t.filledWith(copy.read(0, PAGE), 2, 'the copy');
    });
  },
);
