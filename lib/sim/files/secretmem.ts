/** memfd_secret: memory that the kernel itself does not map. mm/secretmem.c */
import { EINVAL, EOPNOTSUPP } from '../errno.ts';
import { type Fault, type FileStat, type MapRequest, O_RDWR, SimFile } from '../file.ts';
import { PAGE_SIZE, pagesIn } from '../page.ts';
import { PageStore } from '../page-store.ts';
import type { Profile } from '../profile.ts';
import { O_LARGEFILE, withoutSetId } from './sealed.ts';

const SECRETMEM_MAGIC = 0x5345434d;

export class SecretmemFile extends SimFile {
  readonly #profile: Profile;
  readonly #ino: bigint;
  #mode = 0o600;
  #size = 0n;
  override readonly regular = true;
  override readonly pinnable = false;
  override readonly pages = new PageStore();

  constructor(profile: Profile, ino: bigint) {
    super(O_RDWR | O_LARGEFILE[profile.arch]);
    this.#profile = profile;
    this.#ino = ino;
  }

  override get mappable(): boolean {
    return true;
  }

  override get size(): bigint {
    return this.#size;
  }

  stat(): FileStat {
    const mode = 0o100000 | this.#mode;
    return {
      ino: this.#ino,
      mode,
      nlink: 1,
      size: this.#size,
      blksize: PAGE_SIZE,
      blocks: 0n,
      fsType: SECRETMEM_MAGIC,
    };
  }

  override linkName(): string {
    return '/secretmem (deleted)';
  }

  override chown(): number {
    this.#mode = withoutSetId(this.#mode);
    return 0;
  }

  /** Once, from 0: pages cannot be taken away under a mapping. */
  override truncate(length: bigint): number {
    if (this.#size !== 0n) return -EINVAL;
    this.#size = length;
    return 0;
  }

  override chmod(mode: number): number {
    this.#mode = mode & 0o7777;
    return 0;
  }

  override fallocate(_mode: number, _offset: bigint, _length: bigint): number {
    return -EOPNOTSUPP;
  }

  override mmap(request: MapRequest): number {
    if (!request.shared) return -EINVAL;
    request.locked ||= this.#profile.secretmemLocked;
    return 0;
  }

  override fault(filePage: number, write: boolean): Fault {
    return filePage < pagesIn(this.#size) ? this.pages.page(filePage, write) : 'SIGBUS';
  }
}
