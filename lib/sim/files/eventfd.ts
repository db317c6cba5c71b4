/** eventfd: a counter. fs/eventfd.c */
import { EAGAIN, EFAULT, EINVAL } from '../errno.ts';
import { type FileStat, O_NONBLOCK, O_RDWR, SimFile } from '../file.ts';
import type { Profile } from '../profile.ts';

const EFD_SEMAPHORE = 1;
const COUNT_MAX = 2n ** 64n - 1n;
const ANON_INODE_FS_MAGIC = 0x09041934;

export class EventfdFile extends SimFile {
  readonly #ino: bigint;
  readonly #semaphore: boolean;
  readonly #exact: boolean;
  #count: bigint;
  readonly #listeners = new Set<() => void>();
  override readonly seekable = true;

  constructor(initial: number, flags: number, ino: bigint, profile: Profile) {
    super(O_RDWR | (flags & O_NONBLOCK));
    this.#count = BigInt(initial);
    this.#semaphore = (flags & EFD_SEMAPHORE) !== 0;
    this.#ino = ino;
    this.#exact = profile.eventfdExact;
  }

  get count(): bigint {
    return this.#count;
  }

  /** eventfd_signal: what KVM does for an ioeventfd. */
  signal(): void {
    if (this.#count < COUNT_MAX) this.#count++;
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` whenever the counter grows (an irqfd), until the function that it returns is called. */
  onSignal(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  override linkName(): string {
    return 'anon_inode:[eventfd]';
  }

  override poll(): number {
    const readable = this.#count > 0n ? 0x1 : 0;
    const writable = this.#count < COUNT_MAX - 1n ? 0x4 : 0;
    return readable | writable | (this.#count === COUNT_MAX ? 0x8 : 0);
  }

  /** noop_llseek. */
  override seek(_offset: bigint, _whence: number): bigint {
    return this.position;
  }

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

  /** Where the real call would wait for ever, since nobody else runs, it is EAGAIN as if the descriptor were non-blocking. */
  override readAt(into: Uint8Array, _at: bigint, reached = 8): number {
    if (into.length < 8) return -EINVAL;
    if (this.#count === 0n) return -EAGAIN;
    const value = this.#semaphore ? 1n : this.#count;
    this.#count -= value;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    into.set(bytes.subarray(0, reached));
    // The counter is read all the same.
    return reached < 8 ? -EFAULT : 8;
  }

  override writeAt(from: Uint8Array, _at: bigint, reached = 8): number {
    if (this.#exact ? from.length !== 8 : from.length < 8) return -EINVAL;
    if (reached < 8) return -EFAULT;
    const value = new DataView(from.buffer, from.byteOffset).getBigUint64(0, true);
    if (value === COUNT_MAX) return -EINVAL;
    if (COUNT_MAX - this.#count <= value) return -EAGAIN;
    this.#count += value;
    if (value > 0n) for (const listener of this.#listeners) listener();
    return 8;
  }
}
