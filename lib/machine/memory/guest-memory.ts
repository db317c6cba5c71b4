/** A guest-physical map: named regions, holes, ROM and aliases, and for each page which side it is on. */
import { DisposedError, StateError, UnsupportedError } from '../../kernel/errors.ts';
import type { Vm } from '../../kvm/vm.ts';
import { PAGE_SIZE } from '../../memory/mapping.ts';
import { type AccessKind, type AccessStep, access } from './access.ts';
import { Ledger, type LedgerView } from './ledger.ts';
import { Listeners } from './listeners.ts';
import { openAlias, openRam, openRom, romSize } from './open-region.ts';
import type { AliasOptions, GuestMemoryOptions, RamOptions, RomOptions } from './options.ts';
import { makePlan } from './plan.ts';
import { isPages } from './ranges.ts';
import { Region, RegionMap, type RegionParts } from './region.ts';
import { residencyOf } from './residency.ts';
import { type Converter, converterFor, hasAttributes } from './strategy.ts';
import { carryOut, discardAt } from './transaction.ts';
import type {
  ConversionPlan,
  ConversionReceipt,
  ConvertOptions,
  GuestRange,
  MemoryEvents,
  Policy,
  Residency,
  Side,
} from './words.ts';

export class GuestMemory {
  readonly vm: Vm;
  readonly #regions = new RegionMap();
  readonly #ledger = new Ledger();
  readonly #listeners = new Listeners<MemoryEvents>();
  readonly #firstSlot: number;
  #converter: Converter | undefined;
  #closed = false;
  /** A listener is told in the middle of a conversion: a second one would work on a plan that is no longer true. */
  #busy = false;

  constructor(vm: Vm, { firstSlot = 0 }: GuestMemoryOptions = {}) {
    this.vm = vm;
    this.#firstSlot = firstSlot;
  }

  /** In ascending order of gpa. */
  get regions(): readonly Region[] {
    return this.#regions.all;
  }

  /** Which side each page is on. */
  get ledger(): LedgerView {
    return this.#ledger;
  }

  get closed(): boolean {
    return this.#closed;
  }

  region(name: string): Region {
    const found = this.#regions.named(name);
    if (found === undefined) throw new RangeError(`no region is called ${name}`);
    return found;
  }

  regionAt(gpa: number): Region | undefined {
    return this.#regions.at(gpa);
  }

  /**
   * RAM. RangeError for an unaligned place, a name or place that is taken; KernelError when the kernel refuses a backing or the slot, and then
   * nothing is left of the region. `initial` says which side every page starts on.
   */
  addRam(options: RamOptions): Region {
    const { name, gpa, size } = options;
    this.#checkPlace(name, gpa, size);
    const wanted = options.private;
    const initial = wanted ? options.initial : 'shared';
    if (wanted && initial === undefined)
      throw new TypeError(`region ${name} has a private side: say its initial state`);
    if (wanted && options.shared !== 'guest-memfd' && !hasAttributes(this.vm)) throw noPrivateSide(name);
    const { parts, side } = openRam(this.vm, this.#freeSlot(), options);
    const region = this.#add(parts, initial);
    try {
      if (side !== initial) this.#converterOf().set(region, initial);
      this.#listeners.tell('populate', { gpa, size, side: initial, punched: false });
      return region;
    } catch (error) {
      this.#forget(region);
      region.close();
      throw error;
    }
  }

  /** Memory that the guest can only read: its writes are MMIO exits. UnsupportedError where the VM has no read-only slots (protected state). */
  addRom(options: RomOptions): Region {
    this.#checkPlace(options.name, options.gpa, romSize(options));
    return this.#add(openRom(this.vm, this.#freeSlot(), options), 'shared');
  }

  /**
   * The shared side of a region at a second gpa. The private side has one place: the kernel binds a range of a guest_memfd once. So an alias is
   * always shared, and what it shows of private pages is their other side.
   */
  addAlias(options: AliasOptions): Region {
    const of = this.region(options.of);
    const { name, gpa, offset = 0, size = of.size - offset } = options;
    this.#checkPlace(name, gpa, size);
    if (!isPages(offset) || offset < 0 || offset + size > of.size) {
      throw new RangeError(
        `alias ${name}: ${size} bytes at offset ${offset} are not whole pages of ${of.name} (${of.size} bytes)`,
      );
    }
    return this.#add(openAlias(this.vm, this.#freeSlot(), of, { name, gpa, offset, size }), 'shared');
  }

  /** Takes a region away: its slot, its backings, and its private attributes. RangeError while an alias shows it. */
  remove(name: string): void {
    this.#assertIdle();
    const region = this.region(name);
    const alias = this.regions.find((other) => other.of === region);
    if (alias !== undefined)
      throw new RangeError(`region ${name} is shown by the alias ${alias.name}: remove that first`);
    for (const run of this.#ledger.runs(region)) {
      this.#listeners.tell('discard', { ...run, punched: true });
      if (run.side === 'private' && !region.shared.inPlace) {
        this.#converterOf().set(run, 'shared');
        this.#ledger.set(run, 'shared');
      }
    }
    this.#forget(region);
    region.close();
  }

  /** Copies bytes out, across regions. GuestMemoryError with the gpa of the first byte that cannot be had. */
  read(gpa: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    this.readInto(gpa, into);
    return into;
  }

  readInto(gpa: number, into: Uint8Array): void {
    this.#access('read', gpa, into.length, (region, offset, done, size) =>
      region.mapping.readInto(offset, into.subarray(done, done + size)),
    );
  }

