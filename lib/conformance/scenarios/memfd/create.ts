/** memfd_create(2): flags, names, the file that comes out. */
import { F_SEAL, FS_MAGIC, MFD, MFD_NAME_MAX } from '../../../uapi/memfd.ts';
import { F } from '../../../uapi/mman.ts';
import { topic } from '../../scenario.ts';

const { MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_EXEC, MFD_NOEXEC_SEAL, MFD_CLOEXEC } = MFD.value;
const { F_SEAL_SEAL, F_SEAL_EXEC } = F_SEAL.value;
const SINCE_EXEC = [6, 3] as const;
const O_ACCMODE = 3;
const O_RDWR = 2;

export const memfdCreate = topic(
  'memfd/create',
  { promise: 'memfd_create(2); mm/memfd.c: memfd_create, Linux 3.17', needs: { kvm: false } },
  (scenario) => {
    const known = [MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC].map(Math.log2);
    for (let bit = 5; bit < 32; bit++) {
      if (known.includes(bit) || (bit >= 26 && bit % 3 !== 0)) continue;
      scenario(`flag_bit_${bit}_is_EINVAL`, (t) => {
        t.refused(
          t.sys.raw.memfdCreate('x', 2 ** bit),
          'EINVAL',
          `memfd_create with flag 0x${(2 ** bit).toString(16)}`,
        );
        t.sys.close(t.accepted(t.sys.raw.memfdCreate('x', 0), 'the same without it'));
      });
    }

    scenario('EXEC_with_NOEXEC_SEAL_is_EINVAL', { needs: { release: SINCE_EXEC } }, (t) => {
      t.refused(t.sys.raw.memfdCreate('x', MFD_EXEC | MFD_NOEXEC_SEAL), 'EINVAL', 'both flags');
    });

    scenario('name_of_249_bytes_is_taken', (t) => {
      t.sys.close(t.accepted(t.sys.raw.memfdCreate('n'.repeat(MFD_NAME_MAX), 0), 'a name of 249 bytes'));
    });

    scenario('name_of_250_bytes_is_EINVAL', (t) => {
      t.refused(t.sys.raw.memfdCreate('n'.repeat(MFD_NAME_MAX + 1), 0), 'EINVAL', 'a name of 250 bytes');
    });

    scenario('empty_name_is_taken', (t) => {
      t.sys.close(t.accepted(t.sys.raw.memfdCreate('', 0), 'an empty name'));
    });

    scenario('names_need_not_differ', (t) => {
      const [a, b] = [t.memfd({ name: 'same' }), t.memfd({ name: 'same' })];
      t.holds(a.stat().ino !== b.stat().ino, 'two files of one name are two files');
    });

    scenario('is_empty_unlinked_and_on_tmpfs', (t) => {
      const { size, nlink, fsType, blocks } = t.memfd().stat();
      const tmpfs = BigInt(FS_MAGIC.value.TMPFS_MAGIC);
      t.same(
        { size, nlink, fsType, blocks },
        { size: 0n, nlink: 0, fsType: tmpfs, blocks: 0n },
        'fstat of a new memfd',
      );
    });

    scenario('is_open_for_reading_and_writing', (t) => {
      t.same(t.sys.fcntl(t.memfd().fd, F.value.F_GETFL) & O_ACCMODE, O_RDWR, 'access mode');
    });

    scenario('CLOEXEC_is_set_when_asked_for', (t) => {
      t.same(t.sys.fcntl(t.memfd().fd, F.value.F_GETFD), 1, 'FD_CLOEXEC');
    });

    for (const [name, flags, mode, seals] of [
      ['EXEC', MFD_EXEC, 0o777, F_SEAL_SEAL],
      ['EXEC_with_sealing', MFD_EXEC | MFD_ALLOW_SEALING, 0o777, 0],
      ['NOEXEC_SEAL', MFD_NOEXEC_SEAL, 0o666, F_SEAL_EXEC],
      ['NOEXEC_SEAL_with_sealing', MFD_NOEXEC_SEAL | MFD_ALLOW_SEALING, 0o666, F_SEAL_EXEC],
    ] as const) {
      scenario(`${name}_has_its_mode_and_seals`, { needs: { release: SINCE_EXEC } }, (t) => {
        const file = t.memfd({ flags, sealable: false });
        const have = { mode: file.stat().mode & 0o7777, seals: file.seals };
        t.same(have, { mode, seals }, `a memfd with flags 0x${flags.toString(16)}`);
      });
    }

    scenario('every_descriptor_is_a_new_one', (t) => {
      const files = Array.from({ length: 20 }, () => t.memfd());
      t.same(new Set(files.map(({ fd }) => fd)).size, 20, 'descriptors of 20 open files');
    });

    scenario('HUGETLB_with_an_impossible_page_size_is_refused', (t) => {
      // 2^63 bytes: no architecture has such pages.
      t.refused(
        t.sys.raw.memfdCreate('x', (MFD_HUGETLB | (63 << 26)) >>> 0),
        ['ENODEV', 'ENOSYS', 'EINVAL'],
        'pages of 2^63 bytes',
      );
    });

    scenario('page_size_without_HUGETLB_is_EINVAL', (t) => {
      t.refused(t.sys.raw.memfdCreate('x', 21 << 26), 'EINVAL', '2 MiB pages without MFD_HUGETLB');
    });

    scenario('flags_are_judged_before_the_name', (t) => {
      // Both are wrong, and both are EINVAL; a good name must not make the flag good.
      t.refused(t.sys.raw.memfdCreate('n'.repeat(300), 0x100), 'EINVAL', 'bad flag and bad name');
      t.refused(t.sys.raw.memfdCreate('n', 0x100), 'EINVAL', 'bad flag');
    });

    scenario('mode_cannot_get_an_x_bit_under_NOEXEC_SEAL', { needs: { release: SINCE_EXEC } }, (t) => {
      const file = t.memfd({ flags: MFD_NOEXEC_SEAL });
      t.refused(file.raw.chmod(0o777), 'EPERM', 'fchmod 0777');
      t.accepted(file.raw.chmod(0o600), 'fchmod 0600');
      t.same(file.stat().mode & 0o777, 0o600, 'mode');
    });
  },
);
