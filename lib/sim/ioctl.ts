/** ioctl as the addon makes it: buffers checked against the request, pointers placed for the time of the call. native/ioctl.cc */

import * as take from '../kernel/arguments.ts';
import { IOCTL_LENGTH_CHECKED, IOCTL_MAKES_FD } from '../kernel/kernel.ts';
import { EBADF } from './errno.ts';
import type { Process } from './process.ts';

const encodedSize = (request: number): number => (request >>> 16) & 0x3fff;

interface Patch {
  readonly offset: number;
  readonly view: Uint8Array;
}

function patchesOf(pointers: unknown, length: number): Patch[] {
  if (pointers === undefined) return [];
  return take.pointers(pointers).map(([offset, view]) => {
    if (!Number.isInteger(offset) || offset < 0 || offset + 8 > length) {
      throw new RangeError(`pointers: an offset must leave 8 bytes in a buffer of ${length}`);
    }
    return { offset, view };
  });
}

function checkLength(request: number, how: number, length: number): void {
  const want = encodedSize(request);
  const fits = (how & IOCTL_LENGTH_CHECKED) !== 0 ? length >= want : length === want && want !== 0;
  if (!fits) throw new RangeError(`the buffer has ${length} bytes, the request encodes ${want}`);
}

export function ioctl(process: Process, ...given: readonly unknown[]): number {
  const fd = take.int32(given[0], 'fd');
  const request = take.bits32(given[1], 'request');
  const how = given[3] === undefined ? 0 : take.bits32(given[3], 'how');
  const arg = given[2];
  if (typeof arg === 'number' || typeof arg === 'bigint') {
    return call(process, fd, request, take.u64(arg, 'arg'), how);
  }
  const buffer = take.bytes(arg, 'arg');
  const patches = patchesOf(given[4], buffer.length);
  checkLength(request, how, buffer.length);
  const { user, views } = process;
  const mark = user.mark();
  const data = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  const saved = patches.map(({ offset }) => data.getBigUint64(offset, true));
  // A view goes as the memory that it is, which the kernel may not reach.
  const addressOf = (bytes: Uint8Array): bigint => {
    const hva = views.addressOf(bytes);
    return hva === undefined ? user.lend(bytes) : BigInt(hva);
  };
  try {
    for (const { offset, view } of patches) data.setBigUint64(offset, addressOf(view), true);
    return call(process, fd, request, addressOf(buffer), how);
  } finally {
    user.returnTo(mark);
    // No address of a lent buffer is ever seen by the caller. In reverse, since places may overlap.
    for (let i = patches.length - 1; i >= 0; i--) {
      const patch = patches[i];
      const value = saved[i];
      if (patch !== undefined && value !== undefined) data.setBigUint64(patch.offset, value, true);
    }
  }
}

function call({ fds }: Process, fd: number, request: number, arg: bigint, how: number): number {
  const file = fds.get(fd);
  if (file === undefined) return -EBADF;
  const lowest = (how & IOCTL_MAKES_FD) !== 0 ? fds.next() : -1;
  const result = file.ioctl(request, arg);
  if (lowest >= 0 && result >= lowest) fds.setCloexec(result, true);
  return result;
}