  /** Copies bytes in, across regions. GuestMemoryError as for `read`, and for a ROM. */
  write(gpa: number, bytes: Uint8Array): void {
    this.#access('write', gpa, bytes.length, (region, offset, done, size) =>
      region.mapping.write(offset, bytes.subarray(done, done + size)),
    );
  }

  fill(gpa: number, length: number, byte: number): void {
    this.#access('fill', gpa, length, (region, offset, _done, size) =>
      region.mapping.fill(byte, { offset, length: size }),
    );
  }

  /** What `convert` would do, without doing it. */
  plan(ranges: GuestRange | readonly GuestRange[], to: Side, options: Policy | ConvertOptions = {}): ConversionPlan {
    return this.#plan(ranges, to, typeof options === 'string' ? { policy: options } : options);
  }

  /**
   * Converts ranges as one transaction. RangeError for what is not whole pages, GuestMemoryError for a hole or one-sided memory: nothing was
   * called then. ConversionError when a call or a listener fails half-way; the ledger says what the kernel has.
   */
  convert(
    ranges: GuestRange | readonly GuestRange[],
    to: Side,
    options: Policy | ConvertOptions = {},
  ): ConversionReceipt {
    const chosen = typeof options === 'string' ? { policy: options } : options;
    const plan = this.#plan(ranges, to, chosen);
    this.#busy = true;
    try {
      return carryOut(plan, {
        regions: this.#regions,
        ledger: this.#ledger,
        listeners: this.#listeners,
        converter: this.#converterOf(),
        measure: chosen.measure ? () => this.residency() : undefined,
      });
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Gives back the pages of one side, whichever the guest uses: what is left over by `keep`, or, with the side in use, the guest's balloon,
   * whose contents are lost. Whole pages of the backing; RangeError otherwise.
   */
  discard(range: GuestRange, side: Side): void {
    this.#assertOpen();
    discardAt(this.#regions, range, side);
  }

  /** Bytes that each side holds in the range (default: everywhere). Aliases hold nothing of their own. */
  residency(range?: GuestRange): Residency {
    this.#assertOpen();
    return residencyOf(this.regions, this.#ledger, range);
  }

  /** Calls `listener` at every such event, in the order of registration, until the function that it returns is called. */
  on<E extends keyof MemoryEvents>(event: E, listener: (event: MemoryEvents[E]) => void): () => void {
    return this.#listeners.add(event, listener);
  }

  /** Takes every region away. The VM stays. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const errors: unknown[] = [];
    // Aliases first: they use the mapping of others.
    for (const region of [...this.regions].sort((a, b) => Number(b.kind === 'alias') - Number(a.kind === 'alias'))) {
      try {
        region.close();
      } catch (error) {
        errors.push(error);
      }
      this.#forget(region);
    }
    if (errors.length > 0) throw errors[0];
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new DisposedError('guest memory');
  }

  #assertIdle(): void {
    this.#assertOpen();
    if (this.#busy) throw new StateError('a conversion is under way: change the map when it is complete');
  }

  #add(parts: RegionParts, side: Side): Region {
    const region = new Region(parts);
    this.#regions.add(region);
    this.#ledger.set(region, side);
    return region;
  }

  #forget(region: Region): void {
    this.#regions.remove(region);
    this.#ledger.set(region, undefined);
  }

  #plan(ranges: GuestRange | readonly GuestRange[], to: Side, options: ConvertOptions): ConversionPlan {
    this.#assertIdle();
    const list = 'gpa' in ranges ? [ranges] : ranges;
    return makePlan(
      { regions: this.#regions, ledger: this.#ledger, converter: this.#converterOf() },
      list,
      to,
      options,
    );
  }

  #converterOf(): Converter {
    this.#converter ??= converterFor(this.vm, this.#regions);
    return this.#converter;
  }

  #freeSlot(): number {
    const taken = new Set(this.regions.map((region) => region.slot.slot));
    let slot = this.#firstSlot;
    while (taken.has(slot)) slot++;
    return slot;
  }

  #checkPlace(name: string, gpa: number, size: number): void {
    this.#assertIdle();
    if (!isPages(gpa) || gpa < 0 || !isPages(size) || size <= 0) {
      throw new RangeError(`region ${name}: gpa ${gpa} and size ${size} must be whole pages of ${PAGE_SIZE} bytes`);
    }
    if (this.#regions.named(name) !== undefined) throw new RangeError(`region ${name} exists already`);
    const next = this.#regions.atOrAfter(gpa);
    if (next !== undefined && next.gpa < gpa + size) {
      throw new RangeError(`region ${name}: 0x${gpa.toString(16)}+0x${size.toString(16)} overlaps region ${next.name}`);
    }
  }

  #access(what: AccessKind, gpa: number, length: number, step: AccessStep): void {
    this.#assertOpen();
    access({ regions: this.#regions, ledger: this.#ledger }, what, gpa, length, step);
  }
}

function noPrivateSide(name: string): UnsupportedError {
  return new UnsupportedError(
    `private side of region ${name}`,
    'KVM_CAP_MEMORY_ATTRIBUTES is 0 for this VM: its guest has one kind of memory',
    "create a VM with private memory, or map the guest_memfd itself (shared: 'guest-memfd')",
  );
}
