/** A guest-physical map: named regions, holes, ROM and aliases, and for each page which side it is on. */
import { DisposedError, MemoryFaultError, StateError, UnsupportedError } from '../../kernel/errors.ts';
import type { Vm } from '../../kvm/vm.ts';
import { PAGE_SIZE } from '../../memory/mapping.ts';
import { KVM_CAP, KVM_MEM } from '../../uapi/index.ts';
import { openPrivate, openShared, type PrivateOptions, privateResident, sharedResident } from './backing.ts';
import { GuestMemoryError } from './errors.ts';
import { Ledger, type LedgerView } from './ledger.ts';
import { Listeners } from './listeners.ts';
import { makePlan } from './plan.ts';
import { isPages } from './ranges.ts';
import { Region, RegionMap, type RegionParts } from './region.ts';
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
  SharedBacking,
  Side,
} from './words.ts';

interface Place {
  readonly name: string;
  /** Bytes, a multiple of the page size. */
  readonly gpa: number;
}

interface RamPlace extends Place {
  readonly size: number;
  readonly shared: SharedBacking;
}

/** Memory with a shared side only, or with both and an initial state that is said. */
export type RamOptions = RamPlace &
  ({ readonly private?: false; readonly initial?: 'shared' } | (PrivateOptions & { readonly initial: Side }));

export interface RomOptions extends Place {
  /** Rounded up to whole pages with zeros. */
  readonly contents: Uint8Array;
}

export interface AliasOptions extends Place {
  /** Name of the region that is shown. */
  readonly of: string;
  /** Offset into that region in bytes. Default 0. */
  readonly offset?: number;
  /** Default: to the end of that region. */
  readonly size?: number;
}

export interface GuestMemoryOptions {
  /** The first memslot id; each region takes the lowest free one from there on. Default 0. */
  readonly firstSlot?: number;
}

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
    const { name, gpa, size, shared: backing } = options;
    this.#checkPlace(name, gpa, size);
    const wanted = options.private;
    const initial = wanted ? options.initial : 'shared';
    if (wanted && initial === undefined)
      throw new TypeError(`region ${name} has a private side: say its initial state`);
    if (wanted && backing !== 'guest-memfd' && !hasAttributes(this.vm)) throw noPrivateSide(name);
    const undo: (() => void)[] = [];
    try {
      const flags = backing === 'guest-memfd' ? { mmap: true, initShared: initial === 'shared' } : {};
      const opened = wanted ? openPrivate(this.vm, size, wanted, flags) : undefined;
      if (opened?.owned) undo.push(() => opened.side.file.close());
      const shared = openShared(this.vm.sys, name, size, backing, opened?.side);
      undo.push(shared.close);
      const slot = this.vm.addMemslot({
        slot: this.#freeSlot(),
        gpa,
        size,
        backing: shared.mapping,
        ...(opened === undefined ? {} : { guestMemfd: opened.side.file, guestMemfdOffset: opened.side.offset }),
      });
      undo.push(() => slot.close());
      const release = (): void => {
        shared.close();
        if (opened?.owned) opened.side.file.close();
      };
      const region = { name, kind: 'ram', gpa, size, slot, shared, sharedOffset: 0, release } as const;
      const added = this.#add(opened === undefined ? region : { ...region, privateSide: opened.side }, initial);
      undo.push(() => this.#forget(added));
      // A page of a file is as the file was made; attributes start shared.
      const side = shared.inPlace && !opened?.side.file.initShared ? 'private' : 'shared';
      if (side !== initial) this.#converterOf().set(added, initial);
      this.#listeners.tell('populate', { gpa, size, side: initial, punched: false });
      return added;
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  /** Memory that the guest can only read: its writes are MMIO exits. UnsupportedError where the VM has no read-only slots (protected state). */
  addRom({ name, gpa, contents }: RomOptions): Region {
    const size = Math.ceil(contents.length / PAGE_SIZE) * PAGE_SIZE;
    this.#checkPlace(name, gpa, size);
    if (this.vm.checkExtension(KVM_CAP.value.KVM_CAP_READONLY_MEM) === 0) {
      throw new UnsupportedError(
        `ROM ${name}`,
        'KVM_CAP_READONLY_MEM is 0 for this VM: the state of its guest is protected',
        'add RAM and write the contents into it',
      );
    }
    const shared = openShared(this.vm.sys, name, size, 'memfd', undefined);
    try {
      shared.mapping.write(0, contents);
      const flags = KVM_MEM.value.KVM_MEM_READONLY;
      const slot = this.vm.addMemslot({ slot: this.#freeSlot(), gpa, size, backing: shared.mapping, flags });
      return this.#add(
        { name, kind: 'rom', gpa, size, slot, shared, sharedOffset: 0, release: shared.close },
        'shared',
      );
    } catch (error) {
      shared.close();
      throw error;
    }
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
    const sharedOffset = of.sharedOffset + offset;
    const flags = of.slot.flags & KVM_MEM.value.KVM_MEM_READONLY;
    const slot = this.vm.addMemslot({
      slot: this.#freeSlot(),
      gpa,
      size,
      backing: of.shared.mapping,
      backingOffset: sharedOffset,
      flags,
    });
    const parts = {
      name,
      kind: 'alias',
      gpa,
      size,
      slot,
      shared: of.shared,
      sharedOffset,
      of,
      release: () => {},
    } as const;
    return this.#add(parts, 'shared');
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
    const sum = { private: 0, shared: 0 };
    for (const region of this.regions) {
      const from = Math.max(region.gpa, range?.gpa ?? 0);
      const size = Math.min(region.end, range === undefined ? region.end : range.gpa + range.size) - from;
      if (size <= 0 || region.kind === 'alias') continue;
      const offset = from - region.gpa;
      if (region.privateSide !== undefined && !region.shared.inPlace) {
        sum.private += privateResident(region.privateSide, offset, size);
        sum.shared += sharedResident(region.shared, offset, size);
      } else if (region.shared.inPlace) {
        // One file has both: whose a page is, the ledger says.
        for (const run of this.#ledger.runs({ gpa: from, size })) {
          sum[run.side] += sharedResident(region.shared, run.gpa - region.gpa, run.size);
        }
      } else sum.shared += sharedResident(region.shared, offset, size);
    }
    return sum;
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

  /** Walks the pieces of one region and one side. */
  #access(
    what: 'read' | 'write' | 'fill',
    gpa: number,
    length: number,
    step: (region: Region, offset: number, done: number, size: number) => void,
  ): void {
    this.#assertOpen();
    if (!Number.isSafeInteger(gpa) || gpa < 0) throw new RangeError(`gpa must be an integer of at least 0, got ${gpa}`);
    const action = `${what} of ${length} bytes at gpa 0x${gpa.toString(16)}`;
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const region = this.#regions.at(at);
      if (region === undefined) throw new GuestMemoryError(action, 'hole', at, done);
      if (region.kind === 'rom' && what !== 'read') throw new GuestMemoryError(action, 'rom', at, done);
      const [run] = this.#ledger.runs({ gpa: at, size: Math.min(length - done, region.end - at) });
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
}

function noPrivateSide(name: string): UnsupportedError {
  return new UnsupportedError(
    `private side of region ${name}`,
    'KVM_CAP_MEMORY_ATTRIBUTES is 0 for this VM: its guest has one kind of memory',
    "create a VM with private memory, or map the guest_memfd itself (shared: 'guest-memfd')",
  );
}
