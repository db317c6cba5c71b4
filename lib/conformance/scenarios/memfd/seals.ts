/** F_ADD_SEALS and F_GET_SEALS themselves: who may seal, what adds up, what is refused. */
import { F_SEAL, MFD } from '../../../uapi/memfd.ts';
import { F, MAP, PROT } from '../../../uapi/mman.ts';
import type { Context } from '../../context.ts';
import { topic } from '../../scenario.ts';

const { F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_EXEC } = F_SEAL.value;
const { F_ADD_SEALS, F_GET_SEALS } = F.value;
const PAGE = 4096;
const EACH = { F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE } as const;

/** Executable, so that EXEC is not sealed from the start, whatever the system's policy. */
const file = (t: Context) => t.memfd({ size: 2 * PAGE, flags: t.isAtLeast([6, 3]) ? MFD.value.MFD_EXEC : 0 });

/** Runs `use` with a read-only descriptor of the same file. */
function readOnly(t: Context, fd: number, use: (fd: number) => void): void {
  const reopened = t.accepted(t.sys.raw.open(`/proc/self/fd/${fd}`, 0), 'open through /proc/self/fd');
  try {
    use(reopened);
  } finally {
    t.sys.close(reopened);
  }
}

export const memfdSeals = topic(
  'memfd/seals',
  { promise: 'fcntl(2), File Sealing; mm/memfd.c: memfd_add_seals, Linux 3.17', needs: { kvm: false } },
  (scenario) => {
    for (const [name, seal] of Object.entries(EACH)) {
      scenario(`${name}_is_added_and_seen`, (t) => {
        const sealed = file(t);
        t.accepted(sealed.raw.addSeals(seal), `adding ${name}`);
        t.same(sealed.seals, seal, 'F_GET_SEALS');
      });
      scenario(`${name}_may_be_added_again_unless_it_is_SEAL`, (t) => {
        const sealed = file(t);
        sealed.addSeals(seal);
        if (seal === F_SEAL_SEAL) t.refused(sealed.raw.addSeals(seal), 'EPERM', `${name} again`);
        else t.accepted(sealed.raw.addSeals(seal), `${name} again`);
        t.same(sealed.seals, seal, 'F_GET_SEALS');
      });
    }

    scenario('add_up', (t) => {
      const sealed = file(t);
      sealed.addSeals(F_SEAL_SHRINK | F_SEAL_WRITE);
      sealed.addSeals(0);
      sealed.addSeals(F_SEAL_GROW | F_SEAL_SEAL);
      t.same(sealed.seals, F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL, 'F_GET_SEALS');
    });

    scenario('after_SEAL_nothing_can_be_added', (t) => {
      const sealed = file(t);
      sealed.addSeals(F_SEAL_SEAL);
      for (const more of [F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE, 0])
        t.refused(sealed.raw.addSeals(more), 'EPERM', `adding ${more}`);
      t.same(sealed.seals, F_SEAL_SEAL, 'F_GET_SEALS');
    });

    scenario('without_ALLOW_SEALING_nothing_can_be_added', (t) => {
      const fixed = t.memfd({ sealable: false, flags: t.isAtLeast([6, 3]) ? MFD.value.MFD_EXEC : 0 });
      t.same(fixed.seals, F_SEAL_SEAL, 'F_GET_SEALS');
      t.refused(fixed.raw.addSeals(F_SEAL_GROW), 'EPERM', 'adding GROW');
    });

    for (const bit of [6, 7, 15, 30]) {
      scenario(`unknown_bit_${bit}_is_EINVAL`, (t) => {
        const sealed = file(t);
        t.refused(sealed.raw.addSeals(2 ** bit), 'EINVAL', `adding 0x${(2 ** bit).toString(16)}`);
        t.refused(sealed.raw.addSeals((2 ** bit) | F_SEAL_GROW), 'EINVAL', 'adding it together with GROW');
        t.same(sealed.seals, 0, 'F_GET_SEALS');
      });
    }

    scenario('unknown_bit_is_judged_before_SEAL', (t) => {
      const sealed = file(t);
      sealed.addSeals(F_SEAL_SEAL);
      t.refused(sealed.raw.addSeals(0x40), 'EINVAL', 'an unknown bit on a file sealed against sealing');
    });

    scenario('read_only_descriptor_is_EPERM_before_the_bits', (t) => {
      readOnly(t, file(t).fd, (fd) => {
        t.refused(t.sys.raw.fcntl(fd, F_ADD_SEALS, 0x40), 'EPERM', 'an unknown bit through a read-only descriptor');
        t.refused(t.sys.raw.fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 'EPERM', 'GROW through a read-only descriptor');
        t.same(t.sys.fcntl(fd, F_GET_SEALS), 0, 'F_GET_SEALS through it');
      });
    });

    scenario('other_files_are_EINVAL', (t) => {
      const event = t.sys.eventfd(0, 0);
      try {
        t.refused(t.sys.raw.fcntl(event, F_ADD_SEALS, F_SEAL_GROW), 'EINVAL', 'sealing an eventfd');
        t.refused(t.sys.raw.fcntl(event, F_GET_SEALS), 'EINVAL', 'seals of an eventfd');
      } finally {
        t.sys.close(event);
      }
    });

    scenario('WRITE_is_EBUSY_while_a_shared_mapping_could_write', (t) => {
      const sealed = file(t);
      const { PROT_READ, PROT_WRITE, PROT_NONE } = PROT.value;
      for (const prot of [PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE]) {
        using _mapping = sealed.map({ prot });
        t.refused(sealed.raw.addSeals(F_SEAL_WRITE), 'EBUSY', `WRITE under a shared mapping with protection ${prot}`);
      }
      t.same(sealed.seals, 0, 'F_GET_SEALS');
      t.accepted(sealed.raw.addSeals(F_SEAL_WRITE), 'WRITE once they are gone');
    });

    scenario('EBUSY_adds_none_of_the_bits', (t) => {
      const sealed = file(t);
      using _mapping = sealed.map();
      t.refused(sealed.raw.addSeals(F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 'EBUSY', 'WRITE, GROW and SHRINK');
      t.same(sealed.seals, 0, 'F_GET_SEALS');
    });

    scenario('other_seals_do_not_mind_mappings', (t) => {
      const sealed = file(t);
      const mapping = t.map(sealed);
      const all = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
      t.accepted(sealed.raw.addSeals(all), 'all but WRITE');
      mapping.fill(0x11);
      t.filledWith(mapping.read(0, 2 * PAGE), 0x11, 'the mapping after FUTURE_WRITE');
    });

    scenario('WRITE_does_not_mind_private_mappings', (t) => {
      const sealed = file(t);
      const copy = t.map(sealed, { flags: MAP.value.MAP_PRIVATE });
      t.accepted(sealed.raw.addSeals(F_SEAL_WRITE), 'WRITE under a private mapping');
      copy.fill(7);
      const into = new Uint8Array(8);
      sealed.pread(into, 0);
      t.filledWith(into, 0, 'the file after writes into a private mapping');
    });

    scenario('WRITE_does_not_mind_mappings_of_a_read_only_descriptor', (t) => {
      const sealed = file(t);
      readOnly(t, sealed.fd, (fd) => {
        const hva = t.sys.mmap(0, PAGE, PROT.value.PROT_READ, MAP.value.MAP_SHARED, fd, 0);
        const added = sealed.raw.addSeals(F_SEAL_WRITE);
        t.sys.munmap(hva, PAGE);
        t.accepted(added, 'WRITE under a mapping that can never write');
      });
    });

    scenario('a_second_descriptor_sees_and_adds_the_same_seals', (t) => {
      const sealed = file(t);
      const fd = t.sys.fcntl(sealed.fd, F.value.F_DUPFD_CLOEXEC, 0);
      try {
        t.sys.fcntl(fd, F_ADD_SEALS, F_SEAL_GROW);
        t.same(sealed.seals, F_SEAL_GROW, 'seals through the first');
        sealed.addSeals(F_SEAL_SHRINK);
        t.same(t.sys.fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK, 'seals through the second');
      } finally {
        t.sys.close(fd);
      }
    });

    scenario('EXEC_on_an_executable_file_implies_the_rest', { needs: { release: [6, 3] } }, (t) => {
      const sealed = file(t);
      sealed.addSeals(F_SEAL_EXEC);
      const all = F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
      t.same(sealed.seals, all, 'F_GET_SEALS');
      t.refused(sealed.raw.pwrite(new Uint8Array(1), 0), 'EPERM', 'a write');
    });

    scenario('EXEC_on_a_file_without_x_is_alone', { needs: { release: [6, 3] } }, (t) => {
      const sealed = file(t);
      sealed.chmod(0o644);
      sealed.addSeals(F_SEAL_EXEC);
      t.same(sealed.seals, F_SEAL_EXEC, 'F_GET_SEALS');
      for (const mode of [0o600, 0o666]) t.accepted(sealed.raw.chmod(mode), `fchmod 0${mode.toString(8)}`);
      for (const mode of [0o777, 0o670, 0o605, 0o700, 0o100])
        t.refused(sealed.raw.chmod(mode), 'EPERM', `fchmod 0${mode.toString(8)}`);
      t.same(sealed.pwrite(new Uint8Array(1), 0), 1, 'a write');
    });
  },
);
