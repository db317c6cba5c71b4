/** Moving bytes between files without the process: splice, sendfile, copy_file_range, vmsplice. fs/splice.c, fs/read_write.c */
import type { AddressSpace } from './address-space.ts';
import { EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EOVERFLOW, EPIPE, EXDEV } from './errno.ts';
import { O_APPEND, type SimFile } from './file.ts';
import type { PagePart } from './files/paged.ts';
import { lentSlot, PipeFile, type PipeRing, type Slot } from './files/pipe.ts';
import { PAGE_SIZE } from './page.ts';
import { frameAt } from './physical.ts';
import { pinFast } from './pinned.ts';

const OFFSET_MAX = 2n ** 63n - 1n;
const TRANSFER_MAX = 0x7fff_f000;
const SPLICE_FLAGS = 15;

/** rw_verify_area. */
const isBeyond = (at: bigint, length: bigint): boolean => length > OFFSET_MAX || at + length > OFFSET_MAX;

const ringOf = (file: SimFile): PipeRing | undefined => (file instanceof PipeFile ? file.ring : undefined);

/** wait_for_space: whoever would wait for ever gets EAGAIN. */
function waitForSpace(ring: PipeRing): number {
  if (ring.readers === 0) return -EPIPE;
  return ring.full ? -EAGAIN : 0;
}

/** do_splice_read: parts of the file into the pipe, as many as it has room for. */
function spliceRead(file: SimFile, at: bigint, length: bigint, room: number): PagePart[] | number {
  if (!file.readable) return -EBADF;
  if (length === 0n) return [];
  if (!file.splicesOut) return -EINVAL;
  const most = Math.min(room * PAGE_SIZE, TRANSFER_MAX);
  const parts = file.spliceRead(at, length < BigInt(most) ? Number(length) : most);
  return typeof parts === 'number' ? parts : parts.slice(0, room);
}

const total = (parts: readonly PagePart[]): number => parts.reduce((sum, { bytes }) => sum + bytes.length, 0);

/** do_splice_from: out of the pipe into the file at `at`; bytes, or a negated errno when there were none. */
function spliceFrom(slots: readonly Slot[], file: SimFile, at: bigint, length: number): number {
  if (!file.splicesIn) return -EINVAL;
  let done = 0;
  for (const slot of slots) {
    const part = Math.min(slot.length, length - done);
    if (part === 0) break;
    const written = file.writeAt(slot.page.subarray(slot.offset, slot.offset + part), at + BigInt(done));
    if (written > 0) done += written;
    if (written < part) return done > 0 ? done : written;
  }
  return done;
}

interface Moved {
  /** Bytes, or a negated errno. */
  readonly result: number;
  /** Where the file that was read has come to. */
  readonly at: bigint;
}

/** splice_direct_to_actor, after do_splice_direct's own checks. */
function spliceDirect(from: SimFile, at: bigint, to: SimFile, toAt: bigint, length: number): Moved {
  if (!to.writable) return { result: -EBADF, at };
  if ((to.flags & O_APPEND) !== 0 || !from.seekable) return { result: -EINVAL, at };
  let done = 0;
  while (done < length) {
    const parts = spliceRead(from, at + BigInt(done), BigInt(length - done), 16);
    if (typeof parts === 'number') return { result: done > 0 ? done : parts, at: at + BigInt(done) };
    const read = total(parts);
    if (read === 0) break;
    const written = spliceFrom(parts.map(lentSlot), to, toAt + BigInt(done), read);
    if (written <= 0) return { result: done > 0 ? done : written, at: at + BigInt(done) };
    done += written;
    if (written < read) break;
  }
  return { result: done, at: at + BigInt(done) };
}

/** Files that keep a position move it; /dev/null does not. */
function advance(file: SimFile, at: bigint): void {
  if (file.positioned && file.regular) file.position = at;
}

