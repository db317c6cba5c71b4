/**
 * The strict side of the waist: the same calls, throwing {@link KernelError}. `sys.raw` has their raw twins. This is the only place
 * that turns an errno into an error.
 */
import { viewOf } from '../uapi/layout.ts';
import { type FdKind, findIoctl, type Ioctl } from '../uapi/registry.ts';
import { CALLS, type CallName, requestOf, showArgs } from './calls.ts';
import { errnoName } from './errno.ts';
import { KernelError } from './errors.ts';
import { handOver } from './handed.ts';
import { hintFor } from './hints.ts';
import {
  CACHESTAT,
  CACHESTAT_LENGTH,
  type Hva,
  type Int,
  IOCTL_LENGTH_CHECKED,
  IOCTL_MAKES_FD,
  type Kernel,
  type PointerPatch,
  STAT,
  STAT_LENGTH,
} from './kernel.ts';
import { type Raw, rawOf } from './raw.ts';

/** What fstat(2) and fstatfs(2) say. Sizes in bytes; bigint, because a guest_memfd may be as large as 2^63 - 4096 bytes. */
export interface FileStat {
  readonly dev: bigint;
  readonly ino: bigint;
  /** File type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly size: bigint;
  readonly blksize: number;
  /** 512-byte units. Always 0 on a guest_memfd; ask cachestat there. */
  readonly blocks: bigint;
  /** f_type of the file system, see FS_MAGIC. */
  readonly fsType: bigint;
}

/** The longest name that a link gives, in bytes. */
const PATH_MAX = 4096;

/** What cachestat(2) says of a range, in pages. */
export interface CacheStat {
  readonly cache: number;
  readonly dirty: number;
  readonly writeback: number;
  readonly evicted: number;
  readonly recentlyEvicted: number;
}

export class Sys {
  readonly kernel: Kernel;
  #raw: unknown;
  /** Where the buffers of views lie. */
  readonly #views = new WeakMap<ArrayBufferLike, number>();

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** The same calls, returning `{ok, errno, value}`. */
  get raw(): Raw<Sys> {
    this.#raw ??= rawOf<Sys>(this);
    return this.#raw as Raw<Sys>;
  }

  /** The error for a refused call, with its arguments decoded and a hint where there is one. */
  error(call: CallName, errno: number, args: readonly unknown[], ioctl?: Ioctl, on?: FdKind): KernelError {
    const shown = args.map((value) => this.#readable(value));
    const arg = shown[2];
    const struct = ioctl?.arg.kind === 'struct' && arg instanceof Uint8Array ? looseDecode(ioctl, arg) : undefined;
    return new KernelError({
      errno,
      syscall: CALLS[call].syscall ?? call,
      request: ioctl?.name,
      args: showArgs(call, shown, call === 'ioctl' ? requestOf(shown, on ?? ioctl?.on[0], ioctl) : undefined),
      hint: hintFor({ call, request: ioctl?.name, code: errnoName(errno), args: shown, struct }),
    });
  }

  /** A buffer that aliases memory is read as memory is: the call may have failed because nobody can touch it. */
  #readable(value: unknown): unknown {
    if (!(value instanceof Uint8Array)) return value;
    const hva = this.#views.get(value.buffer);
    if (hva === undefined) return value;
    const bytes = new Uint8Array(value.byteLength);
    return this.kernel.copyOut(hva + value.byteOffset, bytes) === bytes.length ? bytes : hva + value.byteOffset;
  }

