/** System calls on a guest_memfd that it does not have, and what fstat says. */
import { readlinkSync } from 'node:fs';
import { KVM_CHECK_EXTENSION, KVM_GET_API_VERSION, KVM_RUN, KVM_SET_USER_MEMORY_REGION } from '../../../uapi/index.ts';
import { F_SEAL, FS_MAGIC } from '../../../uapi/memfd.ts';
import { O, SEEK } from '../../../uapi/mman.ts';
import { forHeldPages, forKinds, heldIndexes, makeFile, PAGE, SHARED } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const FILE_MODE = 0o100600;

export const guestMemfdStat = topic(
  'guest_memfd/stat',
  { promise: 'virt/kvm/guest_memfd.c: __kvm_gmem_create, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario);

    each('size_is_as_created', (t, kind) => {
      const vm = t.vm();
      for (const pages of [1, 2, 511, 513, 1 << 20]) {
        const { size, blksize } = makeFile(t, kind, pages, vm).stat();
        t.same([size, blksize], [BigInt(pages * PAGE), PAGE], `size and block size of ${pages} pages`);
      }
    });

    each('is_a_regular_file_of_its_owner', (t, kind) => {
      const { mode, nlink } = makeFile(t, kind, 1).stat();
      t.same([mode.toString(8), nlink], [FILE_MODE.toString(8), 1], 'mode and links');
    });

    each('blocks_stay_0_whatever_is_allocated', (t, kind) => {
      const file = makeFile(t, kind, 4);
      t.same(file.stat().blocks, 0n, 'blocks of an empty file');
      file.allocate(0, 4 * PAGE);
      t.same([file.stat().blocks, file.stat().size], [0n, BigInt(4 * PAGE)], 'blocks and size of a full file');
      file.punchHole(0, 4 * PAGE);
      t.same([file.stat().blocks, file.stat().size], [0n, BigInt(4 * PAGE)], 'blocks and size after punching it');
    });

    each('file_system_type', (t, kind) => {
      const expected = t.differs({
        since: [6, 19],
        now: FS_MAGIC.value.GUEST_MEMFD_MAGIC,
        before: FS_MAGIC.value.ANON_INODE_FS_MAGIC,
        because: 'guest_memfd got a pseudo file system of its own, to hold NUMA policies in its inodes',
      });
      t.same(makeFile(t, kind, 1).stat().fsType, BigInt(expected), 'f_type');
    });
  },
);

export const guestMemfdSyscalls = topic(
  'guest_memfd/syscalls',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fops, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario);

    each('read_and_write_are_EINVAL', (t, kind) => {
      const { raw } = makeFile(t, kind, 4);
      for (const length of [0, 1, 64, PAGE]) {
        t.refused(raw.read(new Uint8Array(length)), 'EINVAL', `read of ${length} bytes`);
        t.refused(raw.write(new Uint8Array(length)), 'EINVAL', `write of ${length} bytes`);
      }
    });

    each('pread_and_pwrite_are_ESPIPE', (t, kind) => {
      const { raw } = makeFile(t, kind, 4);
      for (const offset of [0, 1, PAGE, 4 * PAGE]) {
        t.refused(raw.pread(new Uint8Array(64), offset), 'ESPIPE', `pread at ${offset}`);
        t.refused(raw.pwrite(new Uint8Array(64), offset), 'ESPIPE', `pwrite at ${offset}`);
      }
    });

    each('lseek_is_ESPIPE', (t, kind) => {
      const file = makeFile(t, kind, 4);
      for (const [name, whence] of Object.entries(SEEK.value))
        t.refused(t.sys.raw.lseek(file.fd, 0, whence), 'ESPIPE', `lseek with ${name}`);
    });

    each(
      'ftruncate_is_EINVAL',
      (t, kind) => {
        const file = makeFile(t, kind, 4);
        for (const size of [0, PAGE, 4 * PAGE - 1, 4 * PAGE, 4 * PAGE + 1, 8 * PAGE, -1])
          t.refused(file.raw.truncate(size), 'EINVAL', `ftruncate to ${size}`);
        t.same(file.size, 4 * PAGE, 'size');
      },
      { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_setattr, Linux 6.8' },
    );

    forHeldPages(scenario)(
      'ftruncate_keeps_the_pages',
      (t, kind) => {
        const file = makeFile(t, kind, 4);
        file.allocate(0, 4 * PAGE);
        for (const size of [0, PAGE]) t.refused(file.raw.truncate(size), 'EINVAL', `ftruncate to ${size}`);
        t.same(heldIndexes(file), [0, 1, 2, 3], 'pages');
      },
      { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_setattr, Linux 6.8' },
    );

    each(
      'fchmod_is_EINVAL_and_changes_nothing',
      (t, kind) => {
        const file = makeFile(t, kind, 1);
        for (const mode of [0, 0o600, 0o644, 0o777])
          t.refused(file.raw.chmod(mode), 'EINVAL', `fchmod to 0${mode.toString(8)}`);
        t.same(file.stat().mode, FILE_MODE, 'mode');
      },
      { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_setattr, Linux 6.8' },
    );

    each('seals_are_EINVAL', (t, kind) => {
      const file = makeFile(t, kind, 1);
      for (const [name, seal] of Object.entries(F_SEAL.value))
        t.refused(file.raw.addSeals(seal), 'EINVAL', `adding ${name}`);
      t.refused(t.sys.raw.fcntl(file.fd, 1034), 'EINVAL', 'F_GET_SEALS');
    });

    each('ioctls_are_ENOTTY', (t, kind) => {
      const file = makeFile(t, kind, 1);
      for (const request of [KVM_GET_API_VERSION, KVM_CHECK_EXTENSION, KVM_RUN])
        t.refused(file.raw.ioctl(request.request, 0), 'ENOTTY', `${request.name} on a guest_memfd`);
      const { request } = KVM_SET_USER_MEMORY_REGION;
      t.refused(file.raw.ioctl(request, new Uint8Array(32)), 'ENOTTY', 'a request of VMs');
    });

    each(
      'cannot_be_opened_again_through_proc',
      (t, kind) => {
        const file = makeFile(t, kind, 1);
        t.refused(t.sys.raw.open(`/proc/self/fd/${file.fd}`, O.value.O_RDWR), 'ENXIO', 'opening it again');
      },
      { needs: { real: true }, promise: 'fs/libfs.c: simple pseudo file systems have no open; Linux 6.8' },
    );

    forKinds(scenario, [SHARED])(
      'name_in_proc',
      (t, kind) => {
        const file = makeFile(t, kind, 1);
        const expected = t.differs({
          since: [6, 19],
          now: '/[kvm-gmem] (deleted)',
          before: 'anon_inode:[kvm-gmem]',
          because: 'guest_memfd got a pseudo file system of its own',
        });
        t.same(readlinkSync(`/proc/self/fd/${file.fd}`), expected, 'the link in /proc');
      },
      { needs: { real: true } },
    );

    forKinds(scenario, [SHARED])('write_leaves_the_contents', (t, kind) => {
      const file = makeFile(t, kind, 2);
      const map = t.map(file);
      map.fill(0xa5);
      t.refused(file.raw.write(new Uint8Array(PAGE).fill(1)), 'EINVAL', 'write');
      t.refused(file.raw.pwrite(new Uint8Array(PAGE).fill(1), 0), 'ESPIPE', 'pwrite');
      t.filledWith(map.read(0, 2 * PAGE), 0xa5, 'the file afterwards');
    });
  },
);
