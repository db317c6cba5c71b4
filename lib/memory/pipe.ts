/** pipe2(2): what splice and vmsplice need on one side. */
import { Descriptor } from '../kernel/descriptor.ts';
import type { Int } from '../kernel/kernel.ts';
import { Owner } from '../kernel/owner.ts';
import type { Sys } from '../kernel/sys.ts';
import { O } from '../uapi/mman.ts';
import type { Mapping, Part } from './mapping.ts';

class PipeEnd extends Descriptor {
  constructor(sys: Sys, parent: Owner, fd: number) {
    super(sys, parent, 'file', fd);
  }
}

export interface PipeOptions {
  /** O_NONBLOCK on both ends. Default true: a pipe that is full or empty answers EAGAIN, and nothing waits for ever. */
  readonly nonblock?: boolean;
}

export class Pipe extends Owner {
  readonly readEnd: Descriptor;
  readonly writeEnd: Descriptor;

  private constructor(sys: Sys, read: number, write: number) {
    super(sys, undefined, `pipe (fd ${read}, fd ${write})`, () => {});
    this.readEnd = new PipeEnd(sys, this, read);
    this.writeEnd = new PipeEnd(sys, this, write);
  }

  /** pipe2(2), close-on-exec. EMFILE, ENFILE. */
  static create(sys: Sys, { nonblock = true }: PipeOptions = {}): Pipe {
    const [read, write] = sys.pipe(nonblock ? O.value.O_NONBLOCK : 0);
    return new Pipe(sys, read, write);
  }

  /** read(2): bytes read. EAGAIN when the pipe is empty. */
  read(into: Uint8Array): number {
    return this.sys.read(this.readEnd.fd, into);
  }

  /** write(2): bytes written. EAGAIN when the pipe is full. */
  write(from: Uint8Array): number {
    return this.sys.write(this.writeEnd.fd, from);
  }

  /** splice(2) from a file's own position: bytes moved. EINVAL for files that cannot be spliced from: guest_memfd, memfd_secret. */
  spliceFrom(file: Descriptor, length: Int, flags = 0): number {
    return this.sys.splice(file.fd, this.writeEnd.fd, length, flags);
  }

  /** splice(2) to a file's own position: bytes moved. */
  spliceTo(file: Descriptor, length: Int, flags = 0): number {
    return this.sys.splice(this.readEnd.fd, file.fd, length, flags);
  }

  /** vmsplice(2): the pages themselves go in, pinned. EFAULT for private pages, and for memfd_secret always. */
  vmspliceFrom(mapping: Mapping, part: Part = {}, flags = 0): number {
    const { offset = 0, length = mapping.length - offset } = part;
    return this.sys.vmsplice(this.writeEnd.fd, mapping.hva + offset, length, flags);
  }

  /** vmsplice(2) of the other end: bytes are copied to the memory. */
  vmspliceTo(mapping: Mapping, part: Part = {}, flags = 0): number {
    const { offset = 0, length = mapping.length - offset } = part;
    return this.sys.vmsplice(this.readEnd.fd, mapping.hva + offset, length, flags);
  }
}
