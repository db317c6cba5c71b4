/** More calls that a guest_memfd refuses or has no use for: syncing, moving bytes, locking, pinning. */

import { Pipe } from '../../../memory/pipe.ts';
import { LOCK, POLL, POSIX_FADV } from '../../../uapi/file-calls.ts';
import { MS } from '../../../uapi/mman.ts';
import { forKinds, HOST_BLIND, makeFile, PAGE, PLAIN, SHARED } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const PAGES = 4;
const END = PAGES * PAGE;

export const guestMemfdFileCalls = topic(
  'guest_memfd/file_calls',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fops, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario, [PLAIN, SHARED]);

    each('fsync_and_fdatasync_are_EINVAL', (t, kind) => {
      const { raw } = makeFile(t, kind, PAGES);
      t.refused(raw.fsync(), 'EINVAL', 'fsync');
      t.refused(raw.fdatasync(), 'EINVAL', 'fdatasync');
    });

    each('readahead_is_EINVAL_and_hints_are_accepted', (t, kind) => {
      const { raw } = makeFile(t, kind, PAGES);
      const refused = t.differs({
        since: [6, 16],
        now: true,
        before: false,
        because:
          'a guest_memfd says it is a regular file, and readahead asked for no more; now it refuses anonymous inodes',
      });
      if (refused) t.refused(raw.readahead(0, PAGE), 'EINVAL', 'readahead');
      else t.accepted(raw.readahead(0, PAGE), 'readahead');
      for (const [name, advice] of Object.entries(POSIX_FADV.value))
        t.accepted(raw.advise(advice, 0, PAGE), `posix_fadvise with ${name}`);
      t.refused(raw.advise(6, 0, PAGE), 'EINVAL', 'posix_fadvise with unknown advice');
    });

    each('fchown_is_EINVAL', (t, kind) => {
      t.refused(makeFile(t, kind, PAGES).raw.chown(0, 0), 'EINVAL', 'fchown');
    });

    each('bytes_cannot_be_moved_out_or_in', (t, kind) => {
      const file = makeFile(t, kind, PAGES);
      const pipe = t.use(Pipe.create(t.sys));
      const memfd = t.memfd({ size: END });
      t.refused(pipe.raw.spliceFrom(file, PAGE), 'EINVAL', 'splice to a pipe');
      pipe.write(new Uint8Array(64));
      t.refused(pipe.raw.spliceTo(file, 64), 'EINVAL', 'splice from a pipe');
      t.refused(file.raw.sendTo(memfd, PAGE), 'EINVAL', 'sendfile to a memfd');
      t.refused(file.raw.copyRangeTo(memfd, PAGE), ['EINVAL', 'EXDEV'], 'copy_file_range to a memfd');
    });

    each('flock_is_accepted', (t, kind) => {
      const { raw } = makeFile(t, kind, PAGES);
      const { LOCK_SH, LOCK_EX, LOCK_UN, LOCK_NB } = LOCK.value;
      for (const operation of [LOCK_SH | LOCK_NB, LOCK_EX | LOCK_NB, LOCK_UN])
        t.accepted(raw.flock(operation), `flock ${operation}`);
    });

    each('poll_is_always_ready', (t, kind) => {
      const { POLLIN, POLLOUT } = POLL.value;
      t.same(t.sys.kernel.poll(makeFile(t, kind, PAGES).fd, POLLIN | POLLOUT), POLLIN | POLLOUT, 'poll');
    });

    forKinds(scenario, [SHARED])(
      'msync_is_EINVAL_and_keeps_the_contents',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, PAGES));
        map.fill(0x29);
        t.refused(map.raw.sync(MS.value.MS_SYNC), 'EINVAL', 'MS_SYNC');
        t.accepted(map.raw.sync(MS.value.MS_ASYNC), 'MS_ASYNC');
        t.filledWith(map.read(0, END), 0x29, 'the file');
      },
      { promise: 'mm/msync.c: a file without fsync; Linux 6.18' },
    );

    const PIN = { promise: 'mm/gup.c, virt/kvm/guest_memfd.c: kvm_gmem_fault_user_mapping, Linux 6.18' };

    forKinds(scenario, [SHARED])(
      'pages_can_be_locked_and_pinned',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, PAGES));
        t.accepted(map.raw.lock(), 'mlock');
        t.same(map.resident(), [true, true, true, true], 'pages that mincore sees');
        map.unlock();
        const contents = t.random.bytes(END);
        map.write(0, contents);
        const back = new Uint8Array(END);
        t.same(t.accepted(map.raw.readPinned(0, back), 'process_vm_readv'), END, 'bytes read');
        t.same(back, contents, 'what was read');
        const pipe = t.use(Pipe.create(t.sys));
        t.same(t.accepted(pipe.raw.vmspliceFrom(map, { length: PAGE }), 'vmsplice'), PAGE, 'bytes in the pipe');
      },
      PIN,
    );

    forKinds(scenario, HOST_BLIND)(
      'private_pages_cannot_be_locked_or_pinned',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, PAGES));
        t.refused(map.raw.lock(), 'ENOMEM', 'mlock');
        t.refused(map.raw.readPinned(0, new Uint8Array(PAGE)), 'EFAULT', 'process_vm_readv');
        const pipe = t.use(Pipe.create(t.sys));
        t.refused(pipe.raw.vmspliceFrom(map, { length: PAGE }), 'EFAULT', 'vmsplice');
      },
      PIN,
    );
  },
);