export function splice(from: SimFile | undefined, to: SimFile | undefined, length: bigint, flags: number): number {
  if (length === 0n) return 0;
  if ((flags & ~SPLICE_FLAGS) !== 0) return -EINVAL;
  if (from === undefined || to === undefined || !from.readable || !to.writable) return -EBADF;
  const fromRing = ringOf(from);
  const toRing = ringOf(to);
  if (fromRing !== undefined && toRing !== undefined) return pipeToPipe(fromRing, toRing, length);
  if (fromRing !== undefined) return pipeToFile(fromRing, to, length);
  return toRing === undefined ? -EINVAL : fileToPipe(from, toRing, length);
}

function pipeToFile(ring: PipeRing, to: SimFile, length: bigint): number {
  if ((to.flags & O_APPEND) !== 0 || isBeyond(to.position, length)) return -EINVAL;
  if (!to.splicesIn) return -EINVAL;
  if (ring.slots.length === 0) return ring.writers === 0 ? 0 : -EAGAIN;
  const most = length < BigInt(TRANSFER_MAX) ? Number(length) : TRANSFER_MAX;
  const done = spliceFrom(ring.slots, to, to.position, most);
  if (done > 0) {
    ring.consume(done);
    advance(to, to.position + BigInt(done));
  }
  return done;
}

function fileToPipe(from: SimFile, ring: PipeRing, length: bigint): number {
  if (isBeyond(from.position, length)) return -EINVAL;
  const waited = waitForSpace(ring);
  if (waited < 0) return waited;
  const parts = spliceRead(from, from.position, length, ring.room);
  if (typeof parts === 'number') return parts;
  for (const part of parts) ring.lend(part);
  advance(from, from.position + BigInt(total(parts)));
  return total(parts);
}

/** splice_pipe_to_pipe: slot by slot, the last one maybe in part. */
function pipeToPipe(from: PipeRing, to: PipeRing, length: bigint): number {
  if (from === to) return -EINVAL;
  if (from.slots.length === 0) return from.writers === 0 ? 0 : -EAGAIN;
  const waited = waitForSpace(to);
  if (waited < 0) return waited;
  let done = 0;
  for (let left = length; left > 0n && !to.full; ) {
    const slot = from.slots[0];
    if (slot === undefined) break;
    const whole = left >= BigInt(slot.length);
    const part = whole ? slot.length : Number(left);
    if (whole) {
      from.slots.shift();
      to.slots.push(slot);
    } else {
      to.share(slot, part);
      from.consume(part);
    }
    done += part;
    left -= BigInt(part);
  }
  return done;
}

export function sendfile(to: SimFile | undefined, from: SimFile | undefined, asked: bigint): number {
  if (from === undefined || !from.readable) return -EBADF;
  if (isBeyond(from.position, asked)) return -EINVAL;
  const count = asked < BigInt(TRANSFER_MAX) ? Number(asked) : TRANSFER_MAX;
  if (to === undefined || !to.writable) return -EBADF;
  const ring = ringOf(to);
  if (ring !== undefined) return fileToPipe(from, ring, BigInt(count));
  if (isBeyond(to.position, BigInt(count))) return -EINVAL;
  const { result, at } = spliceDirect(from, from.position, to, to.position, count);
  if (result <= 0) return result;
  advance(to, to.position + BigInt(result));
  // Last, so that a file that is sent to itself ends where it was read.
  advance(from, at);
  return result;
}

