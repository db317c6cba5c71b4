/** The addon's functions, and the system calls that it makes row by row. */
import { Frame } from './frame.ts';

type Plain = () => undefined;
type WithBytes = (bytes: Uint8Array) => undefined;

/** What native/functions.h lists. Numbers go by the frame. */
export interface Functions {
  readonly frame: ArrayBuffer;
  /** Of the system calls that `call` and `callWithBytes` make, in the order of their rows. */
  readonly names: readonly string[];
  readonly call: Plain;
  readonly callWithBytes: (first: Uint8Array, second?: Uint8Array) => undefined;
  readonly close: Plain;
  readonly adopt: Plain;
  readonly pipe: Plain;
  readonly fcntl: Plain;
  readonly ioctl: Plain;
  readonly ioctlWithBytes: (arg: Uint8Array, pointers?: readonly (number | Uint8Array)[]) => undefined;
  readonly mmap: Plain;
  readonly munmap: Plain;
  readonly vmsplice: Plain;
  readonly processVmReadv: WithBytes;
  readonly processVmWritev: WithBytes;
  readonly copyOut: WithBytes;
  readonly copyIn: WithBytes;
  readonly compare: WithBytes;
  readonly fill: Plain;
  readonly handlersChanged: Plain;
  readonly view: () => ArrayBuffer | undefined;
  readonly vcpuAttach: Plain;
  readonly vcpuRun: Plain;
  readonly vcpuStart: (done: (result: number) => void) => undefined;
  readonly vcpuKick: Plain;
  readonly vcpuDetach: Plain;
}

export class Addon {
  readonly functions: Functions;
  readonly frame: Frame;

  constructor(functions: Functions) {
    this.functions = functions;
    this.frame = new Frame(functions.frame);
  }

  /** The row of a system call, by its name in the manual pages. */
  row(name: string): number {
    const row = this.functions.names.indexOf(name);
    if (row < 0)
      throw new Error(
        `the addon does not make ${name}: it is of another version; build it again: npm run build:native`,
      );
    return row;
  }

  /** Makes the system call of a row with the arguments in the frame. */
  call(row: number): number {
    const { frame } = this;
    frame.row(row);
    this.functions.call();
    return frame.result;
  }

  /** The same for calls with one or two buffers. */
  callWithBytes(row: number, first: Uint8Array, second?: Uint8Array): number {
    const { frame } = this;
    frame.row(row);
    if (second === undefined) this.functions.callWithBytes(first);
    else this.functions.callWithBytes(first, second);
    return frame.result;
  }
}
