/** The calls of the waist that lock, sync and advise files, and that move bytes between them. */
import { pollfd } from '../../uapi/file-calls.ts';
import * as take from '../arguments.ts';
import type { Kernel } from '../kernel.ts';
import type { Addon } from './addon.ts';

const CLOEXEC = 0x80000;
/** struct timespec. */
const TIMESPEC_BYTES = 16;

type TransferCall =
  | 'flock'
  | 'poll'
  | 'fsync'
  | 'fdatasync'
  | 'syncFileRange'
  | 'fadvise'
  | 'readahead'
  | 'pipe'
  | 'splice'
  | 'sendfile'
  | 'copyFileRange';

export function transferCalls(addon: Addon): Pick<Kernel, TransferCall> {
  const { functions, frame } = addon;
  const flock = addon.row('flock');
  const ppoll = addon.row('ppoll');
  const fsync = addon.row('fsync');
  const fdatasync = addon.row('fdatasync');
  const syncFileRange = addon.row('sync_file_range');
  const fadvise = addon.row('fadvise64');
  const readahead = addon.row('readahead');
  const splice = addon.row('splice');
  const sendfile = addon.row('sendfile');
  const copyFileRange = addon.row('copy_file_range');

  return {
    flock: (fd, operation) => {
      frame.int32(0, fd, 'fd');
      frame.int32(1, operation, 'operation');
      return addon.call(flock);
    },
    poll: (fd, events) => {
      const one = pollfd.encode({ fd: take.int32(fd, 'fd'), events: take.bits16(events, 'events') });
      // No signal mask; a time limit of nothing.
      frame.number(3, 0);
      frame.number(4, 0);
      const result = addon.callWithBytes(ppoll, one, new Uint8Array(TIMESPEC_BYTES));
      return result < 0 ? result : pollfd.get(one, 'revents');
    },
    fsync: (fd) => {
      frame.int32(0, fd, 'fd');
      return addon.call(fsync);
    },
    fdatasync: (fd) => {
      frame.int32(0, fd, 'fd');
      return addon.call(fdatasync);
    },
    syncFileRange: (fd, offset, length, flags) => {
      frame.int32(0, fd, 'fd');
      frame.s64(1, offset, 'offset');
      frame.s64(2, length, 'length');
      frame.bits32(3, flags, 'flags');
      return addon.call(syncFileRange);
    },
    fadvise: (fd, offset, length, advice) => {
      frame.int32(0, fd, 'fd');
      frame.s64(1, offset, 'offset');
      frame.s64(2, length, 'length');
      frame.int32(3, advice, 'advice');
      return addon.call(fadvise);
    },
    readahead: (fd, offset, count) => {
      frame.int32(0, fd, 'fd');
      frame.s64(1, offset, 'offset');
      frame.u64(2, count, 'count');
      return addon.call(readahead);
    },
    pipe: (flags, out) => {
      frame.bits32(0, flags, 'flags', CLOEXEC);
      const into = take.outS64(out, 'out', 2);
      functions.pipe();
      if (frame.result < 0) return frame.result;
      into[0] = frame.argument(0);
      into[1] = frame.argument(1);
      return 0;
    },
    splice: (fdIn, fdOut, length, flags) => {
      frame.int32(0, fdIn, 'fdIn');
      frame.int32(2, fdOut, 'fdOut');
      frame.u64(4, length, 'length');
      frame.bits32(5, flags, 'flags');
      return addon.call(splice);
    },
    sendfile: (outFd, inFd, count) => {
      frame.int32(0, outFd, 'outFd');
      frame.int32(1, inFd, 'inFd');
      frame.u64(3, count, 'count');
      return addon.call(sendfile);
    },
    copyFileRange: (fdIn, fdOut, length, flags) => {
      frame.int32(0, fdIn, 'fdIn');
      frame.int32(2, fdOut, 'fdOut');
      frame.u64(4, length, 'length');
      frame.bits32(5, flags, 'flags');
      return addon.call(copyFileRange);
    },
  };
}
