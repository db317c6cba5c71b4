/** What a trace holds of each call. docs/traces.md */
import type { CallName } from './calls.ts';
import type { Kernel } from './kernel.ts';
import type { ExitBytes } from './trace-exit.ts';
import type { HostWrite } from './trace-watch.ts';

/** Version of the records. docs/traces.md */
export const TRACE_FORMAT = 2;

export interface TraceRecord {
  /** On the first record of a kernel only: the version of the records, and the kernel that they are of. */
  readonly format?: number;
  readonly kernel?: Pick<Kernel, 'backend' | 'arch' | 'release'>;
  /** Number of the call, from 1. */
  readonly n: number;
  /** The call of the waist. */
  readonly call: CallName;
  /** As in the manual pages; null for what is no system call. */
  readonly syscall: string | null;
  /** The ioctl request by name, where it has one. */
  readonly request?: string;
  /** Arguments as given: numbers, bigints, strings, and copies of buffers as they were before the call. */
  readonly args: readonly unknown[];
  /** Zero or more, or a negated errno. */
  readonly result: number;
  readonly errno?: string;
  /** Contents of the buffers that the call may fill, by index of the argument. */
  readonly out?: Readonly<Record<number, Uint8Array>>;
  /** Of an ioctl with pointers: what their buffers held afterwards, in order. */
  readonly pointed?: readonly Uint8Array[];
  /** Of arguments that alias memory (views): their hva, by index. Bytes that cannot be reached there are recorded as zeros. */
  readonly mapped?: Readonly<Record<number, number>>;
  /** What the host wrote through views since the call before. */
  readonly writes?: readonly HostWrite[];
  /** Of a KVM_RUN: what its run page held afterwards. */
  readonly exit?: ExitBytes;
  /** Of a run on the vCPU's own thread, which is recorded when it ends: number of the last call before it began. */
  readonly startedAfter?: number;
  /** Of a view that is too large: what the host writes through it is not recorded. */
  readonly unwatched?: true;
  /** When the call began, in microseconds since the first one. */
  readonly at: number;
  /** Microseconds that the call took, the recording left out. */
  readonly micros: number;
  /** The line, without a number or time. */
  readonly text: string;
}

export type TraceSink = (record: TraceRecord) => void;
