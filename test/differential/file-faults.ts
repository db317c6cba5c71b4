/** Mistakes that the simulation could have, each planted by replacing one method: for the proof that a differential run sees them. */
import { AddressSpace, SEGV_MAPERR } from '../../lib/sim/address-space.ts';
import { SimFile } from '../../lib/sim/file.ts';
import { LockTable } from '../../lib/sim/file-locks.ts';
import { EventfdFile } from '../../lib/sim/files/eventfd.ts';
import { GuestMemfdFile, GuestMemfdInode } from '../../lib/sim/files/guest-memfd.ts';
import { HugetlbFile } from '../../lib/sim/files/hugetlb.ts';
import { MemfdFile, Seals } from '../../lib/sim/files/memfd.ts';
import { PipeFile } from '../../lib/sim/files/pipe.ts';
import { SecretmemFile } from '../../lib/sim/files/secretmem.ts';
import { IntervalMap } from '../../lib/sim/interval-map.ts';
import { PageStore } from '../../lib/sim/page-store.ts';
import { Vma } from '../../lib/sim/vma.ts';
import type { Host } from './pair.ts';
import { getter, method, type PlantedFault } from './planting.ts';

const pages = PageStore.prototype;
const space = AddressSpace.prototype;

const hasGmem = ({ kvm }: Host): boolean => kvm !== undefined;

