/** memfd_secret(2): memory that the kernel keeps out of its own map. */
import { SecretMem } from '../../../memory/secret-mem.ts';
import { FALLOC_FL } from '../../../uapi/memfd.ts';
import { F, MADV, MAP, O, PROT } from '../../../uapi/mman.ts';
import type { Context } from '../../context.ts';
import { topic } from '../../scenario.ts';

const PAGE = 4096;
const secret = (t: Context, size = PAGE): SecretMem => t.use(SecretMem.create(t.sys, size));

export const secretmem = topic(
  'secretmem/file',
  {
    promise: 'memfd_secret(2); mm/secretmem.c, Linux 5.14 (on without a boot parameter since 6.5)',
    needs: { kvm: false, release: [6, 5] },
  },
  (scenario) => {
    for (const flags of [1, 2, 0x100, O.value.O_CLOEXEC | 4]) {
      scenario(`flags_0x${flags.toString(16)}_are_EINVAL`, (t) => {
        t.refused(t.sys.raw.memfdSecret(flags), 'EINVAL', 'memfd_secret');
        t.sys.close(t.accepted(t.sys.raw.memfdSecret(0), 'memfd_secret(0)'));
      });
    }

    scenario('is_an_empty_file_of_its_owner', (t) => {
      const { mode, size } = secret(t, 0).stat();
      t.same({ mode: mode & 0o7777, size }, { mode: 0o600, size: 0n }, 'mode and size');
    });

    scenario('takes_its_size_once', (t) => {
      const file = secret(t, 2 * PAGE);
      for (const size of [PAGE, 2 * PAGE, 4 * PAGE, 0])
        t.refused(file.raw.truncate(size), 'EINVAL', `ftruncate to ${size}`);
      t.same(file.size, 2 * PAGE, 'size');
    });

    scenario('cannot_be_read_or_written_by_descriptor', (t) => {
      const file = secret(t);
      const bytes = new Uint8Array(64);
      t.refused(file.raw.read(bytes), 'EINVAL', 'read');
      t.refused(file.raw.write(bytes), 'EINVAL', 'write');
      t.refused(file.raw.pread(bytes, 0), 'ESPIPE', 'pread');
      t.refused(file.raw.pwrite(bytes, 0), 'ESPIPE', 'pwrite');
      t.refused(file.raw.seek('data', 0), 'ESPIPE', 'lseek');
    });

    scenario('has_no_fallocate', (t) => {
      const file = secret(t);
      t.refused(file.raw.allocate(0, PAGE), 'EOPNOTSUPP', 'allocation');
      t.refused(
        file.raw.fallocate(FALLOC_FL.value.FALLOC_FL_PUNCH_HOLE | FALLOC_FL.value.FALLOC_FL_KEEP_SIZE, 0, PAGE),
        'EOPNOTSUPP',
        'a hole',
      );
    });

    scenario('has_no_seals', (t) => {
      t.refused(t.sys.raw.fcntl(secret(t).fd, F.value.F_GET_SEALS), 'EINVAL', 'F_GET_SEALS');
      t.refused(secret(t).raw.addSeals(1), 'EINVAL', 'F_ADD_SEALS');
    });

    scenario('is_mapped_shared_only', (t) => {
      const file = secret(t);
      t.refused(file.raw.map({ flags: MAP.value.MAP_PRIVATE }), 'EINVAL', 'a private mapping');
      const mapping = t.use(t.accepted(file.raw.map(), 'a shared mapping'));
      t.filledWith(mapping.read(0, PAGE), 0, 'fresh memory');
      mapping.fill(0x61);
      t.filledWith(mapping.read(0, PAGE), 0x61, 'what was written');
    });

    scenario('two_mappings_show_one_memory', (t) => {
      const file = secret(t);
      const [a, b] = [t.use(file.map()), t.use(file.map({ prot: PROT.value.PROT_READ }))];
      a.fill(0x62);
      t.filledWith(b.read(0, PAGE), 0x62, 'the second mapping');
    });

    scenario('beyond_its_size_is_SIGBUS', (t) => {
      const mapping = t.use(secret(t).map({ length: 2 * PAGE }));
      t.faulted(mapping.raw.read(PAGE, 1), { kind: 'SIGBUS', offset: PAGE, bytesDone: 0 }, 'a read beyond the size');
      t.accepted(mapping.raw.fill(1, { length: PAGE }), 'a write up to it');
    });

    scenario('cannot_be_removed_by_advice', (t) => {
      const mapping = t.use(secret(t).map());
      mapping.fill(0x63);
      const answer = mapping.raw.advise(MADV.value.MADV_REMOVE);
      t.holds(!answer.ok, 'MADV_REMOVE is refused');
      t.filledWith(mapping.read(0, PAGE), 0x63, 'contents');
    });

    scenario('another_mapping_of_the_process_does_not_see_it', (t) => {
      const [one, two] = [t.use(secret(t).map()), t.use(secret(t).map())];
      one.fill(0x64);
      t.filledWith(two.read(0, PAGE), 0, 'a second secret file');
    });
  },
);
