/** flock and leases. Both belong to an open file description, and conflict with those of others of the same file. fs/locks.c */
import { EAGAIN, EBADF, EINVAL } from './errno.ts';
import type { SimFile } from './file.ts';
import type { Profile } from './profile.ts';

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const LOCK_MAND = 32;

const O_ASYNC = 0x2000;
const F_RDLCK = 0;
const F_WRLCK = 1;
export const F_UNLCK = 2;

interface Locks {
  readonly flocks: Map<SimFile, number>;
  readonly leases: Map<SimFile, number>;
  /** Descriptions that open(2) made: what leases conflict with. */
  readonly writers: Set<SimFile>;
  readonly readers: Set<SimFile>;
}

export class LockTable {
  /** By inode number. */
  readonly #files = new Map<bigint, Locks>();

  #of(file: SimFile): Locks {
    const { ino } = file.stat();
    let locks = this.#files.get(ino);
    if (locks === undefined) {
      locks = { flocks: new Map(), leases: new Map(), writers: new Set(), readers: new Set() };
      this.#files.set(ino, locks);
    }
    return locks;
  }

  /** Everything that a description holds goes with it. */
  #watch(file: SimFile, locks: Locks): void {
    file.onRelease(() => {
      for (const held of [locks.flocks, locks.leases, locks.writers, locks.readers]) held.delete(file);
    });
  }

  /** Where the real call would wait for ever, since nobody else runs, it is EAGAIN as with LOCK_NB. */
  flock(file: SimFile | undefined, operation: number): number {
    if ((operation & LOCK_MAND) !== 0) return 0;
    const type = operation & ~LOCK_NB;
    if (type !== LOCK_SH && type !== LOCK_EX && type !== LOCK_UN) return -EINVAL;
    if (file === undefined) return -EBADF;
    const locks = this.#of(file);
    if (locks.flocks.get(file) === type) return 0;
    // A lock of another kind is given up first, whatever comes of the new one.
    locks.flocks.delete(file);
    if (type === LOCK_UN) return 0;
    for (const other of locks.flocks.values()) if (type === LOCK_EX || other === LOCK_EX) return -EAGAIN;
    locks.flocks.set(file, type);
    this.#watch(file, locks);
    return 0;
  }

  /** A description that open(2) made, about which F_SETLEASE asks. */
  opened(file: SimFile): void {
    if (!file.regular) return;
    const locks = this.#of(file);
    if (file.writable) locks.writers.add(file);
    else locks.readers.add(file);
    this.#watch(file, locks);
  }

  /**
   * open(2) breaks leases that conflict. The real call waits until their time is over, and then has its way; here that is at once. With
   * O_NONBLOCK it is EAGAIN, and the lease counts as given up.
   */
  breakLeases(file: SimFile, writes: boolean, nonblock: boolean): number {
    if (!file.regular) return 0;
    const { leases } = this.#of(file);
    let broken = false;
    for (const [holder, lease] of leases) {
      if (!writes && lease === F_RDLCK) continue;
      broken = true;
      if (writes) this.#end(holder, this.#of(holder));
      else leases.set(holder, F_RDLCK);
    }
    return broken && nonblock ? -EAGAIN : 0;
  }

  setLease(file: SimFile, lease: number, profile: Profile): number {
    if (lease !== F_RDLCK && lease !== F_WRLCK && lease !== F_UNLCK) return -EINVAL;
    if (!file.leasable(profile.leasesEverywhere)) return -EINVAL;
    const locks = this.#of(file);
    if (lease === F_UNLCK) return this.#end(file, locks);
    if (isOpenAgainst(file, lease, locks)) return -EAGAIN;
    const others = [...locks.leases.keys()].some((holder) => holder !== file);
    if (others && lease === F_WRLCK) return -EAGAIN;
    locks.leases.set(file, lease);
    // Whoever holds a lease gets a signal when it is broken.
    file.flags |= O_ASYNC;
    this.#watch(file, locks);
    return 0;
  }

  #end(file: SimFile, { leases }: Locks): number {
    if (!leases.delete(file)) return -EAGAIN;
    file.flags &= ~O_ASYNC;
    return 0;
  }

  getLease(file: SimFile): number {
    return this.#of(file).leases.get(file) ?? F_UNLCK;
  }
}

/** check_conflicting_open. Files that were not opened but made (memfd_create) count for nobody. */
function isOpenAgainst(file: SimFile, lease: number, { writers, readers }: Locks): boolean {
  if (lease === F_RDLCK) return writers.size > 0;
  const ownWriters = file.writable ? 1 : 0;
  const ownReaders = file.writable ? 0 : 1;
  return writers.size !== ownWriters || readers.size !== ownReaders;
}
