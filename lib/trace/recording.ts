/** A recorded trace, in memory: docs/traces.md has the file format. */
import type { Kernel } from '../kernel/kernel.ts';

/** Bytes that go to an address named by the argument of an ioctl. */
export type RecordedPointer = readonly [offset: number, bytes: Uint8Array];

/** An argument as recorded. Buffers hold what they held before the call. */
export type RecordedValue = number | bigint | string | undefined | Uint8Array | readonly RecordedPointer[];

/** What a call answered. */
export interface RecordedOutcome {
  /** Zero or more, or a negated errno. */
  readonly result: number;
  /** What the call filled, by index of the argument. */
  readonly out: ReadonlyMap<number, Uint8Array>;
  /** What the buffers behind pointers held afterwards, in order. */
  readonly pointed: readonly Uint8Array[];
  /** Of a KVM_RUN that ended with an exit: the begin of its run page, and the data of KVM_EXIT_IO. */
  readonly exit?: { readonly page: Uint8Array; readonly data?: Uint8Array };
}

export interface RecordedCall extends RecordedOutcome {
  readonly n: number;
  /** Line in the file, from 1. */
  readonly line: number;
  /** The call of the waist; one that this version does not know is kept by its name. */
  readonly call: string;
  /** The ioctl request by name. */
  readonly request?: string;
  readonly args: readonly RecordedValue[];
  /** Arguments that alias memory: their hva, by index. */
  readonly mapped: ReadonlyMap<number, number>;
  /** What the host wrote through views before the call. */
  readonly writes: readonly (readonly [hva: number, bytes: Uint8Array])[];
  /** Of a run on the vCPU's own thread: number of the last call before it began. */
  readonly startedAfter?: number;
  /** The view of this call was too large to be watched: writes through it are missing. */
  readonly unwatched: boolean;
  /** Microseconds since the first call. */
  readonly at: number;
  readonly micros: number;
  /** The line in strace's manner. */
  readonly text: string;
}

export interface Recording {
  readonly kernel: Pick<Kernel, 'backend' | 'arch' | 'release'>;
  readonly calls: readonly RecordedCall[];
}

/** NaN for a buffer, without reading it: it may be large, or alias memory that nobody can reach. */
export const numberOf = (value: unknown): number => (typeof value === 'object' ? Number.NaN : Number(value));
