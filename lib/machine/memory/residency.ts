/** How much memory each side holds. */
import { privateResident, sharedResident } from './backing.ts';
import type { LedgerView } from './ledger.ts';
import type { Region } from './region.ts';
import type { GuestRange, Residency } from './words.ts';

/** Bytes in the range (default: everywhere). Aliases hold nothing of their own. */
export function residencyOf(regions: readonly Region[], ledger: LedgerView, range?: GuestRange): Residency {
  const sum = { private: 0, shared: 0 };
  for (const region of regions) {
    const from = Math.max(region.gpa, range?.gpa ?? 0);
    const size = Math.min(region.end, range === undefined ? region.end : range.gpa + range.size) - from;
    if (size <= 0 || region.kind === 'alias') continue;
    const offset = from - region.gpa;
    if (region.shared.inPlace) {
      // One file has both: whose a page is, the ledger says.
      for (const run of ledger.runs({ gpa: from, size })) {
        sum[run.side] += sharedResident(region.shared, run.gpa - region.gpa, run.size);
      }
      continue;
    }
    if (region.privateSide !== undefined) sum.private += privateResident(region.privateSide, offset, size);
    sum.shared += sharedResident(region.shared, offset, size);
  }
  return sum;
}