  #check(result: number, call: CallName, args: readonly unknown[]): number {
    if (result < 0) throw this.error(call, -result, args);
    return result;
  }

  open(path: string, flags: number, mode = 0): number {
    return this.#check(this.kernel.open(path, flags, mode), 'open', [path, flags, mode]);
  }

  close(fd: number): void {
    this.#check(this.kernel.close(fd), 'close', [fd]);
  }

  adopt(fd: number): void {
    this.#check(this.kernel.adopt(fd), 'adopt', [fd]);
  }

  fcntl(fd: number, command: number, arg = 0): number {
    return this.#check(this.kernel.fcntl(fd, command, arg), 'fcntl', [fd, command, arg]);
  }

  /**
   * ioctl(2). `request` is a declared request or its number; a number that is known by name is treated like it. A buffer must have the
   * size that the number encodes, or that the declaration's rule gives (flexible arrays, misdeclared sizes): RangeError otherwise.
   */
  ioctl(fd: number, request: Ioctl | number, arg: Int | Uint8Array = 0, pointers?: readonly PointerPatch[]): number {
    const known = typeof request === 'number' ? findIoctl(request) : request;
    const number = typeof request === 'number' ? request : request.request;
    const readable = known?.realLength === undefined ? arg : (this.#readable(arg) as typeof arg);
    if (readable !== arg && typeof readable === 'number') {
      throw new RangeError(`${known?.name}: how long its list is stands in memory that nobody can touch`);
    }
    const how = howOf(known, readable);
    let result: number;
    try {
      if (typeof request !== 'number') handOver(request);
      result = this.kernel.ioctl(fd, number, arg, how, pointers);
    } finally {
      handOver(undefined);
    }
    if (result < 0) throw this.error('ioctl', -result, [fd, number, arg], known);
    return result;
  }

  memfdCreate(name: string, flags: number): number {
    return this.#check(this.kernel.memfdCreate(name, flags), 'memfdCreate', [name, flags]);
  }

  memfdSecret(flags: number): number {
    return this.#check(this.kernel.memfdSecret(flags), 'memfdSecret', [flags]);
  }

  eventfd(initial: number, flags: number): number {
    return this.#check(this.kernel.eventfd(initial, flags), 'eventfd', [initial, flags]);
  }

  ftruncate(fd: number, length: Int): void {
    this.#check(this.kernel.ftruncate(fd, length), 'ftruncate', [fd, length]);
  }

  fchmod(fd: number, mode: number): void {
    this.#check(this.kernel.fchmod(fd, mode), 'fchmod', [fd, mode]);
  }

  fchown(fd: number, uid: number, gid: number): void {
    this.#check(this.kernel.fchown(fd, uid, gid), 'fchown', [fd, uid, gid]);
  }

  fallocate(fd: number, mode: number, offset: Int, length: Int): void {
    this.#check(this.kernel.fallocate(fd, mode, offset, length), 'fallocate', [fd, mode, offset, length]);
  }

  fstat(fd: number): FileStat {
    const out = new BigInt64Array(STAT_LENGTH);
    this.#check(this.kernel.fstat(fd, out), 'fstat', [fd]);
    const at = (index: number): bigint => out[index] ?? 0n;
    return {
      dev: at(STAT.dev),
      ino: at(STAT.ino),
      mode: Number(at(STAT.mode)),
      nlink: Number(at(STAT.nlink)),
      size: at(STAT.size),
      blksize: Number(at(STAT.blksize)),
      blocks: at(STAT.blocks),
      fsType: at(STAT.fsType),
    };
  }

  /** Returns the new offset in bytes. */
  lseek(fd: number, offset: Int, whence: number): bigint {
    const out = new BigInt64Array(1);
    this.#check(this.kernel.lseek(fd, offset, whence, out), 'lseek', [fd, offset, whence]);
    return out[0] ?? 0n;
  }

  /** The name behind a link such as /proc/self/fd/N. */
  readlink(path: string): string {
    const into = new Uint8Array(PATH_MAX);
    const length = this.#check(this.kernel.readlink(path, into), 'readlink', [path, into]);
    return new TextDecoder().decode(into.subarray(0, length));
  }

  read(fd: number, into: Uint8Array): number {
    return this.#check(this.kernel.read(fd, into), 'read', [fd, into]);
  }

  write(fd: number, from: Uint8Array): number {
    return this.#check(this.kernel.write(fd, from), 'write', [fd, from]);
  }

  pread(fd: number, into: Uint8Array, offset: Int): number {
    return this.#check(this.kernel.pread(fd, into, offset), 'pread', [fd, into, offset]);
  }

  pwrite(fd: number, from: Uint8Array, offset: Int): number {
    return this.#check(this.kernel.pwrite(fd, from, offset), 'pwrite', [fd, from, offset]);
  }

  cachestat(fd: number, offset: Int, length: Int): CacheStat {
    const out = new BigUint64Array(CACHESTAT_LENGTH);
    this.#check(this.kernel.cachestat(fd, offset, length, out), 'cachestat', [fd, offset, length]);
    const at = (index: number): number => Number(out[index] ?? 0n);
    return {
      cache: at(CACHESTAT.cache),
      dirty: at(CACHESTAT.dirty),
      writeback: at(CACHESTAT.writeback),
      evicted: at(CACHESTAT.evicted),
      recentlyEvicted: at(CACHESTAT.recentlyEvicted),
    };
  }

  flock(fd: number, operation: number): void {
    this.#check(this.kernel.flock(fd, operation), 'flock', [fd, operation]);
  }

  /** The POLL bits that hold. */
  poll(fd: number, events: number): number {
    return this.#check(this.kernel.poll(fd, events), 'poll', [fd, events]);
  }

  fsync(fd: number): void {
    this.#check(this.kernel.fsync(fd), 'fsync', [fd]);
  }

  fdatasync(fd: number): void {
    this.#check(this.kernel.fdatasync(fd), 'fdatasync', [fd]);
  }

  syncFileRange(fd: number, offset: Int, length: Int, flags: number): void {
    this.#check(this.kernel.syncFileRange(fd, offset, length, flags), 'syncFileRange', [fd, offset, length, flags]);
  }

  fadvise(fd: number, offset: Int, length: Int, advice: number): void {
    this.#check(this.kernel.fadvise(fd, offset, length, advice), 'fadvise', [fd, offset, length, advice]);
  }

  readahead(fd: number, offset: Int, count: Int): void {
    this.#check(this.kernel.readahead(fd, offset, count), 'readahead', [fd, offset, count]);
  }

  /** The end to read from, the end to write to. */
  pipe(flags = 0): readonly [read: number, write: number] {
    const out = new BigInt64Array(2);
    this.#check(this.kernel.pipe(flags, out), 'pipe', [flags]);
    return [Number(out[0]), Number(out[1])];
  }

  splice(fdIn: number, fdOut: number, length: Int, flags = 0): number {
    return this.#check(this.kernel.splice(fdIn, fdOut, length, flags), 'splice', [fdIn, fdOut, length, flags]);
  }

  sendfile(outFd: number, inFd: number, count: Int): number {
    return this.#check(this.kernel.sendfile(outFd, inFd, count), 'sendfile', [outFd, inFd, count]);
  }

  copyFileRange(fdIn: number, fdOut: number, length: Int, flags = 0): number {
    const args = [fdIn, fdOut, length, flags];
    return this.#check(this.kernel.copyFileRange(fdIn, fdOut, length, flags), 'copyFileRange', args);
  }

  /** Returns the hva. */
  mmap(address: Hva, length: Int, prot: number, flags: number, fd: number, offset: Int): number {
    const args = [address, length, prot, flags, fd, offset];
    return this.#check(this.kernel.mmap(address, length, prot, flags, fd, offset), 'mmap', args);
  }

  munmap(address: Hva, length: Int): void {
    this.#check(this.kernel.munmap(address, length), 'munmap', [address, length]);
  }

  mprotect(address: Hva, length: Int, prot: number): void {
    this.#check(this.kernel.mprotect(address, length, prot), 'mprotect', [address, length, prot]);
  }

  madvise(address: Hva, length: Int, advice: number): void {
    this.#check(this.kernel.madvise(address, length, advice), 'madvise', [address, length, advice]);
  }

  mincore(address: Hva, length: Int, vec: Uint8Array): void {
    this.#check(this.kernel.mincore(address, length, vec), 'mincore', [address, length]);
  }

  mlock(address: Hva, length: Int, flags = 0): void {
    this.#check(this.kernel.mlock(address, length, flags), 'mlock', [address, length, flags]);
  }

  munlock(address: Hva, length: Int): void {
    this.#check(this.kernel.munlock(address, length), 'munlock', [address, length]);
  }

  msync(address: Hva, length: Int, flags: number): void {
    this.#check(this.kernel.msync(address, length, flags), 'msync', [address, length, flags]);
  }

  mbind(address: Hva, length: Int, mode: number, nodemask: Uint8Array, flags = 0): void {
    const args = [address, length, mode, nodemask, flags];
    this.#check(this.kernel.mbind(address, length, mode, nodemask, flags), 'mbind', args);
  }

  /** The mode, or with MPOL_F_NODE the node. `nodemask` is filled when it is as long as the kernel's. */
  getMempolicy(address: Hva, flags: number, nodemask: Uint8Array = new Uint8Array(0)): number {
    const out = new BigInt64Array(1);
    const args = [out, nodemask, address, flags];
    this.#check(this.kernel.getMempolicy(out, nodemask, address, flags), 'getMempolicy', args);
    return Number(out[0]);
  }

  vmsplice(fd: number, address: Hva, length: Int, flags = 0): number {
    const args = [fd, address, length, flags];
    return this.#check(this.kernel.vmsplice(fd, address, length, flags), 'vmsplice', args);
  }

  processVmReadv(address: Hva, into: Uint8Array): number {
    return this.#check(this.kernel.processVmReadv(address, into), 'processVmReadv', [address, into]);
  }

  processVmWritev(address: Hva, from: Uint8Array): number {
    return this.#check(this.kernel.processVmWritev(address, from), 'processVmWritev', [address, from]);
  }

  view(address: Hva, length: number): ArrayBuffer {
    const result = this.kernel.view(address, length);
    if (typeof result === 'number') throw this.error('view', -result, [address, length]);
    this.#views.set(result, Number(address));
    return result;
  }

  vcpuAttach(fd: number, runPage: Hva): number {
    return this.#check(this.kernel.vcpuAttach(fd, runPage), 'vcpuAttach', [fd, runPage]);
  }
}

