/**
 * Which descriptor, address, vCPU and inode of one recording stands for which of another: they are numbers that mean nothing by themselves,
 * so two runs are compared, and one is repeated, modulo this map. It follows both through the calls that make and end them.
 */
import { Intervals } from './intervals.ts';

/** What a value of the first side is on the second. */
export type Counterpart =
  | { readonly kind: 'known'; readonly value: number }
  /** The call that made it has no counterpart, or failed there. */
  | { readonly kind: 'missing'; readonly madeBy: number }
  /** No call made it: it was there before, was given up, or never existed. */
  | { readonly kind: 'unknown' };

const UNKNOWN: Counterpart = { kind: 'unknown' };

type Target = { readonly to: number } | { readonly madeBy: number };

const counterpart = (target: Target | undefined, offset = 0): Counterpart => {
  if (target === undefined) return UNKNOWN;
  return 'to' in target ? { kind: 'known', value: target.to + offset } : { kind: 'missing', madeBy: target.madeBy };
};

class Numbers {
  readonly #map = new Map<number, Target>();

  /** `to` undefined: call `madeBy` made it on the first side only. */
  link(from: number, to: number | undefined, madeBy: number): void {
    this.#map.set(from, to === undefined ? { madeBy } : { to });
  }

  end(from: number): void {
    this.#map.delete(from);
  }

  of(from: number): Counterpart {
    return counterpart(this.#map.get(from));
  }

  /** Takes two that nobody has paired yet, where they are used alike, for a pair. */
  assume(from: number, to: number): boolean {
    if (this.of(from).kind === 'known') return false;
    for (const target of this.#map.values()) if ('to' in target && target.to === to) return false;
    this.#map.set(from, { to });
    return true;
  }
}

/** Addresses beyond are the kernel's own, or not canonical. */
const USER_END = 2 ** 47;
const PAGE = 4096;

/** munmap and mmap work on whole pages. */
const pageEnd = (address: number): number => Math.ceil(address / PAGE) * PAGE;

export class ValueMap {
  readonly fds = new Numbers();
  readonly vcpus = new Numbers();
  readonly #live = new Intervals<Target>();
  readonly #retired = new Intervals<Target>();
  readonly #identities = new Map<string, bigint>();
  readonly #identitiesBack = new Map<string, bigint>();

  /** A mapping of `length` bytes at `from`, which is at `to` on the second side. */
  linkRange(from: number, length: number, to: number | undefined, madeBy: number): void {
    if (length <= 0 || from + length > USER_END) return;
    const end = pageEnd(from + length);
    this.#retired.delete(from, end);
    this.#live.set(from, end, to === undefined ? { madeBy } : { to });
  }

  endRange(from: number, length: number): void {
    if (length <= 0 || from + length > USER_END) return;
    for (const part of this.#live.delete(from, pageEnd(from + length))) {
      const { value } = part;
      const target = 'to' in value ? { to: value.to + (part.from - part.origin) } : value;
      this.#retired.set(part.from, part.to, target);
    }
  }

  /** An address inside a mapping; `unknown` for any other. */
  liveHva(address: number): Counterpart {
    const found = this.#live.at(address);
    return found === undefined ? UNKNOWN : counterpart(found.value, address - found.origin);
  }

  /** The same for an address that was in a mapping once. */
  hva(address: number): Counterpart {
    const live = this.liveHva(address);
    if (live.kind !== 'unknown') return live;
    const found = this.#retired.at(address);
    return found === undefined ? UNKNOWN : counterpart(found.value, address - found.origin);
  }

  /** Takes a mapping that has no counterpart for the one in which `other` lies. */
  assumeHva(address: number, other: number): boolean {
    const found = this.#live.at(address);
    if (found === undefined || 'to' in found.value) return false;
    this.#live.set(found.from, found.to, { to: other - (address - found.from) });
    return true;
  }

  /** Whether two numbers that name things (inodes) name the same thing; the first time decides. */
  sameIdentity(space: string, from: bigint, to: bigint): boolean {
    const [key, back] = [`${space}:${from}`, `${space}:${to}`];
    const known = this.#identities.get(key);
    const knownBack = this.#identitiesBack.get(back);
    if (known === undefined && knownBack === undefined) {
      this.#identities.set(key, to);
      this.#identitiesBack.set(back, from);
      return true;
    }
    return known === to;
  }

  /** Inode numbers are used again: a file that is gone no longer counts. */
  forgetIdentities(): void {
    this.#identities.clear();
    this.#identitiesBack.clear();
  }
}
