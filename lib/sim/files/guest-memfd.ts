/**
 * guest_memfd: memory that belongs to a VM. The file and its calls; what a VM does with it is KVM's. virt/kvm/guest_memfd.c
 */
import { EINVAL, ENODEV, EOPNOTSUPP } from '../errno.ts';
import { type Fault, type FileStat, type MapRequest, O_RDWR, SimFile } from '../file.ts';
import { IntervalMap } from '../interval-map.ts';
import { isAligned, PAGE_SIZE, pageOf } from '../page.ts';
import { PageStore } from '../page-store.ts';
import type { Profile } from '../profile.ts';

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
export const GUEST_MEMFD_FLAG_MMAP = 1;
export const GUEST_MEMFD_FLAG_INIT_SHARED = 2;

const GUEST_MEMFD_MAGIC = 0x474d454d;
const ANON_INODE_FS_MAGIC = 0x09041934;
const O_LARGEFILE = { x64: 0x8000, arm64: 0x20000 } as const;

export interface GuestMemfdOptions {
  readonly profile: Profile;
  readonly ino: bigint;
  /** Bytes: a positive multiple of the page size. */
  readonly size: bigint;
  /** GUEST_MEMFD_FLAG bits. */
  readonly flags: number;
  /** The last descriptor and mapping are gone: kvm_gmem_release, where the slots bound to it lose it. */
  readonly onRelease?: () => void;
  /** ioctl(2), for patched kernels whose files have one. */
  readonly onIoctl?: (request: number, arg: bigint) => number;
}

/** The memory itself. It lives on while a VM's slot is bound to it only as long as the file does: slots do not hold the file. */
export class GuestMemfdInode {
  readonly profile: Profile;
  readonly ino: bigint;
  readonly size: bigint;
  readonly flags: number;
  readonly pages = new PageStore();
  /** Pages that are not what the flags made them, on kernels that convert in place. */
  readonly #converted = new IntervalMap<true>();
  /** Pages that the host touched since they came to be. */
  readonly #touched = new Set<number>();

  constructor(size: bigint, flags: number, profile: Profile, ino = 0n) {
    this.profile = profile;
    this.ino = ino;
    this.size = size;
    this.flags = flags;
  }

  get mappable(): boolean {
    return (this.flags & GUEST_MEMFD_FLAG_MMAP) !== 0;
  }

  get #startsShared(): boolean {
    return (this.flags & GUEST_MEMFD_FLAG_INIT_SHARED) !== 0;
  }

  /** Whether the host may touch a page. In merged kernels the whole file is one or the other. */
  isShared(page: number): boolean {
    return this.#startsShared !== (this.#converted.get(page) === true);
  }

  /** Whether all of [from, to) is in one state. */
  isUniform(from: number, to: number, shared: boolean): boolean {
    const { value, to: end } = this.#converted.rangeAt(from);
    return (this.#startsShared !== (value === true)) === shared && end >= to;
  }

  setShared(from: number, to: number, shared: boolean): void {
    this.#converted.set(from, to, shared === this.#startsShared ? undefined : true);
  }

  /** The page as the host gets it. */
  hostPage(page: number, write: boolean): Uint8Array {
    this.#touched.add(page);
    return this.pages.page(page, write);
  }

  /** A mapped page is unmapped folio by folio, which takes guard regions with it. mm/memory.c, unmap_mapping_folio */
  punch(from: number, to: number): void {
    for (const page of this.#touched) {
      if (page < from || page >= to) continue;
      this.pages.announceUnmap(page);
      this.#touched.delete(page);
    }
    this.pages.punch(from, to);
  }

  /** The page as the guest gets it; undefined beyond the size. */
  guestPage(page: number, write: boolean): Uint8Array | undefined {
    return page < pageOf(this.size) ? this.pages.page(page, write) : undefined;
  }
}

export class GuestMemfdFile extends SimFile {
  readonly inode: GuestMemfdInode;
  readonly #onRelease: (() => void) | undefined;
  readonly #onIoctl: ((request: number, arg: bigint) => number) | undefined;
  override readonly regular = true;
  override readonly pages: PageStore;

  constructor({ profile, ino, size, flags, onRelease, onIoctl }: GuestMemfdOptions) {
    super(O_RDWR | O_LARGEFILE[profile.arch]);
    this.inode = new GuestMemfdInode(size, flags, profile, ino);
    this.pages = this.inode.pages;
    this.#onRelease = onRelease;
    this.#onIoctl = onIoctl;
  }

  protected override release(): void {
    this.#onRelease?.();
  }

  override ioctl(request: number, arg: bigint): number {
    return this.#onIoctl?.(request, arg) ?? super.ioctl(request, arg);
  }

  override get readsAhead(): boolean {
    return this.inode.profile.anonymousReadahead;
  }

  override get mappable(): boolean {
    return this.inode.profile.guestMemfdMmap;
  }

  override get size(): bigint {
    return this.inode.size;
  }

  stat(): FileStat {
    const { ino, size, profile } = this.inode;
    const fsType = profile.guestMemfdOwnFs ? GUEST_MEMFD_MAGIC : ANON_INODE_FS_MAGIC;
    // Blocks are not accounted: cachestat is the only way to see what is allocated.
    return { ino, mode: 0o100600, nlink: 1, size, blksize: PAGE_SIZE, blocks: 0n, fsType };
  }

  override linkName(): string {
    return this.inode.profile.guestMemfdOwnFs ? '/[kvm-gmem] (deleted)' : 'anon_inode:[kvm-gmem]';
  }

  override chown(): number {
    return -EINVAL;
  }

  override get policyInode(): object | undefined {
    return this.inode.profile.guestMemfdPolicy ? this.inode : undefined;
  }

  override chmod(_mode: number): number {
    return -EINVAL;
  }

  override fallocate(mode: number, offset: bigint, length: bigint): number {
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0) return -EOPNOTSUPP;
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP;
    if (!isAligned(offset) || !isAligned(length)) return -EINVAL;
    const end = offset + length;
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      this.inode.punch(pageOf(offset), pageOf(end));
      return 0;
    }
    if (end > this.inode.size) return -EINVAL;
    this.pages.allocate(pageOf(offset), pageOf(end));
    return 0;
  }

  override mmap({ shared }: MapRequest): number {
    if (!this.inode.mappable) return -ENODEV;
    return shared ? 0 : -EINVAL;
  }

  override fault(filePage: number, write: boolean): Fault {
    if (filePage >= pageOf(this.inode.size) || !this.inode.isShared(filePage)) return 'SIGBUS';
    return this.inode.hostPage(filePage, write);
  }
}
