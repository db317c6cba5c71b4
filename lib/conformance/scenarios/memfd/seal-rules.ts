/** What each seal forbids, with which errno, and what it leaves alone. */
import type { Result } from '../../../kernel/raw.ts';
import type { Memfd } from '../../../memory/memfd.ts';
import { F_SEAL, FALLOC_FL, MFD } from '../../../uapi/memfd.ts';
import { MAP, O, PROT } from '../../../uapi/mman.ts';
import type { Context } from '../../context.ts';
import { topic } from '../../scenario.ts';

const { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE } = F_SEAL.value;
const { FALLOC_FL_KEEP_SIZE } = FALLOC_FL.value;
const { PROT_READ, PROT_WRITE } = PROT.value;
const PAGE = 4096;
const BYTE = new Uint8Array([0x77]);

type Act = (file: Memfd, t: Context) => Result<unknown>;

const shrink: Act = (file) => file.raw.truncate(PAGE);
const grow: Act = (file) => file.raw.truncate(4 * PAGE);
const sameSize: Act = (file) => file.raw.truncate(2 * PAGE);
const write: Act = (file) => file.raw.pwrite(BYTE, 0);
const append: Act = (file) => file.raw.pwrite(BYTE, 2 * PAGE);
const punch: Act = (file) => file.raw.punchHole(0, PAGE);
const allocate: Act = (file) => file.raw.fallocate(0, 0, PAGE);
const allocateBeyond: Act = (file) => file.raw.fallocate(0, 2 * PAGE, PAGE);
const keepSizeBeyond: Act = (file) => file.raw.fallocate(FALLOC_FL_KEEP_SIZE, 2 * PAGE, PAGE);
const mapShared: Act = (file, t) => mapping(t, file, {});
const mapPrivate: Act = (file, t) => mapping(t, file, { flags: MAP.value.MAP_PRIVATE });

function mapping(t: Context, file: Memfd, options: Parameters<Memfd['map']>[0]) {
  const mapped = file.raw.map(options);
  if (mapped.ok) t.use(mapped.value);
  return mapped;
}

/** undefined: allowed. */
const RULES: Readonly<
  Record<string, readonly [seal: number, rules: Readonly<Record<string, readonly [Act, string?]>>]>
> = {
  SHRINK: [
    F_SEAL_SHRINK,
    {
      shrink: [shrink, 'EPERM'],
      same_size: [sameSize],
      grow: [grow],
      write: [write],
      append: [append],
      punch: [punch],
      allocate: [allocate],
      shared_mapping: [mapShared],
    },
  ],
  GROW: [
    F_SEAL_GROW,
    {
      grow: [grow, 'EPERM'],
      append: [append, 'EPERM'],
      allocate_beyond: [allocateBeyond, 'EPERM'],
      allocate_beyond_with_KEEP_SIZE: [keepSizeBeyond, 'EPERM'],
      shrink: [shrink],
      same_size: [sameSize],
      write: [write],
      punch: [punch],
      allocate: [allocate],
      shared_mapping: [mapShared],
    },
  ],
  WRITE: [
    F_SEAL_WRITE,
    {
      write: [write, 'EPERM'],
      append: [append, 'EPERM'],
      punch: [punch, 'EPERM'],
      shared_mapping: [mapShared, 'EPERM'],
      shrink: [shrink],
      grow: [grow],
      allocate: [allocate],
      private_mapping: [mapPrivate],
    },
  ],
  FUTURE_WRITE: [
    F_SEAL_FUTURE_WRITE,
    {
      write: [write, 'EPERM'],
      append: [append, 'EPERM'],
      punch: [punch, 'EPERM'],
      shared_mapping: [mapShared, 'EPERM'],
      shrink: [shrink],
      grow: [grow],
      allocate: [allocate],
      private_mapping: [mapPrivate],
    },
  ],
};

const sealed = (t: Context, seal: number): Memfd => {
  const file = t.memfd({ size: 2 * PAGE, flags: t.isAtLeast([6, 3]) ? MFD.value.MFD_EXEC : 0 });
  file.pwrite(BYTE, 0);
  file.addSeals(seal);
  return file;
};

