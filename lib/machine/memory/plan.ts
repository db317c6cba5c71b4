/** What a conversion will do, decided before the first call: which pages change, by which calls, in which order. */

import { discardRequest } from './backing.ts';
import { GuestMemoryError, type GuestMemoryFault } from './errors.ts';
import type { Ledger } from './ledger.ts';
import { append, checkRange, coalesce, showRange } from './ranges.ts';
import type { Region, RegionMap } from './region.ts';
import type { Converter } from './strategy.ts';
import {
  type ConversionPlan,
  type ConvertOptions,
  type GuestRange,
  otherSide,
  type PlannedCall,
  type Policy,
  type Side,
} from './words.ts';

interface World {
  readonly regions: RegionMap;
  readonly ledger: Ledger;
  readonly converter: Converter;
}

type Growing = { gpa: number; size: number }[];

const POLICIES: readonly Policy[] = ['discard-left', 'discard-first', 'discard-entered', 'keep'];

/** The parts of a range that lie in one region each. It has no holes. */
function* byRegion(regions: RegionMap, { gpa, size }: GuestRange): Generator<GuestRange & { readonly region: Region }> {
  for (let at = gpa; at < gpa + size; ) {
    const region = regions.at(at);
    if (region === undefined) return;
    const end = Math.min(gpa + size, region.end);
    yield { region, gpa: at, size: end - at };
    at = end;
  }
}

/** Pages on which a discard may work: whole pages of the backing, none of which is in use on that side after the conversion. */
function wholePages(
  { ledger }: World,
  region: Region,
  piece: GuestRange,
  changed: readonly GuestRange[],
  to: Side,
): { readonly discard: GuestRange | undefined; readonly kept: readonly GuestRange[] } {
  const { pageSize } = region.shared;
  const leaves = (page: GuestRange): boolean =>
    ledger
      .runs(page)
      .every((run) => run.side === to || changed.some((c) => c.gpa <= run.gpa && c.gpa + c.size >= run.gpa + run.size));
  const pageAt = (gpa: number): number => gpa - ((region.sharedOffset + gpa - region.gpa) % pageSize);
  const end = piece.gpa + piece.size;
  let from = pageAt(piece.gpa);
  let to_ = pageAt(end - 1) + pageSize;
  if (!leaves({ gpa: from, size: pageSize })) from += pageSize;
  if (to_ > from && !leaves({ gpa: to_ - pageSize, size: pageSize })) to_ -= pageSize;
  if (to_ <= from) return { discard: undefined, kept: [piece] };
  const kept: GuestRange[] = [];
  if (from > piece.gpa) kept.push({ gpa: piece.gpa, size: from - piece.gpa });
  if (to_ < end) kept.push({ gpa: to_, size: end - to_ });
  return { discard: { gpa: from, size: to_ - from }, kept };
}

/** The calls that give back the pages of one side under the ranges. */
function discards(
  world: World,
  ranges: readonly GuestRange[],
  side: Side,
  to: Side,
): { calls: PlannedCall[]; kept: Growing } {
  const calls: PlannedCall[] = [];
  const kept: Growing = [];
  for (const range of ranges) {
    for (const { region, ...piece } of byRegion(world.regions, range)) {
      const own = side === 'private' ? region.privateSide : region.shared;
      if (own === undefined) continue;
      const request = discardRequest(own);
      // A page that is entered holds nothing that is in use; the kernel zeroes what is less than a page of hugetlbfs.
      const huge = side === 'shared' && side !== to && region.shared.pageSize > 4096;
      const whole = huge ? wholePages(world, region, piece, ranges, to) : { discard: piece, kept: [] };
      for (const left of whole.kept) append(kept, left);
      const last = calls[calls.length - 1];
      // Two pieces that lie in one huge page give it back once.
      if (whole.discard !== undefined && (last === undefined || last.gpa + last.size <= whole.discard.gpa)) {
        calls.push({ does: 'discard', side, request, ...whole.discard });
      }
    }
  }
  return { calls, kept };
}

function checkAll(what: string, ranges: readonly GuestRange[]): readonly GuestRange[] {
  if (ranges.length === 0) throw new RangeError(`${what}: no range is given`);
  for (const range of ranges) checkRange(what, range);
  return coalesce(ranges);
}

/** GuestMemoryError for holes (unless they are skipped) and one-sided memory, RangeError for what is not whole pages. */
export function makePlan(
  world: World,
  asked: readonly GuestRange[],
  to: Side,
  options: ConvertOptions,
): ConversionPlan {
  const { policy = 'discard-left', holes = 'refuse' } = options;
  const { ledger, regions, converter } = world;
  if (to !== 'private' && to !== 'shared') throw new TypeError(`a side is 'private' or 'shared', got ${String(to)}`);
  if (!POLICIES.includes(policy))
    throw new TypeError(`a policy is one of ${POLICIES.join(', ')}, got ${String(policy)}`);
  const ranges: Growing = [];
  const unchanged: Growing = [];
  const skipped: Growing = [];
  const converts: PlannedCall[] = [];
  for (const range of checkAll('conversion', asked)) {
    const refuse = (kind: GuestMemoryFault, gpa: number): GuestMemoryError =>
      new GuestMemoryError(`conversion of ${showRange(range)} to ${to}`, kind, gpa, gpa - range.gpa);
    let at = range.gpa;
    /** Without holes, from the first page that changes to the last. */
    let reach: { gpa: number; size: number } | undefined;
    const convert = (): void => {
      if (reach === undefined) return;
      const parts = converter.perRegion ? [...byRegion(regions, reach)] : [reach];
      for (const { gpa, size } of parts)
        converts.push({ does: 'convert', side: to, request: converter.request, gpa, size });
      reach = undefined;
    };
    const hole = (end: number): void => {
      if (end <= at) return;
      if (holes === 'refuse') throw refuse('hole', at);
      append(skipped, { gpa: at, size: end - at });
      convert();
    };
    for (const run of ledger.runs(range)) {
      hole(run.gpa);
      at = run.gpa + run.size;
      if (run.side === to) {
        append(unchanged, run);
        continue;
      }
      for (const { region, gpa } of byRegion(regions, run)) {
        if (region.privateSide === undefined) throw refuse('one-sided', gpa);
      }
      append(ranges, run);
      reach = { gpa: reach?.gpa ?? run.gpa, size: at - (reach?.gpa ?? run.gpa) };
    }
    hole(range.gpa + range.size);
    convert();
  }
  const left = otherSide(to);
  const inPlace = converter.strategy === 'in-place';
  // In one backing the pages themselves change sides: nothing is left behind.
  const none = policy === 'keep' || (inPlace && policy === 'discard-left');
  const side = policy === 'discard-entered' || inPlace ? to : left;
  const { calls, kept } = none ? { calls: [], kept: [] } : discards(world, ranges, side, to);
  return {
    to,
    policy,
    strategy: converter.strategy,
    ranges,
    unchanged,
    skipped,
    kept,
    bytes: ranges.reduce((sum, { size }) => sum + size, 0),
    calls: policy === 'discard-left' ? [...converts, ...calls] : [...calls, ...converts],
  };
}
