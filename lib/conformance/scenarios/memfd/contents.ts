/** Size, contents, holes and reads of a memfd. */
import { MAP } from '../../../uapi/mman.ts';
import { topic } from '../../scenario.ts';

const PAGE = 4096;
const bytes = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

export const memfdContents = topic(
  'memfd/contents',
  { promise: 'ftruncate(2), lseek(2); mm/shmem.c', needs: { kvm: false } },
  (scenario) => {
    scenario('a_grown_file_reads_as_zeros_and_holds_no_page', (t) => {
      const file = t.memfd({ size: 64 * PAGE });
      const into = bytes(64 * PAGE, 0xee);
      t.same(file.pread(into, 0), 64 * PAGE, 'bytes read');
      t.filledWith(into, 0, 'a file that was never written');
      t.same(file.stat().blocks, 0n, 'blocks after reading holes');
    });

    scenario('write_extends_and_leaves_a_hole', (t) => {
      const file = t.memfd();
      t.same(file.pwrite(bytes(8, 1), 5 * PAGE), 8, 'bytes written');
      t.same(file.size, 5 * PAGE + 8, 'size');
      t.same(file.stat().blocks, 8n, 'blocks: one page');
      const into = bytes(PAGE, 0xee);
      file.pread(into, 4 * PAGE);
      t.filledWith(into, 0, 'the hole before it');
    });

    scenario('read_stops_at_the_end', (t) => {
      const file = t.memfd({ size: PAGE });
      const into = bytes(64, 0xee);
      t.same(file.pread(into, PAGE - 10), 10, 'bytes read of 64 from 10 before the end');
      t.filledWith(into.subarray(10), 0xee, 'the buffer behind them');
      t.same(file.pread(into, PAGE), 0, 'bytes read at the end');
    });

    scenario('read_and_write_move_one_position', (t) => {
      const file = t.memfd();
      file.write(bytes(6, 3));
      file.write(bytes(4, 4));
      t.same(file.size, 10, 'size after writes of 6 and 4 bytes');
      t.same(file.read(bytes(4, 0)), 0, 'bytes read at the position behind the writes');
      t.sys.lseek(file.fd, 4, 0);
      const into = bytes(4, 0);
      t.same([file.read(into), ...into], [4, 3, 3, 4, 4], 'bytes read from position 4');
    });

    scenario('truncate_zeroes_the_tail_of_the_last_page', (t) => {
      const file = t.memfd({ size: PAGE });
      file.pwrite(bytes(PAGE, 0xaa), 0);
      file.truncate(100);
      file.truncate(PAGE);
      const into = bytes(PAGE, 0xee);
      file.pread(into, 0);
      t.filledWith(into.subarray(0, 100), 0xaa, 'bytes before the cut');
      t.filledWith(into.subarray(100), 0, 'bytes behind the cut, after growing again');
    });

    scenario('truncate_drops_pages_behind_the_end', (t) => {
      const file = t.memfd({ size: 4 * PAGE });
      file.pwrite(bytes(4 * PAGE, 1), 0);
      t.same(file.stat().blocks, 32n, 'blocks before');
      file.truncate(2 * PAGE);
      t.same(file.stat().blocks, 16n, 'blocks after');
    });

    scenario('truncate_below_0_is_EINVAL', (t) => {
      const file = t.memfd({ size: PAGE });
      t.refused(file.raw.truncate(-1), 'EINVAL', 'ftruncate to -1');
      t.refused(file.raw.truncate(-PAGE), 'EINVAL', 'ftruncate to -4096');
      t.same(file.size, PAGE, 'size');
    });

    scenario('negative_offsets_of_reads_and_writes_are_EINVAL', (t) => {
      const file = t.memfd({ size: PAGE });
      t.refused(file.raw.pread(bytes(1, 0), -1), 'EINVAL', 'pread at -1');
      t.refused(file.raw.pwrite(bytes(1, 0), -1), 'EINVAL', 'pwrite at -1');
    });

    scenario('SEEK_DATA_and_SEEK_HOLE_find_pages', (t) => {
      const file = t.memfd({ size: 8 * PAGE });
      file.pwrite(bytes(1, 1), 3 * PAGE + 7);
      t.same(file.seek('data', 0), BigInt(3 * PAGE), 'first data');
      t.same(file.seek('hole', 0), 0n, 'first hole');
      t.same(file.seek('hole', 3 * PAGE), BigInt(4 * PAGE), 'hole behind the data');
      t.same(file.seek('data', 3 * PAGE + 9), BigInt(3 * PAGE + 9), 'data from within the page');
    });

    scenario('SEEK_without_data_or_beyond_the_end_is_ENXIO', (t) => {
      const file = t.memfd({ size: 8 * PAGE });
      t.refused(file.raw.seek('data', 0), 'ENXIO', 'data in a file of holes');
      t.refused(file.raw.seek('data', 8 * PAGE), 'ENXIO', 'data at the end');
      t.refused(file.raw.seek('hole', 8 * PAGE), 'ENXIO', 'a hole at the end');
      t.same(file.seek('hole', 8 * PAGE - 1), BigInt(8 * PAGE - 1), 'a hole in the last byte');
    });

    scenario('a_mapping_and_the_file_are_one_memory', (t) => {
      const file = t.memfd({ size: 2 * PAGE });
      const mapping = t.map(file);
      file.pwrite(bytes(16, 0x21), PAGE - 8);
      t.filledWith(mapping.read(PAGE - 8, 16), 0x21, 'the mapping after pwrite');
      mapping.fill(0x43, { offset: 100, length: 50 });
      const into = bytes(50, 0);
      file.pread(into, 100);
      t.filledWith(into, 0x43, 'pread after a write through the mapping');
    });

    scenario('private_mapping_keeps_its_copies', (t) => {
      const file = t.memfd({ size: 2 * PAGE });
      const copy = t.map(file, { flags: MAP.value.MAP_PRIVATE });
      copy.fill(9, { length: PAGE });
      file.pwrite(bytes(2 * PAGE, 5), 0);
      t.filledWith(copy.read(0, PAGE), 9, 'the page that was copied');
      t.filledWith(copy.read(PAGE, PAGE), 5, 'the page that was not');
      const into = bytes(PAGE, 0);
      file.pread(into, 0);
      t.filledWith(into, 5, 'the file');
    });

    scenario('closed_file_lives_on_in_its_mapping', (t) => {
      const file = t.memfd({ size: PAGE });
      const mapping = t.map(file);
      mapping.fill(0x3c);
      file.close();
      t.filledWith(mapping.read(0, PAGE), 0x3c, 'the mapping after close');
    });

    scenario('residency_follows_what_is_touched', { needs: { cachestat: true } }, (t) => {
      const file = t.memfd({ size: 16 * PAGE });
      t.same(file.residency().cache, 0, 'pages at first');
      const mapping = t.map(file);
      mapping.fill(1, { offset: 3 * PAGE, length: 2 * PAGE });
      t.same(file.residency().cache, 2, 'pages after two were written');
      t.same(file.residency(4 * PAGE, PAGE).cache, 1, 'pages in a range of one');
      file.punchHole(0, 16 * PAGE);
      t.same(file.residency().cache, 0, 'pages after all are punched');
    });
  },
);
