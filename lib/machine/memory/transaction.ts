/** Carries a plan out, and takes it back when a call fails. At every moment the ledger says what the kernel has. */
import { discardPrivate, discardShared } from './backing.ts';
import { type ConversionEnd, ConversionError, GuestMemoryError } from './errors.ts';
import type { Ledger } from './ledger.ts';
import type { Listeners } from './listeners.ts';
import { append, checkRange, showRange } from './ranges.ts';
import type { Region, RegionMap } from './region.ts';
import type { Converter } from './strategy.ts';
import {
  type ConversionPlan,
  type ConversionReceipt,
  type GuestRange,
  type MadeCall,
  type MemoryEvents,
  otherSide,
  type PlannedCall,
  type Residency,
  type Side,
  type SideChange,
} from './words.ts';

export interface Site {
  readonly regions: RegionMap;
  readonly ledger: Ledger;
  readonly listeners: Listeners<MemoryEvents>;
  readonly converter: Converter;
  readonly measure: (() => Residency) | undefined;
}

function discardIn(region: Region, gpa: number, size: number, side: Side): void {
  const offset = gpa - region.gpa;
  if (side === 'shared' || region.shared.inPlace) discardShared(region.shared, region.sharedOffset + offset, size);
  else if (region.privateSide !== undefined) discardPrivate(region.privateSide, offset, size);
}

/** Gives back the pages of one side, region by region; everything is checked before the first call. */
export function discardAt(regions: RegionMap, range: GuestRange, side: Side): void {
  const action = `discard of ${showRange(range)}`;
  checkRange(action, range);
  const pieces: [region: Region, gpa: number, size: number][] = [];
  const end = range.gpa + range.size;
  for (let at = range.gpa; at < end; ) {
    const region = regions.at(at);
    if (region === undefined) throw new GuestMemoryError(action, 'hole', at, at - range.gpa);
    if (region.kind === 'rom') throw new GuestMemoryError(action, 'rom', at, at - range.gpa);
    if (side === 'private' && region.privateSide === undefined) {
      throw new GuestMemoryError(action, 'one-sided', at, at - range.gpa);
    }
    const size = Math.min(end, region.end) - at;
    const offset = region.sharedOffset + at - region.gpa;
    const { pageSize } = region.shared;
    if (side === 'shared' && (offset % pageSize !== 0 || size % pageSize !== 0)) {
      throw new RangeError(`${action}: region ${region.name} gives back whole pages of ${pageSize} bytes`);
    }
    pieces.push([region, at, size]);
    at += size;
  }
  for (const [region, gpa, size] of pieces) discardIn(region, gpa, size, side);
}

class Transaction {
  readonly #plan: ConversionPlan;
  readonly #site: Site;
  readonly #left: Side;
  readonly #made: MadeCall[] = [];
  readonly #before: Residency | undefined;
  readonly #discarded = { private: 0, shared: 0 };
  /** What undoing has to take back, newest last; a step throws what keeps it from being taken back. */
  readonly #undo: (() => void)[] = [];
  readonly #lost: { gpa: number; size: number }[] = [];

  constructor(plan: ConversionPlan, site: Site) {
    this.#plan = plan;
    this.#site = site;
    this.#left = otherSide(plan.to);
    this.#before = site.measure?.();
  }

  carryOut(): ConversionReceipt {
    const { calls, ranges } = this.#plan;
    const lastConvert = calls.findLastIndex(({ does }) => does === 'convert');
    try {
      this.#tell('discard', this.#left, ranges);
      for (const call of calls.slice(0, lastConvert + 1)) this.#make(call);
      this.#tell('populate', this.#plan.to, ranges);
    } catch (cause) {
      throw this.#error(this.#takeBack(), cause);
    }
    try {
      for (const call of calls.slice(lastConvert + 1)) this.#make(call);
    } catch (cause) {
      const error = this.#error('incomplete', cause);
      this.#site.listeners.tell('convert', error.receipt);
      throw error;
    }
    const receipt = this.#receipt();
    if (ranges.length > 0) this.#site.listeners.tell('convert', receipt);
    return receipt;
  }

  #make(call: PlannedCall): void {
    const { regions, converter } = this.#site;
    const { does, side, request, gpa, size } = call;
    try {
      if (does === 'convert') converter.set(call, side);
      else {
        const region = regions.at(gpa);
        if (region !== undefined) discardIn(region, gpa, size, side);
      }
    } catch (error) {
      this.#made.push({ does, side, request, gpa, size, outcome: 'failed' });
      throw error;
    }
    this.#made.push({ does, side, request, gpa, size, outcome: 'done' });
    if (does === 'convert') this.#entered(call);
    else {
      this.#discarded[side] += size;
      // Before the conversion this is what the guest uses.
      if (this.#plan.policy === 'discard-first' || this.#plan.strategy === 'in-place') append(this.#lost, call);
    }
  }

  /** The ledger follows each call at once. */
  #entered(call: PlannedCall): void {
    const { ledger, converter } = this.#site;
    const { to } = this.#plan;
    const runs = ledger.runs(call).filter(({ side }) => side !== to);
    for (const run of runs) ledger.set(run, to);
    for (const { gpa, size } of runs.reverse()) {
      this.#undo.push(() => {
        const made = { does: 'undo', side: this.#left, request: converter.request, gpa, size } as const;
        try {
          converter.set(made, this.#left);
        } catch (error) {
          this.#made.push({ ...made, outcome: 'failed' });
          throw error;
        }
        this.#made.push({ ...made, outcome: 'done' });
        ledger.set(made, this.#left);
      });
    }
  }

  #tell(event: 'populate' | 'discard', side: Side, ranges: readonly GuestRange[]): void {
    const { listeners } = this.#site;
    const { policy, strategy } = this.#plan;
    const punched = policy !== 'keep' && (policy === 'discard-entered') === (side === this.#plan.to);
    for (const { gpa, size } of ranges) {
      const change: SideChange = { gpa, size, side, punched: punched && strategy === 'attributes' };
      const opposite = event === 'populate' ? 'discard' : 'populate';
      // Even a listener before the one that throws was told.
      this.#undo.push(() => listeners.tell(opposite, { ...change, punched: false }));
      listeners.tell(event, change);
    }
  }

  #takeBack(): ConversionEnd {
    let end: ConversionEnd = 'undone';
    for (const step of this.#undo.reverse()) {
      try {
        step();
      } catch {
        end = 'torn';
      }
    }
    return end;
  }

  #error(end: ConversionEnd, cause: unknown): ConversionError {
    return new ConversionError(end, this.#receipt(), this.#lost, cause);
  }

  #receipt(): ConversionReceipt {
    // By hand: a rest and a spread cost more than the rest of a small conversion.
    const { to, policy, strategy, ranges, unchanged, skipped, kept, bytes } = this.#plan;
    const receipt = {
      to,
      policy,
      strategy,
      ranges,
      unchanged,
      skipped,
      kept,
      bytes,
      calls: this.#made,
      discarded: this.#discarded,
    };
    const { measure } = this.#site;
    if (measure === undefined || this.#before === undefined) return receipt;
    return { ...receipt, residency: { before: this.#before, after: measure() } };
  }
}

export const carryOut = (plan: ConversionPlan, site: Site): ConversionReceipt => new Transaction(plan, site).carryOut();
