/** What the host meets when it touches a mapped guest_memfd: memory, or SIGBUS at the exact byte. */
import { CACHESTAT, forKinds, HOST_BLIND, heldCount, heldIndexes, makeFile, PAGE, SHARED } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const PAGES = 4;
const END = PAGES * PAGE;
const BUS = { kind: 'SIGBUS', code: 'BUS_ADRERR' } as const;

export const guestMemfdFaults = topic(
  'guest_memfd/faults',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fault_user_mapping, Linux 6.18' },
  (scenario) => {
    const shared = forKinds(scenario, [SHARED]);

    shared('every_page_holds_what_was_written', (t, kind) => {
      const map = t.map(makeFile(t, kind, 64));
      const contents = t.random.bytes(64 * PAGE);
      map.write(0, contents);
      t.same(map.firstDifference(0, contents), undefined, 'first byte that differs');
      map.fill(0xaa);
      t.filledWith(map.read(0, 64 * PAGE), 0xaa, 'all of it');
    });

    shared(
      'touching_a_page_allocates_that_page',
      (t, kind) => {
        const file = makeFile(t, kind, 8);
        const map = t.map(file, { offset: 2 * PAGE });
        map.read(3 * PAGE + 5, 1);
        t.same(heldIndexes(file), [5], 'pages after a read of page 3 of a mapping that starts at page 2');
        map.write(PAGE - 1, Uint8Array.of(1, 2));
        t.same(heldIndexes(file), [2, 3, 5], 'pages after a write over a boundary');
        map.read(5 * PAGE, PAGE);
        t.same(heldIndexes(file), [2, 3, 5, 7], 'pages after a read of the last one');
      },
      { needs: CACHESTAT },
    );

    shared('beyond_the_size_is_SIGBUS', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES), { length: 4 * END });
      map.fill(0xaa, { length: END });
      for (const offset of [END, END + 1, END + PAGE, 2 * END, 4 * END - 1]) {
        t.faulted(map.raw.read(offset, 1), { ...BUS, offset, bytesDone: 0 }, `reading at ${offset}`);
        t.faulted(map.raw.write(offset, Uint8Array.of(1)), { ...BUS, offset, bytesDone: 0 }, `writing at ${offset}`);
      }
      t.filledWith(map.read(0, END), 0xaa, 'the file');
    });

    shared('write_over_the_end_stops_at_the_size', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES), { length: 4 * END });
      t.faulted(map.raw.fill(0xaa), { ...BUS, offset: END, bytesDone: END }, 'filling four times the file');
      t.faulted(map.raw.read(END - 16, 32), { ...BUS, offset: END, bytesDone: 16 }, 'reading over the end');
      t.filledWith(map.read(0, END), 0xaa, 'the file');
    });

    shared('mapping_that_starts_at_the_size_is_SIGBUS', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      for (const offset of [END, END + PAGE]) {
        const map = t.map(file, { offset, length: PAGE });
        t.faulted(map.raw.read(0, 1), { ...BUS, offset: 0, bytesDone: 0 }, `reading a mapping at offset ${offset}`);
      }
      t.filledWith(t.map(file, { offset: END - PAGE, length: PAGE }).read(0, PAGE), 0, 'the last page');
    });

    shared('last_page_of_a_huge_file', (t, kind) => {
      const size = 1n << 45n;
      const file = t.use(t.vm().createGuestMemfd(size, kind.flags));
      const offset = size - BigInt(PAGE);
      const map = t.map(file, { offset, length: 2 * PAGE });
      map.fill(0x31, { length: PAGE });
      t.filledWith(t.map(file, { offset, length: PAGE }).read(0, PAGE), 0x31, 'the last page');
      t.faulted(map.raw.read(PAGE, 1), { ...BUS, offset: PAGE }, 'the page behind it');
      t.filledWith(t.map(file, { length: PAGE }).read(0, PAGE), 0, 'the first page');
    });

    const blind = forKinds(scenario, HOST_BLIND);

    blind('private_page_is_SIGBUS', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES));
      for (let page = 0; page < PAGES; page++) {
        const offset = page * PAGE + t.random.below(PAGE);
        t.faulted(map.raw.read(offset, 1), { ...BUS, offset, bytesDone: 0 }, `reading at ${offset}`);
        t.faulted(map.raw.write(offset, Uint8Array.of(1)), { ...BUS, offset, bytesDone: 0 }, `writing at ${offset}`);
      }
      t.faulted(map.raw.fill(0xaa), { ...BUS, offset: 0, bytesDone: 0 }, 'filling all');
    });

    blind('private_page_that_is_allocated_is_SIGBUS', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const map = t.map(file);
      file.allocate(0, END);
      t.faulted(map.raw.read(PAGE, 1), { ...BUS, offset: PAGE, bytesDone: 0 }, 'reading');
      t.faulted(map.raw.fill(1), { ...BUS, offset: 0, bytesDone: 0 }, 'filling');
    });

    blind('private_page_beyond_the_size_is_SIGBUS', (t, kind) => {
      const map = t.map(makeFile(t, kind, PAGES), { length: 2 * END });
      t.faulted(map.raw.read(END, 1), { ...BUS, offset: END, bytesDone: 0 }, 'reading');
    });

    blind(
      'refused_access_allocates_nothing',
      (t, kind) => {
        const file = makeFile(t, kind, PAGES);
        const map = t.map(file);
        t.faulted(map.raw.read(0, 1), BUS, 'reading');
        t.faulted(map.raw.fill(1), BUS, 'filling');
        t.same(heldCount(file), 0, 'pages held');
      },
      { needs: CACHESTAT },
    );

    // The kernel's own accesses on behalf of a system call.

    shared(
      'system_calls_copy_to_and_from_it',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, PAGES));
        const memfd = t.memfd({ size: END });
        const contents = t.random.bytes(END);
        memfd.pwrite(contents, 0);
        t.same(memfd.pread(map.unsafeView(), 0), END, 'bytes read into the mapping');
        t.same(map.firstDifference(0, contents), undefined, 'first byte that differs');
        map.fill(0x5c, { offset: PAGE, length: PAGE });
        t.same(memfd.pwrite(map.unsafeView(), 0), END, 'bytes written from the mapping');
        const back = new Uint8Array(END);
        memfd.pread(back, 0);
        t.same(back, contents.fill(0x5c, PAGE, 2 * PAGE), 'what arrived');
      },
      { needs: { real: true } },
    );

    blind(
      'system_calls_that_copy_private_pages_are_EFAULT',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, PAGES));
        const memfd = t.memfd({ size: END });
        memfd.pwrite(new Uint8Array(END).fill(7), 0);
        t.refused(memfd.raw.pread(map.unsafeView(), 0), 'EFAULT', 'reading into private pages');
        t.refused(memfd.raw.pwrite(map.unsafeView(), 0), 'EFAULT', 'writing from private pages');
        const back = new Uint8Array(END);
        memfd.pread(back, 0);
        t.filledWith(back, 7, 'the memfd');
      },
      { needs: { real: true } },
    );
  },
);