export const memfdSealRules = topic(
  'memfd/sealed',
  { promise: 'fcntl(2), File Sealing; mm/shmem.c, Linux 3.17 (FUTURE_WRITE 5.1)', needs: { kvm: false } },
  (scenario) => {
    for (const [name, [seal, rules]] of Object.entries(RULES)) {
      for (const [what, [act, code]] of Object.entries(rules)) {
        scenario(code === undefined ? `${name}_allows_${what}` : `${name}_refuses_${what}_with_${code}`, (t) => {
          const file = sealed(t, seal);
          const before = file.size;
          if (code === undefined) t.accepted(act(file, t), `${what} under ${name}`);
          else {
            t.refused(act(file, t), code, `${what} under ${name}`);
            t.same(file.size, before, 'size after the refusal');
            const into = new Uint8Array(1);
            file.pread(into, 0);
            t.same(into, BYTE, 'contents after the refusal');
          }
        });
      }
    }

    scenario('GROW_lets_no_write_pass_the_end', (t) => {
      const file = sealed(t, F_SEAL_GROW);
      // Page by page the part before the end is written first; with large folios the whole write is one piece, and refused.
      const written = file.raw.pwrite(new Uint8Array(8).fill(1), 2 * PAGE - 3);
      if (written.ok) t.same(written.value, 3, 'bytes written of 8 from 3 before the end');
      else t.refused(written, 'EPERM', 'a write over the end');
      t.same(file.size, 2 * PAGE, 'size');
    });

    for (const [name, seal] of [
      ['WRITE', F_SEAL_WRITE],
      ['FUTURE_WRITE', F_SEAL_FUTURE_WRITE],
    ] as const) {
      scenario(`${name}_lets_an_empty_write_through`, (t) => {
        t.same(t.accepted(sealed(t, seal).raw.pwrite(new Uint8Array(0), 0), 'a write of 0 bytes'), 0, 'bytes written');
      });
      scenario(`${name}_keeps_reads`, (t) => {
        const into = new Uint8Array(1);
        t.same(sealed(t, seal).pread(into, 0), 1, 'bytes read');
        t.same(into, BYTE, 'what was read');
      });
      scenario(`${name}_read_mapping_cannot_become_writable`, { needs: { release: [6, 7] } }, (t) => {
        const mapped = t.map(sealed(t, seal), { prot: PROT_READ });
        t.same(mapped.read(0, 1), BYTE, 'what the mapping shows');
        t.refused(mapped.raw.protect(PROT_READ | PROT_WRITE), 'EACCES', 'mprotect to writable');
      });
    }

    scenario('SHRINK_refuses_O_TRUNC', (t) => {
      const file = sealed(t, F_SEAL_SHRINK);
      const flags = O.value.O_RDWR | O.value.O_TRUNC;
      t.refused(t.sys.raw.open(`/proc/self/fd/${file.fd}`, flags), 'EPERM', 'open with O_TRUNC');
      t.same(file.size, 2 * PAGE, 'size');
    });

    scenario('SHRINK_and_GROW_fix_the_size', (t) => {
      const file = sealed(t, F_SEAL_SHRINK | F_SEAL_GROW);
      for (const size of [0, PAGE, 2 * PAGE - 1, 2 * PAGE + 1, 4 * PAGE])
        t.refused(file.raw.truncate(size), 'EPERM', `ftruncate to ${size}`);
      t.accepted(file.raw.truncate(2 * PAGE), 'ftruncate to the size it has');
      t.same(file.pwrite(BYTE, 5), 1, 'a write');
    });

    scenario('FUTURE_WRITE_lets_earlier_mappings_write_on', (t) => {
      const file = t.memfd({ size: 2 * PAGE });
      const earlier = t.map(file);
      file.addSeals(F_SEAL_FUTURE_WRITE);
      earlier.fill(0x5a);
      const into = new Uint8Array(PAGE);
      file.pread(into, PAGE);
      t.filledWith(into, 0x5a, 'the file after a write through the earlier mapping');
      t.refused(file.raw.map(), 'EPERM', 'a new shared writable mapping');
    });

    scenario('FUTURE_WRITE_holds_for_a_reopened_descriptor', (t) => {
      const file = sealed(t, F_SEAL_FUTURE_WRITE);
      const fd = t.sys.open(`/proc/self/fd/${file.fd}`, O.value.O_RDWR);
      try {
        t.refused(t.sys.raw.pwrite(fd, BYTE, 0), 'EPERM', 'a write through a reopened descriptor');
        t.refused(
          t.sys.raw.mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP.value.MAP_SHARED, fd, 0),
          'EPERM',
          'a shared writable mapping of it',
        );
      } finally {
        t.sys.close(fd);
      }
    });
  },
);
