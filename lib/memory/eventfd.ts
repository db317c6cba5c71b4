/** eventfd2(2): a counter that KVM can add to (ioeventfd) or be told by (irqfd). */
import { Descriptor } from '../kernel/descriptor.ts';
import { KernelError } from '../kernel/errors.ts';
import type { Owner } from '../kernel/owner.ts';
import type { Sys } from '../kernel/sys.ts';
import { EFD } from '../uapi/mman.ts';

export class Eventfd extends Descriptor {
  readonly #word = new Uint8Array(8);

  private constructor(sys: Sys, parent: Owner | undefined, fd: number) {
    super(sys, parent, 'file', fd);
  }

  /** Close-on-exec and non-blocking: nothing waits for ever. EMFILE, ENFILE. */
  static create(sys: Sys, parent?: Owner): Eventfd {
    return new Eventfd(sys, parent, sys.eventfd(0, EFD.value.EFD_NONBLOCK));
  }

  /** Adds one. EAGAIN when the counter is full. */
  signal(): void {
    this.#word.fill(0)[0] = 1;
    this.sys.write(this.fd, this.#word);
  }

  /** Takes the counter down to 0: what it was. */
  drain(): bigint {
    try {
      this.sys.read(this.fd, this.#word);
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EAGAIN') return 0n;
      throw error;
    }
    return new DataView(this.#word.buffer).getBigUint64(0, true);
  }
}
