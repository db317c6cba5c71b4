/** The two backings of a region: what gives their pages back, and how many they hold. Offsets are bytes from the start of the region. */
import type { Sys } from '../../kernel/sys.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Vm } from '../../kvm/vm.ts';
import { Mapping, PAGE_SIZE } from '../../memory/mapping.ts';
import type { MemFile } from '../../memory/mem-file.ts';
import { Memfd } from '../../memory/memfd.ts';
import { MADV } from '../../uapi/mman.ts';
import type { SharedBacking } from './words.ts';

/** A part of a file. */
export interface FilePart {
  readonly file: MemFile;
  readonly offset: number;
}

export interface SharedSide {
  /** What the host reads and writes, from the region's first byte on. */
  readonly mapping: Mapping;
  /** Undefined for anonymous memory. */
  readonly part: FilePart | undefined;
  /** Bytes that are given back together. */
  readonly pageSize: number;
  /** It is the private file itself. */
  readonly inPlace: boolean;
  close(): void;
}

export interface PrivateSide {
  readonly file: GuestMemfd;
  readonly offset: number;
}

/** The calls that give pages back, as receipts name them. */
export const discardRequest = (side: SharedSide | PrivateSide): string =>
  'mapping' in side && side.part === undefined ? 'madvise' : 'fallocate';

export function discardShared(side: SharedSide, offset: number, size: number): void {
  if (side.part === undefined) side.mapping.advise(MADV.value.MADV_DONTNEED, { offset, length: size });
  else side.part.file.punchHole(side.part.offset + offset, size);
}

export function discardPrivate(side: PrivateSide, offset: number, size: number): void {
  side.file.punchHole(side.offset + offset, size);
}

const cached = ({ file, offset }: FilePart, from: number, size: number): number =>
  file.residency(offset + from, size).cache * PAGE_SIZE;

/** Bytes resident in the part. What the kernel's page cache has; for anonymous and huge pages, what is mapped. */
export function sharedResident(side: SharedSide, offset: number, size: number): number {
  if (side.part !== undefined && side.pageSize === PAGE_SIZE) return cached(side.part, offset, size);
  // cachestat(2) does not know hugetlbfs, and anonymous memory has no file.
  let pages = 0;
  for (const there of side.mapping.resident({ offset, length: size })) if (there) pages++;
  return pages * PAGE_SIZE;
}

export const privateResident = (side: PrivateSide, offset: number, size: number): number => cached(side, offset, size);

export interface PrivateOptions {
  /** `true`: a guest_memfd of the region's own. Or a part of one that serves many regions; it is not closed with the region. */
  readonly private: true | { readonly file: GuestMemfd; readonly offset?: number };
}

/** Makes the private file where it is the region's own; `owned` says so. */
export function openPrivate(
  vm: Vm,
  size: number,
  wanted: PrivateOptions['private'],
  flags: { readonly mmap?: boolean; readonly initShared?: boolean },
): { readonly side: PrivateSide; readonly owned: boolean } {
  if (wanted === true) return { side: { file: vm.createGuestMemfd(size, flags), offset: 0 }, owned: true };
  return { side: { file: wanted.file, offset: wanted.offset ?? 0 }, owned: false };
}

function ofOwnFile(file: Memfd, pageSize: number): SharedSide {
  let mapping: Mapping;
  try {
    mapping = file.map();
  } catch (error) {
    file.close();
    throw error;
  }
  const close = (): void => {
    mapping.close();
    file.close();
  };
  return { mapping, part: { file, offset: 0 }, pageSize, inPlace: false, close };
}

function ofPart(file: MemFile, offset: number, size: number, inPlace: boolean): SharedSide {
  const mapping = file.map({ offset, length: size });
  const pageSize = inPlace ? PAGE_SIZE : file.stat().blksize;
  return { mapping, part: { file, offset }, pageSize, inPlace, close: () => mapping.close() };
}

/** Makes and maps the shared side. `own` is the private side, for `guest-memfd`. */
export function openShared(
  sys: Sys,
  name: string,
  size: number,
  backing: SharedBacking,
  own: PrivateSide | undefined,
): SharedSide {
  if (backing === 'anonymous') {
    const mapping = Mapping.anonymous(sys, size, { shared: false });
    return { mapping, part: undefined, pageSize: PAGE_SIZE, inPlace: false, close: () => mapping.close() };
  }
  if (backing === 'memfd') return ofOwnFile(Memfd.create(sys, { name, size }), PAGE_SIZE);
  if (backing === 'guest-memfd') {
    if (own === undefined) throw new TypeError(`region ${name}: shared 'guest-memfd' needs a private side to map`);
    return ofPart(own.file, own.offset, size, true);
  }
  if ('file' in backing) return ofPart(backing.file, backing.offset ?? 0, size, false);
  return ofOwnFile(Memfd.create(sys, { name, size, hugePageSize: backing.hugetlb }), backing.hugetlb);
}
