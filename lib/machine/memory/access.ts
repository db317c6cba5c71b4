/** Reads and writes by gpa, across regions. */
import { MemoryFaultError } from '../../kernel/errors.ts';
import { GuestMemoryError } from './errors.ts';
import type { LedgerView } from './ledger.ts';
import type { Region, RegionMap } from './region.ts';

export type AccessKind = 'read' | 'write' | 'fill';
/** One piece: `offset` into the region's mapping, bytes `done` before it, its size. */
export type AccessStep = (region: Region, offset: number, done: number, size: number) => void;

interface Map {
  readonly regions: RegionMap;
  readonly ledger: LedgerView;
}

/** Walks the pieces of one region and one side. GuestMemoryError with the gpa of the first byte that cannot be had. */
export function access(
  { regions, ledger }: Map,
  what: AccessKind,
  gpa: number,
  length: number,
  step: AccessStep,
): void {
  if (!Number.isSafeInteger(gpa) || gpa < 0) throw new RangeError(`gpa must be an integer of at least 0, got ${gpa}`);
  const action = `${what} of ${length} bytes at gpa 0x${gpa.toString(16)}`;
  for (let done = 0; done < length; ) {
    const at = gpa + done;
    const region = regions.at(at);
    if (region === undefined) throw new GuestMemoryError(action, 'hole', at, done);
    if (region.kind === 'rom' && what !== 'read') throw new GuestMemoryError(action, 'rom', at, done);
    const [run] = ledger.runs({ gpa: at, size: Math.min(length - done, region.end - at) });
    if (run?.side !== 'shared') throw new GuestMemoryError(action, 'private-unreachable', at, done);
    try {
      step(region, region.sharedOffset + at - region.gpa, done, run.size);
    } catch (error) {
      if (!(error instanceof MemoryFaultError)) throw error;
      const { bytesDone } = error.fault;
      throw new GuestMemoryError(action, 'fault', at + bytesDone, done + bytesDone, { cause: error });
    }
    done += run.size;
  }
}
