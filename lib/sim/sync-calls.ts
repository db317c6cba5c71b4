/** Calls on files that move nothing: write-back, advice, readiness, ownership, names. fs/sync.c, mm/fadvise.c, mm/readahead.c, fs/select.c */
import { EBADF, EFAULT, EINVAL, ENOENT, ESPIPE } from './errno.ts';
import type { SimFile } from './file.ts';
import type { Process } from './process.ts';
import type { Profile } from './profile.ts';

const asSigned = (value: bigint): bigint => BigInt.asIntN(64, value);

export function fsync(file: SimFile | undefined): number {
  return file === undefined ? -EBADF : file.fsync();
}

const SYNC_FLAGS = 7;

export function syncFileRange(file: SimFile | undefined, offset: bigint, length: bigint, flags: number): number {
  if (file === undefined) return -EBADF;
  if ((flags & ~SYNC_FLAGS) !== 0) return -EINVAL;
  const end = asSigned(offset + length);
  if (offset < 0n || end < 0n || end < offset) return -EINVAL;
  return file.regular ? 0 : -ESPIPE;
}

const FADV_WILLNEED = 3;
const FADV_NOREUSE = 5;

/** None of these files has anything to read ahead or to write back, so known advice is taken and ignored. */
export function fadvise(
  file: SimFile | undefined,
  offset: bigint,
  length: bigint,
  advice: number,
  { adviceChecksOffset }: Profile,
): number {
  if (file === undefined) return -EBADF;
  if (file.fifo) return -ESPIPE;
  if (length < 0n || (offset < 0n && adviceChecksOffset)) return -EINVAL;
  return advice >= 0 && advice <= FADV_NOREUSE ? 0 : -EINVAL;
}

export function readahead(file: SimFile | undefined, offset: bigint, count: bigint, profile: Profile): number {
  if (file === undefined || !file.readable) return -EBADF;
  return file.readsAhead ? fadvise(file, offset, asSigned(count), FADV_WILLNEED, profile) : -EINVAL;
}

const POLLERR_AND_HUP = 0x18;
const POLLNVAL = 0x20;

/** A descriptor below 0 is left out; one that is not open is told, not refused. */
export function poll(file: SimFile | undefined, fd: number, events: number): number {
  if (fd < 0) return 0;
  return file === undefined ? POLLNVAL : file.poll() & (events | POLLERR_AND_HUP);
}

const OF_DESCRIPTOR = /^\/(?:proc\/self|dev)\/fd\/(\d+)$/;

export function readlink({ fds, views }: Process, path: string, into: Uint8Array): number {
  if (into.length === 0) return -EINVAL;
  const descriptor = OF_DESCRIPTOR.exec(path)?.[1];
  if (descriptor === undefined) return path === '/dev/null' || path === '/dev/kvm' ? -EINVAL : -ENOENT;
  const file = fds.get(Number(descriptor));
  if (file === undefined) return -ENOENT;
  const name = new TextEncoder().encode(file.linkName()).subarray(0, into.length);
  if (views.reach(into.subarray(0, name.length), true) < name.length) return -EFAULT;
  into.set(name);
  return name.length;
}
