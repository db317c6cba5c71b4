/** The calls of the waist on descriptors. */

import { stat_arm64, stat_x86, statfs } from '../../uapi/file-calls.ts';
import * as take from '../arguments.ts';
import { CACHESTAT_LENGTH, type Kernel, STAT, STAT_LENGTH } from '../kernel.ts';
import type { Addon } from './addon.ts';

const AT_FDCWD = -100;
const MFD_CLOEXEC = 1;
/** O_CLOEXEC, and EFD_CLOEXEC, which is the same. */
const CLOEXEC = 0x80000;

type FileCall =
  | 'open'
  | 'close'
  | 'adopt'
  | 'fcntl'
  | 'ioctl'
  | 'memfdCreate'
  | 'memfdSecret'
  | 'eventfd'
  | 'ftruncate'
  | 'fchmod'
  | 'fchown'
  | 'fallocate'
  | 'fstat'
  | 'lseek'
  | 'readlink'
  | 'read'
  | 'write'
  | 'pread'
  | 'pwrite'
  | 'cachestat';

const encoder = new TextEncoder();
/** As the kernel takes it: UTF-8 with a zero at the end. */
const zeroEnded = (text: string): Uint8Array => encoder.encode(`${text}\0`);

export function fileCalls(addon: Addon, arch: 'x64' | 'arm64'): Pick<Kernel, FileCall> {
  const { functions, frame } = addon;
  const openat = addon.row('openat');
  const memfdCreate = addon.row('memfd_create');
  const memfdSecret = addon.row('memfd_secret');
  const eventfd = addon.row('eventfd2');
  const ftruncate = addon.row('ftruncate');
  const fchmod = addon.row('fchmod');
  const fchown = addon.row('fchown');
  const fallocate = addon.row('fallocate');
  const lseek = addon.row('lseek');
  const readlinkat = addon.row('readlinkat');
  const read = addon.row('read');
  const write = addon.row('write');
  const pread = addon.row('pread64');
  const pwrite = addon.row('pwrite64');
  const cachestat = addon.row('cachestat');

  return {
    open: (path, flags, mode) => {
      const name = zeroEnded(take.text(path, 'path'));
      frame.number(0, AT_FDCWD);
      frame.bits32(2, flags, 'flags', CLOEXEC);
      frame.bits32(3, mode, 'mode');
      return addon.callWithBytes(openat, name);
    },
    close: (fd) => {
      frame.int32(0, fd, 'fd');
      functions.close();
      return frame.result;
    },
    adopt: (fd) => {
      frame.int32(0, fd, 'fd');
      functions.adopt();
      return frame.result;
    },
    fcntl: (fd, command, arg) => {
      frame.int32(0, fd, 'fd');
      frame.number(1, take.fcntlCommand(command, 'command'));
      frame.bits32(2, arg, 'arg');
      functions.fcntl();
      return frame.result;
    },
    ioctl: (fd, request, arg, how, pointers) => {
      frame.int32(0, fd, 'fd');
      frame.bits32(1, request, 'request');
      if (how === undefined) frame.number(3, 0);
      else frame.bits32(3, how, 'how');
      if (typeof arg === 'number' || typeof arg === 'bigint') {
        frame.u64(2, arg, 'arg');
        functions.ioctl();
      } else if (pointers === undefined) {
        functions.ioctlWithBytes(take.bytes(arg, 'arg'));
      } else {
        // First the pointers: reading them may run code of the caller, which may do anything to the buffers.
        const pairs = take.pointers(pointers).flat();
        functions.ioctlWithBytes(take.bytes(arg, 'arg'), pairs);
      }
      return frame.result;
    },
    memfdCreate: (name, flags) => {
      const bytes = zeroEnded(take.text(name, 'name'));
      frame.bits32(1, flags, 'flags', MFD_CLOEXEC);
      return addon.callWithBytes(memfdCreate, bytes);
    },
    memfdSecret: (flags) => {
      frame.bits32(0, flags, 'flags', CLOEXEC);
      return addon.call(memfdSecret);
    },
    eventfd: (initial, flags) => {
      frame.bits32(0, initial, 'initial');
      frame.bits32(1, flags, 'flags', CLOEXEC);
      return addon.call(eventfd);
    },
    ftruncate: (fd, length) => {
      frame.int32(0, fd, 'fd');
      frame.s64(1, length, 'length');
      return addon.call(ftruncate);
    },
    fchmod: (fd, mode) => {
      frame.int32(0, fd, 'fd');
      frame.bits32(1, mode, 'mode');
      return addon.call(fchmod);
    },
    fchown: (fd, uid, gid) => {
      frame.int32(0, fd, 'fd');
      frame.bits32(1, uid, 'uid');
      frame.bits32(2, gid, 'gid');
      return addon.call(fchown);
    },
    fallocate: (fd, mode, offset, length) => {
      frame.int32(0, fd, 'fd');
      frame.bits32(1, mode, 'mode');
      frame.s64(2, offset, 'offset');
      frame.s64(3, length, 'length');
      return addon.call(fallocate);
    },
    fstat: fstatOf(addon, arch),
    lseek: (fd, offset, whence, out) => {
      frame.int32(0, fd, 'fd');
      frame.s64(1, offset, 'offset');
      frame.int32(2, whence, 'whence');
      const into = take.outS64(out, 'out', 1);
      const result = addon.call(lseek);
      if (result < 0) return result;
      into[0] = frame.wide;
      return 0;
    },
    readlink: (path, into) => {
      const name = zeroEnded(take.text(path, 'path'));
      frame.number(0, AT_FDCWD);
      return addon.callWithBytes(readlinkat, name, take.bytes(into, 'into'));
    },
    read: (fd, into) => {
      frame.int32(0, fd, 'fd');
      return addon.callWithBytes(read, take.bytes(into, 'into'));
    },
    write: (fd, from) => {
      frame.int32(0, fd, 'fd');
      return addon.callWithBytes(write, take.bytes(from, 'from'));
    },
    pread: (fd, into, offset) => {
      frame.int32(0, fd, 'fd');
      const bytes = take.bytes(into, 'into');
      frame.s64(3, offset, 'offset');
      return addon.callWithBytes(pread, bytes);
    },
    pwrite: (fd, from, offset) => {
      frame.int32(0, fd, 'fd');
      const bytes = take.bytes(from, 'from');
      frame.s64(3, offset, 'offset');
      return addon.callWithBytes(pwrite, bytes);
    },
    cachestat: (fd, offset, length, out) => {
      frame.int32(0, fd, 'fd');
      const range = BigUint64Array.of(BigInt(take.u64(offset, 'offset')), BigInt(take.u64(length, 'length')));
      const { buffer, byteOffset } = take.outU64(out, 'out', CACHESTAT_LENGTH);
      frame.number(3, 0);
      const into = new Uint8Array(buffer, byteOffset, 8 * CACHESTAT_LENGTH);
      return addon.callWithBytes(cachestat, new Uint8Array(range.buffer), into);
    },
  };
}