export function copyFileRange(
  from: SimFile | undefined,
  to: SimFile | undefined,
  length: bigint,
  flags: number,
): number {
  if (from === undefined || to === undefined) return -EBADF;
  if (flags !== 0 || !from.regular || !to.regular) return -EINVAL;
  if (!from.readable || !to.writable || (to.flags & O_APPEND) !== 0) return -EBADF;
  const source = from.stat();
  const target = to.stat();
  // One file system for each kind of file; of huge pages, one for each size.
  if (source.fsType !== target.fsType || source.blksize !== target.blksize) return -EXDEV;
  // The sum is compared in 64 bits without a sign.
  if (length + from.position >= 2n ** 64n || length + to.position >= 2n ** 64n) return -EOVERFLOW;
  const rest = source.size - from.position;
  const wanted = rest <= 0n ? 0n : length < rest ? length : rest;
  // generic_write_check_limits, also when there is nothing to copy.
  const room = OFFSET_MAX - to.position;
  if (room <= 0n) return -EFBIG;
  const count = wanted < room ? wanted : room;
  const overlaps =
    source.ino === target.ino && to.position + count > from.position && to.position < from.position + count;
  if (overlaps) return -EINVAL;
  if (isBeyond(from.position, count) || isBeyond(to.position, count)) return -EINVAL;
  if (count === 0n) return 0;
  const most = count < BigInt(TRANSFER_MAX) ? Number(count) : TRANSFER_MAX;
  const { result } = spliceDirect(from, from.position, to, to.position, most);
  if (result <= 0) return result;
  // One description for both: each of the two is moved, the target last.
  const fromEnd = from.position + BigInt(result);
  const toEnd = to.position + BigInt(result);
  advance(from, fromEnd);
  advance(to, toEnd);
  return result;
}

export function vmsplice(
  space: AddressSpace,
  file: SimFile | undefined,
  address: bigint,
  length: bigint,
  flags: number,
): number {
  if ((flags & ~SPLICE_FLAGS) !== 0) return -EINVAL;
  if (file === undefined) return -EBADF;
  if (length > OFFSET_MAX) return -EINVAL;
  const most = length < BigInt(TRANSFER_MAX) ? Number(length) : TRANSFER_MAX;
  if (address + BigInt(most) > BigInt(space.endPage) * BigInt(PAGE_SIZE)) return -EFAULT;
  if (length === 0n) return 0;
  const ring = ringOf(file);
  if (ring === undefined) return -EBADF;
  return file.writable ? memoryToPipe(space, ring, address, most) : pipeToMemory(space, ring, address, most);
}

/** Pages are pinned sixteen at a time, whether or not the pipe has room for them all. */
const PIN_BATCH = 16;

function memoryToPipe(space: AddressSpace, ring: PipeRing, address: bigint, length: number): number {
  const waited = waitForSpace(ring);
  if (waited < 0) return waited;
  let done = 0;
  while (done < length && !ring.full) {
    const parts = pinParts(space, address + BigInt(done), length - done);
    if (parts.length === 0) return done > 0 ? done : -EFAULT;
    for (const part of parts.slice(0, ring.room)) {
      ring.lend(part);
      done += part.bytes.length;
    }
  }
  return done;
}

function pinParts(space: AddressSpace, address: bigint, length: number): PagePart[] {
  const parts: PagePart[] = [];
  for (let at = address, left = length; left > 0 && parts.length < PIN_BATCH; ) {
    const offset = Number(at & 4095n);
    const size = Math.min(PAGE_SIZE - offset, left);
    const page = pinFast(space, Number(at >> 12n));
    if (page === undefined) break;
    parts.push({ bytes: page.subarray(offset, offset + size), frame: frameAt(space, Number(at >> 12n)) });
    at += BigInt(size);
    left -= size;
  }
  return parts;
}

/** A copy, as read(2) of the pipe makes it. */
function pipeToMemory(space: AddressSpace, ring: PipeRing, address: bigint, length: number): number {
  if (ring.slots.length === 0) return ring.writers === 0 ? 0 : -EAGAIN;
  let done = 0;
  while (done < length) {
    const slot = ring.slots[0];
    if (slot === undefined) break;
    const at = address + BigInt(done);
    const offset = Number(at & 4095n);
    const page = space.resolve(Number(at >> 12n), true);
    if (!(page instanceof Uint8Array)) return done > 0 ? done : -EFAULT;
    const part = Math.min(slot.length, PAGE_SIZE - offset, length - done);
    page.set(slot.page.subarray(slot.offset, slot.offset + part), offset);
    ring.consume(part);
    done += part;
  }
  return done;
}
