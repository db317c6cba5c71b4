/** /dev/null. drivers/char/mem.c */
import { EPERM } from '../errno.ts';
import { type FileStat, SimFile } from '../file.ts';
import type { Profile } from '../profile.ts';
import { O_LARGEFILE } from './sealed.ts';

const O_TRUNC = 0x200;
const TMPFS_MAGIC = 0x01021994;

export class DevNullFile extends SimFile {
  readonly #ino: bigint;
  readonly #profile: Profile;
  override readonly seekable = true;
  override readonly positioned = true;
  override readonly noexec = false;
  override readonly splicesIn = true;

  constructor(flags: number, ino: bigint, profile: Profile) {
    super((flags & ~O_TRUNC) | O_LARGEFILE[profile.arch]);
    this.#ino = ino;
    this.#profile = profile;
  }

  override linkName(): string {
    return '/dev/null';
  }

  override chown(): number {
    return -EPERM;
  }

  override reopen(flags: number): SimFile {
    return new DevNullFile(flags, this.#ino, this.#profile);
  }

  stat(): FileStat {
    return { ino: this.#ino, mode: 0o020666, nlink: 1, size: 0n, blksize: 4096, blocks: 0n, fsType: TMPFS_MAGIC };
  }

  override readAt(_into: Uint8Array, _at: bigint): number {
    return 0;
  }

  override writeAt(from: Uint8Array, _at: bigint): number {
    return from.length;
  }

  override seek(_offset: bigint, _whence: number): bigint {
    this.position = 0n;
    return 0n;
  }

  /** The node belongs to root. */
  override chmod(_mode: number): number {
    return -EPERM;
  }
}
