/** What a replay is told, and what it tells. */
import type { Kernel } from '../kernel/kernel.ts';
import type { GuardOptions } from './guard.ts';
import type { Difference } from './outcome.ts';
import type { RecordedCall, Recording } from './recording.ts';

export interface ReplayOptions extends GuardOptions {
  /** Ends the replay early: what it holds is given back, and the report says so. */
  readonly signal?: AbortSignal | undefined;
  /** How long a run may take, in milliseconds. Default: 10 s, or twenty times what it took when that is more. */
  readonly runLimitMs?: number | undefined;
}

/** A call whose outcome is not the recorded one. */
export interface ReplayedCall {
  readonly call: RecordedCall;
  readonly differences: readonly Difference[];
}

/** A call that was not made, and why. */
export interface SkippedCall {
  readonly call: RecordedCall;
  readonly reason: string;
}

/** Nothing differs but the processor, and nothing was left out. */
export const isFaithful = ({ different, skipped, interrupted }: ReplayReport): boolean =>
  different.length + skipped.length === 0 && !interrupted;

export interface ReplayReport {
  readonly recorded: Recording['kernel'];
  readonly on: Pick<Kernel, 'backend' | 'arch' | 'release'>;
  /** Calls in the recording. */
  readonly calls: number;
  /** Calls with the recorded outcome. */
  readonly same: number;
  readonly different: readonly ReplayedCall[];
  /** Calls that differ in nothing but what they say of the processor (CPUID, lists of MSRs). */
  readonly processor: readonly ReplayedCall[];
  readonly skipped: readonly SkippedCall[];
  /** Paths that were opened, with what came of it. */
  readonly opened: readonly { readonly path: string; readonly flags: number; readonly result: number }[];
  /** Views that were too large to be watched: what the host wrote through them is missing from the recording. */
  readonly unwatched: readonly RecordedCall[];
  readonly interrupted: boolean;
}
