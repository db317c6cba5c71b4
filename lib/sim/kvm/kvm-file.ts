/** What the files of KVM have in common: anonymous inodes with nothing but requests. fs/anon_inodes.c */
import { type FileStat, O_RDWR, SimFile } from '../file.ts';

const ANON_INODE_FS_MAGIC = 0x09041934;

export abstract class KvmFile extends SimFile {
  readonly #ino: bigint;
  override readonly seekable = true;

  constructor(ino: bigint) {
    super(O_RDWR);
    this.#ino = ino;
  }

  /** noop_llseek: nothing moves, and nothing is wrong. */
  override seek(): bigint {
    return this.position;
  }

  /** All anonymous inodes are one, without a file type. */
  stat(): FileStat {
    return {
      ino: this.#ino,
      mode: 0o600,
      nlink: 1,
      size: 0n,
      blksize: 4096,
      blocks: 0n,
      fsType: ANON_INODE_FS_MAGIC,
    };
  }
}
