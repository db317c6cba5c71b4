/** mprotect(2), madvise(2), mincore(2) and faults of mappings. */
import { MADV, MAP, PROT } from '../../../uapi/mman.ts';
import { topic } from '../../scenario.ts';

const { PROT_READ, PROT_WRITE, PROT_NONE } = PROT.value;
const RW = PROT_READ | PROT_WRITE;
const { MADV_DONTNEED, MADV_REMOVE, MADV_FREE, MADV_WILLNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE } = MADV.value;
const PAGE = 4096;

export const mappingChange = topic(
  'mapping/change',
  { promise: 'mprotect(2), madvise(2), mincore(2)', needs: { kvm: false } },
  (scenario) => {
    scenario('mprotect_arguments', (t) => {
      const area = t.anonymous(4 * PAGE);
      t.refused(t.sys.raw.mprotect(area.hva + 1, PAGE, PROT_READ), 'EINVAL', 'an odd address');
      t.refused(t.sys.raw.mprotect(area.hva, PAGE, 0x80), 'EINVAL', 'an unknown protection');
      t.accepted(t.sys.raw.mprotect(area.hva, 0, PROT_NONE), '0 bytes');
      t.accepted(area.raw.fill(1), 'a write after all three');
    });

    scenario('mprotect_over_a_hole_is_ENOMEM', (t) => {
      const area = t.anonymous(4 * PAGE);
      t.sys.munmap(area.hva + 2 * PAGE, PAGE);
      t.refused(t.sys.raw.mprotect(area.hva, 4 * PAGE, PROT_READ), 'ENOMEM', 'over the hole');
    });

    scenario('read_only_page_faults_with_ACCERR_on_write', (t) => {
      const area = t.anonymous(4 * PAGE);
      area.fill(0x21);
      area.protect(PROT_READ, { offset: PAGE, length: PAGE });
      t.filledWith(area.read(0, 4 * PAGE), 0x21, 'a read over all pages');
      t.faulted(
        area.raw.write(0, new Uint8Array(3 * PAGE)),
        { kind: 'SIGSEGV', code: 'SEGV_ACCERR', offset: PAGE, bytesDone: PAGE },
        'a write over it',
      );
      area.protect(RW, { offset: PAGE, length: PAGE });
      t.accepted(area.raw.fill(1), 'a write after it is writable again');
    });

    scenario('PROT_NONE_faults_on_read_and_write', (t) => {
      const area = t.anonymous(2 * PAGE);
      area.protect(PROT_NONE);
      const fault = { kind: 'SIGSEGV', code: 'SEGV_ACCERR', offset: 0, bytesDone: 0 } as const;
      t.faulted(area.raw.read(0, 1), fault, 'a read');
      t.faulted(area.raw.write(0, new Uint8Array(1)), fault, 'a write');
    });

    scenario('access_beyond_the_file_is_SIGBUS', { promise: 'mmap(2), SIGBUS; mm/shmem.c: shmem_fault' }, (t) => {
      const mapping = t.map(t.memfd({ size: 2 * PAGE }), { length: 4 * PAGE });
      t.accepted(mapping.raw.fill(1, { length: 2 * PAGE }), 'a write up to the end');
      const fault = { kind: 'SIGBUS', code: 'BUS_ADRERR', offset: 2 * PAGE } as const;
      t.faulted(mapping.raw.read(2 * PAGE, 1), { ...fault, bytesDone: 0 }, 'a read behind the end');
      t.faulted(mapping.raw.read(PAGE, 2 * PAGE), { ...fault, bytesDone: PAGE }, 'a read over the end');
    });

    scenario('page_of_the_end_is_zero_behind_it', (t) => {
      const mapping = t.map(t.memfd({ size: 100 }), { length: PAGE });
      t.filledWith(mapping.read(0, PAGE), 0, 'the whole last page');
    });

    scenario('truncating_under_a_mapping_makes_it_fault', (t) => {
      const file = t.memfd({ size: 4 * PAGE });
      const mapping = t.map(file);
      mapping.fill(1);
      file.truncate(PAGE);
      t.filledWith(mapping.read(0, PAGE), 1, 'the page that is left');
      t.faulted(mapping.raw.read(PAGE, 1), { kind: 'SIGBUS', offset: PAGE }, 'a page that is gone');
      file.truncate(4 * PAGE);
      t.filledWith(mapping.read(PAGE, 3 * PAGE), 0, 'the pages after growing again');
    });

    scenario('unknown_advice_and_odd_address_are_EINVAL', (t) => {
      const area = t.anonymous(2 * PAGE);
      t.refused(t.sys.raw.madvise(area.hva, PAGE, 9999), 'EINVAL', 'advice 9999');
      t.refused(t.sys.raw.madvise(area.hva + 1, PAGE, MADV_WILLNEED), 'EINVAL', 'an odd address');
      t.accepted(t.sys.raw.madvise(area.hva, 0, MADV_DONTNEED), '0 bytes');
    });

    scenario('advice_over_a_hole_is_ENOMEM_after_the_rest_is_done', (t) => {
      const area = t.anonymous(4 * PAGE, { shared: false });
      area.fill(0x15);
      t.sys.munmap(area.hva + PAGE, PAGE);
      t.refused(t.sys.raw.madvise(area.hva, 4 * PAGE, MADV_DONTNEED), 'ENOMEM', 'DONTNEED over the hole');
      t.filledWith(area.read(0, PAGE), 0, 'the page before the hole');
      t.filledWith(area.read(2 * PAGE, 2 * PAGE), 0, 'the pages behind it');
    });

    scenario('DONTNEED_zeroes_private_anonymous_memory', (t) => {
      const area = t.anonymous(4 * PAGE, { shared: false });
      area.fill(0x15);
      area.advise(MADV_DONTNEED, { offset: PAGE, length: PAGE });
      t.filledWith(area.read(PAGE, PAGE), 0, 'the advised page');
      t.filledWith(area.read(0, PAGE), 0x15, 'the page before');
      t.filledWith(area.read(2 * PAGE, 2 * PAGE), 0x15, 'the pages behind');
    });

    scenario('DONTNEED_keeps_the_data_of_a_shared_file', (t) => {
      const mapping = t.map(t.memfd({ size: 2 * PAGE }));
      mapping.fill(0x16);
      mapping.advise(MADV_DONTNEED);
      t.filledWith(mapping.read(0, 2 * PAGE), 0x16, 'the mapping after DONTNEED');
    });

    scenario('REMOVE_punches_the_file', (t) => {
      const file = t.memfd({ size: 4 * PAGE });
      const mapping = t.map(file);
      mapping.fill(0x17);
      mapping.advise(MADV_REMOVE, { offset: PAGE, length: 2 * PAGE });
      t.same(file.stat().blocks, 16n, 'blocks');
      t.filledWith(mapping.read(PAGE, 2 * PAGE), 0, 'the removed pages');
      t.filledWith(mapping.read(0, PAGE), 0x17, 'the page before');
    });

    scenario('REMOVE_needs_a_shared_mapping_that_could_write', (t) => {
      const file = t.memfd({ size: PAGE });
      t.refused(
        t.map(file, { flags: MAP.value.MAP_PRIVATE }).raw.advise(MADV_REMOVE),
        'EACCES',
        'on a private mapping',
      );
      t.accepted(
        t.map(file, { prot: PROT_READ }).raw.advise(MADV_REMOVE),
        'on a readable one of a writable descriptor',
      );
      t.refused(t.anonymous(PAGE, { shared: false }).raw.advise(MADV_REMOVE), 'EINVAL', 'on anonymous private memory');
    });

    scenario('FREE_is_for_anonymous_memory', (t) => {
      t.refused(t.map(t.memfd({ size: PAGE })).raw.advise(MADV_FREE), 'EINVAL', 'on a file');
      t.accepted(t.anonymous(PAGE, { shared: false }).raw.advise(MADV_FREE), 'on anonymous private memory');
    });

    for (const [name, advice] of [
      ['READ', MADV_POPULATE_READ],
      ['WRITE', MADV_POPULATE_WRITE],
    ] as const) {
      scenario(`POPULATE_${name}_makes_pages_resident`, (t) => {
        const mapping = t.map(t.memfd({ size: 4 * PAGE }));
        t.same(mapping.resident(), [false, false, false, false], 'residency before');
        mapping.advise(advice, { offset: PAGE, length: 2 * PAGE });
        t.same(mapping.resident(), [false, true, true, false], 'residency after');
      });
      scenario(`POPULATE_${name}_beyond_the_file_is_EFAULT`, (t) => {
        const mapping = t.map(t.memfd({ size: PAGE }), { length: 2 * PAGE });
        t.refused(mapping.raw.advise(advice), 'EFAULT', 'beyond the end');
      });
    }

    scenario('POPULATE_WRITE_of_a_read_only_mapping_is_EINVAL', (t) => {
      t.refused(
        t.map(t.memfd({ size: PAGE }), { prot: PROT_READ }).raw.advise(MADV_POPULATE_WRITE),
        'EINVAL',
        'POPULATE_WRITE',
      );
    });

    scenario('mincore_arguments', (t) => {
      const area = t.anonymous(2 * PAGE);
      const vec = new Uint8Array(2);
      t.refused(t.sys.raw.mincore(area.hva + 1, PAGE, vec), 'EINVAL', 'an odd address');
      t.sys.munmap(area.hva + PAGE, PAGE);
      t.refused(t.sys.raw.mincore(area.hva, 2 * PAGE, vec), 'ENOMEM', 'over a hole');
    });
  },
);
