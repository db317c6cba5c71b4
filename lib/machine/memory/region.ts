/** A named part of the guest-physical map: its backings and its memslot. */
import type { Memslot } from '../../kvm/memslot.ts';
import type { Mapping } from '../../memory/mapping.ts';
import type { PrivateSide, SharedSide } from './backing.ts';
import type { GuestRange } from './words.ts';

export interface RegionParts {
  readonly name: string;
  readonly kind: 'ram' | 'rom' | 'alias';
  readonly gpa: number;
  readonly size: number;
  readonly slot: Memslot;
  readonly shared: SharedSide;
  /** Of an alias: where it begins in the shared side. */
  readonly sharedOffset: number;
  readonly privateSide?: PrivateSide;
  /** An alias: the region that it shows. */
  readonly of?: Region;
  /** Closes what the region owns beside its slot. */
  readonly release: () => void;
}

export class Region implements GuestRange {
  readonly name: string;
  /** `ram`, `rom`, or `alias`: the shared side of another region, seen at a second gpa. */
  readonly kind: 'ram' | 'rom' | 'alias';
  readonly gpa: number;
  readonly size: number;
  readonly slot: Memslot;
  readonly shared: SharedSide;
  readonly sharedOffset: number;
  readonly privateSide: PrivateSide | undefined;
  readonly of: Region | undefined;
  readonly #release: () => void;

  /** Not for users: see GuestMemory's add methods. */
  constructor(parts: RegionParts) {
    this.name = parts.name;
    this.kind = parts.kind;
    this.gpa = parts.gpa;
    this.size = parts.size;
    this.slot = parts.slot;
    this.shared = parts.shared;
    this.sharedOffset = parts.sharedOffset;
    this.privateSide = parts.privateSide;
    this.of = parts.of;
    this.#release = parts.release;
  }

  /** First byte behind it. */
  get end(): number {
    return this.gpa + this.size;
  }

  /** The host's mapping of the shared side. For an alias it begins `sharedOffset` bytes before the region. */
  get mapping(): Mapping {
    return this.shared.mapping;
  }

  close(): void {
    try {
      this.slot.close();
    } finally {
      this.#release();
    }
  }
}

/** The regions by gpa: they never overlap. */
export class RegionMap {
  /** Ascending. */
  readonly #regions: Region[] = [];

  get all(): readonly Region[] {
    return this.#regions;
  }

  /** The first region that ends behind `gpa`: the one that has it, or the next. */
  atOrAfter(gpa: number): Region | undefined {
    let low = 0;
    let high = this.#regions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#regions[middle]?.end ?? 0) <= gpa) low = middle + 1;
      else high = middle;
    }
    return this.#regions[low];
  }

  at(gpa: number): Region | undefined {
    const found = this.atOrAfter(gpa);
    return found !== undefined && found.gpa <= gpa ? found : undefined;
  }

  named(name: string): Region | undefined {
    return this.#regions.find((region) => region.name === name);
  }

  add(region: Region): void {
    const next = this.#regions.findIndex((other) => other.gpa > region.gpa);
    this.#regions.splice(next === -1 ? this.#regions.length : next, 0, region);
  }

  remove(region: Region): void {
    this.#regions.splice(this.#regions.indexOf(region), 1);
  }
}
