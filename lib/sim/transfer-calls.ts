/** The calls of the waist that lock, sync and advise files, and that move bytes between them: arguments as the addon takes them. */
import * as take from '../kernel/arguments.ts';
import type { Kernel } from '../kernel/kernel.ts';
import * as make from './make.ts';
import type { Process } from './process.ts';
import { copyFileRange, sendfile, splice } from './splice.ts';
import * as sync from './sync-calls.ts';

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

export function transferCalls(process: Process): Pick<Kernel, TransferCall> {
  const { fds, locks, profile } = process;
  return {
    flock: (givenFd, givenOperation) => {
      const fd = take.int32(givenFd, 'fd');
      return locks.flock(fds.get(fd), take.int32(givenOperation, 'operation'));
    },
    poll: (givenFd, givenEvents) => {
      const fd = take.int32(givenFd, 'fd');
      return sync.poll(fds.get(fd), fd, take.bits16(givenEvents, 'events'));
    },
    fsync: (fd) => sync.fsync(fds.get(take.int32(fd, 'fd'))),
    fdatasync: (fd) => sync.fsync(fds.get(take.int32(fd, 'fd'))),
    syncFileRange: (givenFd, givenOffset, givenLength, givenFlags) => {
      const fd = take.int32(givenFd, 'fd');
      const offset = take.s64(givenOffset, 'offset');
      const length = take.s64(givenLength, 'length');
      return sync.syncFileRange(fds.get(fd), offset, length, take.bits32(givenFlags, 'flags'));
    },
    fadvise: (givenFd, givenOffset, givenLength, givenAdvice) => {
      const fd = take.int32(givenFd, 'fd');
      const offset = take.s64(givenOffset, 'offset');
      const length = take.s64(givenLength, 'length');
      return sync.fadvise(fds.get(fd), offset, length, take.int32(givenAdvice, 'advice'), profile);
    },
    readahead: (givenFd, givenOffset, givenCount) => {
      const fd = take.int32(givenFd, 'fd');
      const offset = take.s64(givenOffset, 'offset');
      return sync.readahead(fds.get(fd), offset, take.u64(givenCount, 'count'), profile);
    },
    pipe: (givenFlags, givenOut) => {
      const flags = take.bits32(givenFlags, 'flags');
      const out = take.outS64(givenOut, 'out', 2);
      const ends = make.pipe(process, flags);
      if (typeof ends === 'number') return ends;
      out[0] = BigInt(ends[0]);
      out[1] = BigInt(ends[1]);
      return 0;
    },
    splice: (givenIn, givenOut, givenLength, givenFlags) => {
      const from = take.int32(givenIn, 'fdIn');
      const to = take.int32(givenOut, 'fdOut');
      const length = take.u64(givenLength, 'length');
      return splice(fds.get(from), fds.get(to), length, take.bits32(givenFlags, 'flags'));
    },
    sendfile: (givenOut, givenIn, givenCount) => {
      const to = take.int32(givenOut, 'outFd');
      const from = take.int32(givenIn, 'inFd');
      return sendfile(fds.get(to), fds.get(from), take.u64(givenCount, 'count'));
    },
    copyFileRange: (givenIn, givenOut, givenLength, givenFlags) => {
      const from = take.int32(givenIn, 'fdIn');
      const to = take.int32(givenOut, 'fdOut');
      const length = take.u64(givenLength, 'length');
      return copyFileRange(fds.get(from), fds.get(to), length, take.bits32(givenFlags, 'flags'));
    },
  };
}