/** Checks a buffer against the request's real rule, and says what the kernel below must know of the request. */
function howOf(ioctl: Ioctl | undefined, arg: Int | Uint8Array): number {
  if (ioctl === undefined) return 0;
  // A descriptor that comes in a field is adopted by whoever reads the field: with a test flag there may be none.
  let how = ioctl.makes === undefined || ioctl.makesField !== undefined ? 0 : IOCTL_MAKES_FD;
  if (ioctl.realLength !== undefined && arg instanceof Uint8Array) {
    const need = ioctl.realLength(arg);
    if (arg.length < need) throw new RangeError(`${ioctl.name} touches ${need} bytes, the buffer has ${arg.length}`);
    how |= IOCTL_LENGTH_CHECKED;
  }
  return how;
}

/** For hints only: a value that a number cannot hold is given as a bigint, since it may well be what the kernel refused. */
function looseDecode(ioctl: Ioctl, bytes: Uint8Array): Record<string, unknown> | undefined {
  if (ioctl.arg.kind !== 'struct' || bytes.length < ioctl.arg.layout.size) return undefined;
  const { layout } = ioctl.arg;
  const offsets: Readonly<Record<string, number>> = layout.offsets;
  const view = viewOf(bytes);
  const read = (key: string): unknown => {
    try {
      return layout.get(bytes, key);
    } catch {
      return view.getBigUint64(offsets[key] ?? 0, true);
    }
  };
  return Object.fromEntries(Object.keys(layout.fields).map((key) => [key, read(key)]));
}