export const IN_FILES: readonly Omit<PlantedFault, 'suite'>[] = [
  {
    name: 'the tail of the last page survives a truncation',
    plant: () => method(pages, 'zero', () => () => undefined),
  },
  {
    name: 'private copies survive a truncation',
    plant: () =>
      method(
        pages,
        'punch',
        (punch) =>
          function (this: PageStore, from, to) {
            punch.call(this, from, to, 'punch');
          },
      ),
  },
  {
    name: 'fallocate fills the pages that it allocates',
    plant: () =>
      method(
        pages,
        'allocate',
        (allocate) =>
          function (this: PageStore, from, to) {
            allocate.call(this, from, to, true);
            allocate.call(this, from, to, true);
          },
      ),
  },
  {
    name: 'a second fallocate leaves pages unfilled',
    plant: () =>
      method(
        pages,
        'allocate',
        (allocate) =>
          function (this: PageStore, from, to) {
            allocate.call(this, from, to, false);
          },
      ),
  },
  {
    name: 'a punched page keeps its place in the count',
    plant: () =>
      method(
        pages,
        'count',
        (count) =>
          function (this: PageStore, from, to) {
            return to === Number.POSITIVE_INFINITY ? 0 : count.call(this, from, to);
          },
      ),
  },
  { name: 'seals do not stop new mappings', plant: () => method(Seals.prototype, 'judge', () => () => 0) },
  {
    name: 'mappings do not stop the WRITE seal',
    plant: () => method(MemfdFile.prototype, 'mapped', () => () => undefined),
  },
  {
    name: 'unmapping does not end a claim to write',
    plant: () => method(MemfdFile.prototype, 'unmapped', () => () => undefined),
  },
  {
    name: 'KEEP_SIZE is not kept',
    plant: () =>
      method(
        MemfdFile.prototype,
        'fallocate',
        (fallocate) =>
          function (this: MemfdFile, mode, offset, length) {
            return fallocate.call(this, mode === 1 ? 0 : mode, offset, length);
          },
      ),
  },
  {
    name: 'fchmod ignores the EXEC seal',
    plant: () =>
      method(
        MemfdFile.prototype,
        'chmod',
        (chmod) =>
          function (this: MemfdFile, mode) {
            chmod.call(this, mode);
            return 0;
          },
      ),
  },
  { name: 'a hugetlb file can have any size', plant: () => method(HugetlbFile.prototype, 'truncate', () => () => 0) },
  {
    name: 'secret memory can be truncated again',
    plant: () => method(SecretmemFile.prototype, 'truncate', () => () => 0),
  },
  { name: 'secret memory can be mapped private', plant: () => method(SecretmemFile.prototype, 'mmap', () => () => 0) },
  {
    name: 'an eventfd gives one at a time',
    plant: () =>
      method(
        EventfdFile.prototype,
        'readAt',
        (readAt) =>
          function (this: EventfdFile, into, at) {
            const done = readAt.call(this, into, at);
            if (done === 8) new DataView(into.buffer, into.byteOffset).setBigUint64(0, 1n, true);
            return done;
          },
      ),
  },
  { name: 'protection is not looked at', plant: () => method(space, 'resolve', () => withoutProtection) },
  {
    name: 'a private write reaches the file',
    plant: () => method(space, 'fault', () => withoutCopies),
  },
  {
    name: 'what was mapped before shows through',
    plant: () =>
      method(
        space,
        'put',
        () =>
          function (this: AddressSpace, from, to, vma) {
            this.guards.clear(from, to);
            this.alter(from, to, vma as Vma);
          },
      ),
  },
  {
    name: 'guard regions do not guard',
    plant: () =>
      method(
        IntervalMap.prototype as IntervalMap<unknown>,
        'set',
        (set) =>
          function (this: IntervalMap<unknown>, from, to, value) {
            if (value !== true || to - from > 64 || from < 2 ** 30) set.call(this, from, to, value);
          },
      ),
  },
  { name: 'every shared mapping could write', plant: () => getter(Vma.prototype, 'sharedWritable', true) },
  { name: 'files have no place of their own', plant: () => method(SimFile.prototype, 'seek', () => () => 0n) },
  {
    name: 'the host reaches private pages',
    needs: hasGmem,
    plant: () => method(GuestMemfdInode.prototype, 'isShared', () => () => true),
  },
  {
    name: 'the host reaches nothing',
    needs: hasGmem,
    plant: () => method(GuestMemfdInode.prototype, 'isShared', () => () => false),
  },
  {
    name: 'a guest_memfd can be mapped private',
    needs: hasGmem,
    plant: () => method(GuestMemfdFile.prototype, 'mmap', () => () => 0),
  },
  {
    name: 'a guest_memfd is punched only within its size',
    needs: hasGmem,
    plant: () =>
      method(
        GuestMemfdFile.prototype,
        'fallocate',
        (fallocate) =>
          function (this: GuestMemfdFile, mode, offset, length) {
            return offset + length > this.inode.size ? -22 : fallocate.call(this, mode, offset, length);
          },
      ),
  },
  {
    name: 'what mlock locks is not locked',
    plant: () =>
      method(
        Vma.prototype,
        'altered',
        (altered) =>
          function (this: Vma, changes) {
            return altered.call(this, changes.locked === true ? { ...changes, locked: false } : changes);
          },
      ),
  },
  { name: 'locks of files exclude nobody', plant: () => method(LockTable.prototype, 'flock', () => () => 0) },
  {
    name: 'locks stay when their file is closed',
    plant: () => method(SimFile.prototype, 'onRelease', () => () => undefined),
  },
  { name: 'leases are not kept', plant: () => method(LockTable.prototype, 'getLease', () => () => 2) },
  {
    name: 'policies of files go with the mapping',
    plant: () => getter(MemfdFile.prototype, 'policyInode', undefined),
  },
  {
    name: 'a pipe holds copies of pages',
    plant: () =>
      method(
        MemfdFile.prototype,
        'spliceRead',
        (spliceRead) =>
          function (this: MemfdFile, at, length) {
            const parts = spliceRead.call(this, at, length);
            return typeof parts === 'number'
              ? parts
              : parts.map(({ bytes, frame }) => ({ bytes: bytes.slice(), frame }));
          },
      ),
  },
  {
    name: 'writes to a pipe never merge',
    plant: () =>
      method(
        PipeFile.prototype,
        'writeAt',
        (writeAt) =>
          function (this: PipeFile, from, at) {
            const last = this.ring.slots.at(-1);
            if (last !== undefined) Object.assign(last, { merges: false });
            return writeAt.call(this, from, at);
          },
      ),
  },
];

function withoutProtection(this: AddressSpace, page: number, write: boolean) {
  const vma = this.vmas.get(page);
  return vma === undefined ? SEGV_MAPERR : this.fault(vma, page, write);
}

function withoutCopies(this: AddressSpace, vma: Vma, page: number, write: boolean) {
  if (vma.file === undefined) return this.private.page(page, write);
  const found = vma.file.fault(page + vma.delta, write);
  return found === 'SIGBUS' ? SEGV_MAPERR : found;
}
