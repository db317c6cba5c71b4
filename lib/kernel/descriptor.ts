/** An owner whose resource is a file descriptor. */
import { type FdKind, findIoctl, type Ioctl } from '../uapi/registry.ts';
import type { Int, PointerPatch } from './kernel.ts';
import { Owner } from './owner.ts';
import type { FileStat, Sys } from './sys.ts';

/** Where a descriptor is looked up by what must not keep its owner alive: undefined once it is closed. */
export interface FdPlace {
  fd: number | undefined;
}

export abstract class Descriptor extends Owner {
  readonly kind: FdKind;
  readonly #fd: number;
  /** Not for users: for what is released after its parent was collected, when the number may belong to another file. */
  readonly place: Readonly<FdPlace>;

  /** @param before runs before the descriptor is closed, with the same rule as `release` of Owner. */
  protected constructor(sys: Sys, parent: Owner | undefined, kind: FdKind, fd: number, before?: () => void) {
    const { kernel } = sys;
    const place: FdPlace = { fd };
    super(sys, parent, `${kind} (fd ${fd})`, () => {
      before?.();
      place.fd = undefined;
      kernel.close(fd);
    });
    this.kind = kind;
    this.#fd = fd;
    this.place = place;
  }

  /** The file descriptor. DisposedError after close, never a number that may belong to another file by now. */
  get fd(): number {
    this.assertOpen();
    return this.#fd;
  }

  /**
   * Any ioctl, also one that this package does not know: a declared request, or its number. Buffers come back in place.
   * Throws KernelError; RangeError when the buffer does not have the size that the request needs.
   */
  ioctl(request: Ioctl | number, arg: Int | Uint8Array = 0, pointers?: readonly PointerPatch[]): number {
    // Two requests may share a number: what this descriptor is decides.
    const known = typeof request === 'number' ? (findIoctl(request, this.kind) ?? request) : request;
    return this.sys.ioctl(this.fd, known, arg, pointers);
  }

  /** fstat(2) and the file system's type. */
  stat(): FileStat {
    return this.sys.fstat(this.fd);
  }

  /** What the kernel calls the file: `/memfd:name (deleted)`, `anon_inode:kvm-vm`. readlink(2) of /proc/self/fd. */
  linkName(): string {
    return this.sys.readlink(`/proc/self/fd/${this.fd}`);
  }

  /** poll(2), without waiting: the POLL bits that hold, of `events` and of those that nobody need ask for (ERR, HUP). */
  poll(events: number): number {
    return this.sys.poll(this.fd, events);
  }
}
