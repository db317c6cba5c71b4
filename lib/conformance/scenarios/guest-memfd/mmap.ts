/** mmap(2) of a guest_memfd: who may, how, and which page is where. */
import { MAP, PROT } from '../../../uapi/index.ts';
import {
  EVERY_KIND,
  type FileKind,
  forKinds,
  HOST_BLIND,
  INIT_SHARED,
  MMAP,
  makeFile,
  PAGE,
  PLAIN,
  PROTECTED,
  SHARED,
} from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const { PROT_READ, PROT_WRITE, PROT_EXEC, PROT_NONE } = PROT.value;
const { MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_SYNC, MAP_FIXED, MAP_POPULATE } = MAP.value;
const ONLY_INIT_SHARED: FileKind = { ...SHARED, suffix: 'file_with_INIT_SHARED_alone', flags: INIT_SHARED };
const MAPPABLES = EVERY_KIND.filter(({ flags }) => (flags & MMAP) !== 0);

export const guestMemfdMmap = topic(
  'guest_memfd/mmap',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_mmap, Linux 6.18' },
  (scenario) => {
    forKinds(scenario, [PLAIN, PROTECTED, ONLY_INIT_SHARED])('without_flag_MMAP_is_ENODEV', (t, kind) => {
      const file = makeFile(t, kind, 4);
      for (const flags of [MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE]) {
        for (const prot of [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE])
          t.refused(file.raw.map({ length: PAGE, flags, prot }), 'ENODEV', `flags ${flags}, prot ${prot}`);
      }
      t.refused(file.raw.map(), 'ENODEV', 'the whole file');
    });

    const each = forKinds(scenario, MAPPABLES);

    each('shared_is_accepted', (t, kind) => {
      const file = makeFile(t, kind, 4);
      for (const flags of [MAP_SHARED, MAP_SHARED_VALIDATE]) {
        for (const prot of [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE])
          t.accepted(file.raw.map({ flags, prot }), `flags ${flags}, prot ${prot}`).close();
      }
    });

    each('MAP_PRIVATE_is_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, 4);
      for (const prot of [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE])
        t.refused(file.raw.map({ flags: MAP_PRIVATE, prot }), 'EINVAL', `MAP_PRIVATE, prot ${prot}`);
      t.accepted(file.raw.map(), 'MAP_SHARED').close();
    });

    each('MAP_SYNC_is_EOPNOTSUPP', (t, kind) => {
      const file = makeFile(t, kind, 4);
      const flags = MAP_SHARED_VALIDATE | MAP_SYNC;
      t.refused(file.raw.map({ flags }), 'EOPNOTSUPP', 'MAP_SHARED_VALIDATE|MAP_SYNC');
    });

    each(
      'PROT_EXEC_is_EPERM',
      (t, kind) => {
        const file = makeFile(t, kind, 4);
        t.refused(file.raw.map({ prot: PROT_READ | PROT_EXEC }), 'EPERM', 'mmap with PROT_EXEC');
        const map = t.map(file);
        t.refused(map.raw.protect(PROT_READ | PROT_EXEC), 'EACCES', 'mprotect to PROT_EXEC');
      },
      { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_init_mount, MNT_NOEXEC; before 6.19 anon_inodefs. Linux 6.18' },
    );

    each('lengths_and_offsets_are_judged_as_for_any_file', (t, kind) => {
      const file = makeFile(t, kind, 4);
      t.refused(file.raw.map({ length: 0 }), 'EINVAL', 'length 0');
      t.refused(file.raw.map({ length: PAGE, offset: 1 }), 'EINVAL', 'an unaligned offset');
      t.accepted(file.raw.map({ length: 1 }), 'one byte').close();
      t.accepted(file.raw.map({ length: 64 * PAGE }), 'more than the file').close();
      t.accepted(file.raw.map({ length: PAGE, offset: 64 * PAGE }), 'a page behind the file').close();
    });

    const shared = forKinds(scenario, [SHARED]);

    shared('offset_names_the_page', (t, kind) => {
      const file = makeFile(t, kind, 6);
      const whole = t.map(file);
      for (let page = 0; page < 6; page++) whole.fill(page + 1, { offset: page * PAGE, length: PAGE });
      for (let page = 0; page < 6; page++) {
        const map = t.map(file, { offset: page * PAGE });
        t.same(map.length, (6 - page) * PAGE, 'length of the rest');
        t.filledWith(map.read(0, PAGE), page + 1, `first page of a mapping at page ${page}`);
        t.filledWith(map.read(map.length - PAGE, PAGE), 6, 'its last page');
      }
    });

    shared('mappings_show_the_same_memory', (t, kind) => {
      const file = makeFile(t, kind, 4);
      const [one, two] = [t.map(file), t.map(file)];
      const contents = t.random.bytes(4 * PAGE);
      one.write(0, contents);
      t.same(two.firstDifference(0, contents), undefined, 'first byte that differs in the second mapping');
      two.fill(0, { offset: PAGE, length: PAGE });
      t.filledWith(one.read(PAGE, PAGE), 0, 'what the second wrote, in the first');
    });

    shared('contents_outlive_every_mapping', (t, kind) => {
      const file = makeFile(t, kind, 4);
      const contents = t.random.bytes(4 * PAGE);
      const map = file.map();
      map.write(0, contents);
      map.close();
      t.same(t.map(file).firstDifference(0, contents), undefined, 'first byte that differs in a new mapping');
    });

    shared('protection_is_kept', (t, kind) => {
      const file = makeFile(t, kind, 2);
      const [readable, closed] = [t.map(file, { prot: PROT_READ }), t.map(file, { prot: PROT_NONE })];
      t.map(file).fill(0x42);
      t.filledWith(readable.read(0, 2 * PAGE), 0x42, 'a mapping for reading');
      t.faulted(readable.raw.write(8, new Uint8Array(8)), { kind: 'SIGSEGV', offset: 8 }, 'writing to it');
      t.faulted(closed.raw.read(0, 1), { kind: 'SIGSEGV', offset: 0 }, 'reading without access');
      closed.protect(PROT_READ | PROT_WRITE);
      closed.fill(0x43);
      t.filledWith(readable.read(0, 2 * PAGE), 0x43, 'after mprotect gave the right to write');
    });

    shared('MAP_FIXED_replaces', (t, kind) => {
      const file = makeFile(t, kind, 4);
      const [map, other] = [t.map(file), t.map(file)];
      other.fill(0x61);
      const place = t.anonymous(4 * PAGE);
      place.fill(0x11);
      const hva = t.sys.mmap(place.hva + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file.fd, 3 * PAGE);
      t.same(hva, place.hva + PAGE, 'address');
      t.filledWith(place.read(0, PAGE), 0x11, 'the page before');
      t.filledWith(place.read(PAGE, PAGE), 0x61, 'the page of the file');
      t.filledWith(place.read(2 * PAGE, 2 * PAGE), 0x11, 'the pages behind');
      t.filledWith(map.read(0, 4 * PAGE), 0x61, 'the file');
    });

    shared('MAP_POPULATE_fills_it_with_pages', (t, kind) => {
      const file = makeFile(t, kind, 4);
      const map = t.map(file, { flags: MAP_SHARED | MAP_POPULATE });
      t.same(map.resident(), [true, true, true, true], 'pages that mincore sees');
      t.filledWith(map.read(0, 4 * PAGE), 0, 'the pages');
    });

    forKinds(scenario, HOST_BLIND)('MAP_POPULATE_of_private_memory_is_accepted_and_gives_none', (t, kind) => {
      const file = makeFile(t, kind, 4);
      const map = t.map(file, { flags: MAP_SHARED | MAP_POPULATE });
      t.same(map.resident(), [false, false, false, false], 'pages that mincore sees');
      t.faulted(map.raw.read(0, 1), { kind: 'SIGBUS', offset: 0 }, 'reading it');
    });
  },
);