/** fstat(2), and the file system's type from fstatfs(2). */
function fstatOf(addon: Addon, arch: 'x64' | 'arm64'): Kernel['fstat'] {
  const { frame } = addon;
  const fstat = addon.row('fstat');
  const fstatfs = addon.row('fstatfs');
  const layout = arch === 'arm64' ? stat_arm64 : stat_x86;
  return (fd, out) => {
    frame.int32(0, fd, 'fd');
    const into = take.outS64(out, 'out', STAT_LENGTH);
    const bytes = new Uint8Array(layout.size);
    const result = addon.callWithBytes(fstat, bytes);
    if (result < 0) return result;
    const stat = layout.decode(bytes);
    into[STAT.dev] = BigInt.asIntN(64, stat.st_dev);
    into[STAT.ino] = BigInt.asIntN(64, stat.st_ino);
    into[STAT.mode] = BigInt(stat.st_mode);
    into[STAT.nlink] = BigInt(stat.st_nlink);
    into[STAT.size] = stat.st_size;
    into[STAT.blksize] = BigInt(stat.st_blksize);
    into[STAT.blocks] = stat.st_blocks;
    const fs = new Uint8Array(statfs.size);
    into[STAT.fsType] = addon.callWithBytes(fstatfs, fs) === 0 ? statfs.get(fs, 'f_type') : 0n;
    return 0;
  };
}
