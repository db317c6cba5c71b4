/** What files of memfd_create have in common, in ordinary and in huge pages: an inode that can be sealed. mm/memfd.c */
import { EBUSY, EINVAL, EPERM } from '../errno.ts';
import { type FileStat, type MapRequest, SimFile } from '../file.ts';
import { PageStore } from '../page-store.ts';
import type { Profile } from '../profile.ts';
import type { Vma } from '../vma.ts';
import { readPages } from './paged.ts';

export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
export const F_SEAL_WRITE = 8;
export const F_SEAL_FUTURE_WRITE = 0x10;
export const F_SEAL_EXEC = 0x20;
export const WRITE_SEALS = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

const PROT_WRITE = 2;
const EXECUTE = 0o111;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;
export const O_LARGEFILE = { x64: 0x8000, arm64: 0x20000 } as const;

/** Seals, and what they say of a mapping to be: the same for files in ordinary and in huge pages. */
export class Seals {
  readonly #profile: Profile;
  bits: number;
  /** Shared mappings that can be written, or could be after mprotect: i_mmap_writable. */
  writableMappings = 0;

  constructor(bits: number, profile: Profile) {
    this.bits = bits;
    this.#profile = profile;
  }

  has(bits: number): boolean {
    return (this.bits & bits) !== 0;
  }

  /** memfd_add_seals, behind its first check. */
  add(bits: number, mode: number, isPinned: () => boolean): number {
    const known = this.#profile.memfdExec ? 0x3f : 0x1f;
    if ((bits & ~known) !== 0) return -EINVAL;
    if (this.has(F_SEAL_SEAL)) return -EPERM;
    // W^X from the start.
    const implied = (bits & F_SEAL_EXEC) !== 0 && (mode & EXECUTE) !== 0;
    const all = bits | (implied ? F_SEAL_SHRINK | F_SEAL_GROW | WRITE_SEALS : 0);
    const asked = this.#profile.execSealJudged ? all : bits;
    const closes = (asked & F_SEAL_WRITE) !== 0 && !this.has(F_SEAL_WRITE);
    // For the pins the real kernel waits a while.
    if (closes && (this.writableMappings > 0 || isPinned())) return -EBUSY;
    this.bits |= all;
    return 0;
  }

  /** memfd_check_seals_mmap. */
  judge(request: MapRequest): number {
    if (!request.shared || !this.has(WRITE_SEALS)) return 0;
    const writable = (request.mayProt & PROT_WRITE) !== 0;
    if (writable && (request.prot & PROT_WRITE) !== 0) return -EPERM;
    // Before 6.7 a shared mapping of a writable descriptor counted as a writer even when it only read.
    if (writable && this.has(F_SEAL_WRITE) && !this.#profile.sealedReadMaps) return -EPERM;
    request.mayProt &= ~PROT_WRITE;
    return 0;
  }
}

/** What a change of owner leaves of a mode: without the bits that run code as somebody else. */
export function withoutSetId(mode: number): number {
  return mode & ~((mode & S_IXGRP) !== 0 ? S_ISUID | S_ISGID : S_ISUID);
}

export interface SealedOptions {
  readonly profile: Profile;
  readonly ino: bigint;
  /** As given to memfd_create; for what /proc shows. */
  readonly name?: string;
  /** Permission bits. */
  readonly mode: number;
  readonly seals: number;
  readonly size?: bigint;
}

/** The file behind every description of it. */
export class SealedInode {
  readonly profile: Profile;
  readonly ino: bigint;
  readonly name: string;
  readonly seals: Seals;
  readonly pages = new PageStore();
  mode: number;
  size: bigint;

  constructor({ profile, ino, name = '', mode, seals, size = 0n }: SealedOptions) {
    this.profile = profile;
    this.ino = ino;
    this.name = name;
    this.mode = mode;
    this.seals = new Seals(seals, profile);
    this.size = size;
  }

  dropSetId(): void {
    this.mode = withoutSetId(this.mode);
  }
}

export abstract class SealedFile<I extends SealedInode = SealedInode> extends SimFile {
  protected readonly inode: I;
  override readonly regular = true;
  override readonly seekable = true;
  override readonly positioned = true;
  override readonly noexec = false;
  override get readsAhead(): boolean {
    return true;
  }
  override readonly opened: boolean;
  override readonly pages: PageStore;

  protected constructor(inode: I, flags: number, opened: boolean) {
    super(flags | O_LARGEFILE[inode.profile.arch]);
    this.inode = inode;
    this.opened = opened;
    this.pages = inode.pages;
  }

  override get mappable(): boolean {
    return true;
  }

  override get size(): bigint {
    return this.inode.size;
  }

  /** `blksize` and `fsType` of the file system. */
  protected statAs(blksize: number, fsType: number): FileStat {
    const { ino, mode, size } = this.inode;
    const blocks = BigInt(this.pages.allocated) * 8n;
    return { ino, mode: 0o100000 | mode, nlink: 0, size, blksize, blocks, fsType };
  }

  override linkName(): string {
    return `/memfd:${this.inode.name} (deleted)`;
  }

  override readAt(into: Uint8Array, at: bigint, reached?: number): number {
    return readPages(this.pages, into, at, this.inode.size, reached);
  }

  override fsync(): number {
    return 0;
  }

  override chown(): number {
    this.inode.dropSetId();
    return 0;
  }

  override addSeals(bits: number, isPinned: () => boolean): number {
    return this.inode.seals.add(bits, this.inode.mode, isPinned);
  }

  override getSeals(): number {
    return this.inode.seals.bits;
  }

  override judge(request: MapRequest): number {
    return this.inode.seals.judge(request);
  }

  override mapped(vma: Vma): void {
    if (vma.sharedWritable) this.inode.seals.writableMappings++;
  }

  override unmapped(vma: Vma): void {
    if (vma.sharedWritable) this.inode.seals.writableMappings--;
  }
}
