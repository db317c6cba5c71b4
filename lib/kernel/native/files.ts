/** The calls of the waist on descriptors. */
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
  | 'fallocate'
  | 'fstat'
  | 'lseek'
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
  const fallocate = addon.row('fallocate');
  const lseek = addon.row('lseek');
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
      frame.int32(1, command, 'command');
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

/** The kernel's struct stat, asm/stat.h: offset and size in bytes of the fields that are asked for. */
const STAT_FIELDS = {
  x64: { dev: [0, 8], ino: [8, 8], mode: [24, 4], nlink: [16, 8], size: [48, 8], blksize: [56, 8], blocks: [64, 8] },
  arm64: { dev: [0, 8], ino: [8, 8], mode: [16, 4], nlink: [20, 4], size: [48, 8], blksize: [56, 4], blocks: [64, 8] },
} as const;
const STAT_BYTES = 144;
const STATFS_BYTES = 120;

/** fstat(2), and the file system's type, which begins the struct of fstatfs(2). */
function fstatOf(addon: Addon, arch: 'x64' | 'arm64'): Kernel['fstat'] {
  const { frame } = addon;
  const fstat = addon.row('fstat');
  const fstatfs = addon.row('fstatfs');
  const fields = Object.entries(STAT_FIELDS[arch]) as [keyof typeof STAT, readonly [number, number]][];
  return (fd, out) => {
    frame.int32(0, fd, 'fd');
    const into = take.outS64(out, 'out', STAT_LENGTH);
    const stat = new DataView(new ArrayBuffer(STAT_BYTES));
    const result = addon.callWithBytes(fstat, new Uint8Array(stat.buffer));
    if (result < 0) return result;
    for (const [name, [offset, size]] of fields) {
      into[STAT[name]] = size === 8 ? stat.getBigInt64(offset, true) : BigInt(stat.getUint32(offset, true));
    }
    const statfs = new DataView(new ArrayBuffer(STATFS_BYTES));
    const known = addon.callWithBytes(fstatfs, new Uint8Array(statfs.buffer)) === 0;
    into[STAT.fsType] = known ? statfs.getBigInt64(0, true) : 0n;
    return 0;
  };
}
