/** mmap(2) and munmap(2): the order of checks, what is mapped where. */
import { MAP, PROT } from '../../../uapi/mman.ts';
import { topic } from '../../scenario.ts';

const {
  MAP_SHARED,
  MAP_PRIVATE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_SHARED_VALIDATE,
  MAP_SYNC,
  MAP_HUGETLB,
} = MAP.value;
const { PROT_READ, PROT_WRITE } = PROT.value;
const RW = PROT_READ | PROT_WRITE;
const PAGE = 4096;
const CLOSED = 1_000_000;

export const mappingMmap = topic(
  'mapping/mmap',
  { promise: 'mmap(2); mm/mmap.c: do_mmap', needs: { kvm: false } },
  (scenario) => {
    scenario('length_0_is_EINVAL', (t) => {
      t.refused(t.sys.raw.mmap(0, 0, RW, MAP_SHARED, t.memfd({ size: PAGE }).fd, 0), 'EINVAL', 'mmap of 0 bytes');
      t.refused(t.sys.raw.mmap(0, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 'EINVAL', 'anonymous mmap of 0 bytes');
    });

    scenario('closed_descriptor_is_EBADF_before_the_length', (t) => {
      t.refused(t.sys.raw.mmap(0, 0, RW, MAP_SHARED, CLOSED, 0), 'EBADF', 'a closed descriptor and 0 bytes');
    });

    scenario('unaligned_offset_is_EINVAL', (t) => {
      const { fd } = t.memfd({ size: 4 * PAGE });
      for (const offset of [1, 2048, PAGE - 1])
        t.refused(t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED, fd, offset), 'EINVAL', `offset ${offset}`);
      // Before the descriptor is looked at.
      t.refused(t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED, CLOSED, 1), 'EINVAL', 'unaligned offset and closed descriptor');
    });

    scenario('length_beyond_the_address_space_is_ENOMEM', (t) => {
      const { fd } = t.memfd({ size: PAGE });
      t.refused(t.sys.raw.mmap(0, 2n ** 64n - 1n, RW, MAP_SHARED, fd, 0), 'ENOMEM', '2^64 - 1 bytes');
      t.refused(t.sys.raw.mmap(0, 2n ** 60n, RW, MAP_SHARED, fd, 0), 'ENOMEM', '2^60 bytes');
    });

    scenario('end_offset_overflow_is_EOVERFLOW', (t) => {
      const { fd } = t.memfd({ size: PAGE });
      t.refused(
        t.sys.raw.mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, -PAGE),
        'EOVERFLOW',
        'two pages from the last page of 2^64',
      );
    });

    scenario('neither_SHARED_nor_PRIVATE_is_EINVAL', (t) => {
      const { fd } = t.memfd({ size: PAGE });
      t.refused(t.sys.raw.mmap(0, PAGE, RW, 0, fd, 0), 'EINVAL', 'flags 0');
    });

    scenario('SHARED_VALIDATE_refuses_unknown_flags_and_SHARED_does_not', (t) => {
      const { fd } = t.memfd({ size: PAGE });
      const unknown = 0x200000;
      t.refused(
        t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED_VALIDATE | unknown, fd, 0),
        'EOPNOTSUPP',
        'SHARED_VALIDATE with an unknown flag',
      );
      t.refused(t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), 'EOPNOTSUPP', 'MAP_SYNC on tmpfs');
      const hva = t.accepted(t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED | unknown, fd, 0), 'SHARED with an unknown flag');
      t.sys.munmap(hva, PAGE);
    });

    scenario('HUGETLB_on_an_ordinary_file_is_EINVAL', (t) => {
      t.refused(
        t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED | MAP_HUGETLB, t.memfd({ size: PAGE }).fd, 0),
        'EINVAL',
        'MAP_HUGETLB',
      );
    });

    scenario('file_that_cannot_be_mapped_is_ENODEV', (t) => {
      const event = t.sys.eventfd(0, 0);
      const answer = t.sys.raw.mmap(0, PAGE, PROT_READ, MAP_SHARED, event, 0);
      t.sys.close(event);
      t.refused(answer, 'ENODEV', 'mmap of an eventfd');
    });

    scenario('read_only_descriptor_gives_no_shared_writable_mapping', (t) => {
      const file = t.memfd({ size: PAGE });
      const fd = t.sys.open(`/proc/self/fd/${file.fd}`, 0);
      try {
        t.refused(t.sys.raw.mmap(0, PAGE, RW, MAP_SHARED, fd, 0), 'EACCES', 'shared and writable');
        const hva = t.accepted(t.sys.raw.mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0), 'shared and readable');
        t.refused(t.sys.raw.mprotect(hva, PAGE, RW), 'EACCES', 'making it writable');
        t.sys.munmap(hva, PAGE);
        const copy = t.accepted(t.sys.raw.mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0), 'private and writable');
        t.sys.munmap(copy, PAGE);
      } finally {
        t.sys.close(fd);
      }
    });

    scenario('FIXED_unaligned_is_EINVAL', (t) => {
      const area = t.anonymous(4 * PAGE);
      t.refused(
        t.sys.raw.mmap(area.hva + 1, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        'EINVAL',
        'MAP_FIXED at an odd address',
      );
    });

    scenario('FIXED_NOREPLACE_over_a_mapping_is_EEXIST', (t) => {
      const area = t.anonymous(4 * PAGE);
      area.fill(0x12);
      const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
      t.refused(t.sys.raw.mmap(area.hva + PAGE, PAGE, RW, flags, -1, 0), 'EEXIST', 'over the second page');
      t.refused(t.sys.raw.mmap(area.hva + 3 * PAGE, 2 * PAGE, RW, flags, -1, 0), ['EEXIST'], 'over the end');
      t.filledWith(area.read(0, 4 * PAGE), 0x12, 'the mapping that was there');
    });

    scenario('FIXED_replaces_what_is_there', (t) => {
      const area = t.anonymous(4 * PAGE);
      area.fill(0x12);
      const file = t.memfd({ size: PAGE });
      file.pwrite(new Uint8Array(PAGE).fill(0x34), 0);
      t.same(
        t.sys.mmap(area.hva + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, file.fd, 0),
        area.hva + PAGE,
        'where it was mapped',
      );
      t.filledWith(area.read(PAGE, PAGE), 0x34, 'the replaced page');
      t.filledWith(area.read(0, PAGE), 0x12, 'the page before');
      t.filledWith(area.read(2 * PAGE, 2 * PAGE), 0x12, 'the pages behind');
    });

    scenario('anonymous_memory_is_zero', (t) => {
      for (const shared of [true, false])
        t.filledWith(t.anonymous(16 * PAGE, { shared }).read(0, 16 * PAGE), 0, `shared ${shared}`);
    });

    scenario('offset_selects_the_page_of_the_file', (t) => {
      const file = t.memfd({ size: 4 * PAGE });
      for (let page = 0; page < 4; page++) file.pwrite(new Uint8Array(PAGE).fill(page + 1), page * PAGE);
      for (let page = 0; page < 4; page++)
        t.filledWith(t.map(file, { offset: page * PAGE, length: PAGE }).read(0, PAGE), page + 1, `page ${page}`);
    });

    scenario('munmap_arguments', { promise: 'munmap(2); mm/vma.c: do_vmi_munmap' }, (t) => {
      const area = t.anonymous(2 * PAGE);
      t.refused(t.sys.raw.munmap(area.hva, 0), 'EINVAL', '0 bytes');
      t.refused(t.sys.raw.munmap(area.hva + 1, PAGE), 'EINVAL', 'an odd address');
      t.filledWith(area.read(0, 2 * PAGE), 0, 'the mapping after both refusals');
    });

    scenario('munmap_of_a_part_leaves_the_rest', (t) => {
      const area = t.anonymous(4 * PAGE);
      area.fill(0x44);
      t.sys.munmap(area.hva + PAGE, 2 * PAGE);
      t.filledWith(area.read(0, PAGE), 0x44, 'the first page');
      t.filledWith(area.read(3 * PAGE, PAGE), 0x44, 'the last page');
      t.faulted(
        area.raw.read(PAGE, 8),
        { kind: 'SIGSEGV', code: 'SEGV_MAPERR', offset: PAGE, bytesDone: 0 },
        'a read of the hole',
      );
      t.faulted(area.raw.read(0, 2 * PAGE), { kind: 'SIGSEGV', offset: PAGE, bytesDone: PAGE }, 'a read into the hole');
    });
  },
);
