/** Guests that ask for conversions (KVM_HC_MAP_GPA_RANGE), and hosts that carry them out. */
import type { HypercallExit } from '../kvm/exits.ts';
import { Broken, countCheck } from './check.ts';
import { describeExit, type Guest, type GuestRun } from './guest.ts';

export const MAP_GPA_RANGE = 12;
/** Mask for KVM_CAP_EXIT_HYPERCALL. */
export const MAP_GPA_RANGE_BIT = 1 << MAP_GPA_RANGE;
const PRIVATE_BIT = 0x10n;
const PAGE_SHIFT = 12n;

export interface Request {
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  readonly private: boolean;
}

/** The run must have ended with this hypercall. */
export function hypercall({ last }: GuestRun): HypercallExit {
  countCheck();
  if (last.name !== 'KVM_EXIT_HYPERCALL') throw new Broken('the guest', 'KVM_EXIT_HYPERCALL', describeExit(last));
  return last;
}

export function requestOf(exit: HypercallExit): Request {
  const [gpa = 0n, pages = 0n, attributes = 0n] = exit.args;
  return { gpa: Number(gpa), size: Number(pages << PAGE_SHIFT), private: (attributes & PRIVATE_BIT) !== 0n };
}

/** Goes on until an exit that asks for no conversion; answers each request with what `convert` returns, or 0. */
export async function serve(
  guest: Guest,
  convert: (request: Request) => number | undefined,
  id = 0,
): Promise<GuestRun> {
  const events: GuestRun['events'][number][] = [];
  const reports = new Map<number, bigint>();
  for (;;) {
    const run = await guest.resume(id);
    events.push(...run.events);
    for (const [tag, value] of run.reports) reports.set(tag, value);
    if (run.last.name !== 'KVM_EXIT_HYPERCALL') return { last: run.last, events, reports };
    guest.vcpu(id).answer(convert(requestOf(run.last)) ?? 0);
  }
}
