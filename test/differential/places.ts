/** Offsets, lengths and addresses of random commands: mostly where something is, sometimes at the edge, seldom absurd. */
import type { At } from './commands.ts';
import type { Random } from './random.ts';
import { ARENA, ARENA_PAGES, MAP_SLOTS, PAGE } from './world.ts';

const P = BigInt(PAGE);
const ABSURD = [-1n, -P, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 63n - P, 2n ** 62n, 2n ** 44n, 2n ** 40n + 1n] as const;
/** Lengths that stay below where other mappings lie, or that no address space holds. */
const ABSURD_LENGTHS = [2n ** 64n - 1n, 2n ** 64n - P, BigInt(ARENA_PAGES * PAGE), 2n ** 64n - BigInt(ARENA)] as const;
const NOWHERE = [0n, 1n, P, 2n ** 47n - P, 2n ** 47n, 2n ** 63n, 2n ** 64n - P, 2n ** 64n - 1n] as const;
const REMEMBERED = 4;

export class Places {
  readonly #random: Random;
  /** Little memory makes things meet that much would keep apart: each sequence keeps to so many pages. */
  readonly pages: number;
  /** How much rarer than usual oddities are in this sequence. */
  readonly #calm: number;
  /** Where something was mapped lately. */
  readonly #mapped: { readonly at: bigint; readonly pages: number }[] = [];

  constructor(random: Random) {
    this.#random = random;
    this.pages = random.pick([4, 6, 12, ARENA_PAGES]);
    this.#calm = random.pick([1, 3, 8]);
  }

  odd(times: number): boolean {
    return this.#random.once(times * this.#calm);
  }

  mapped(at: bigint, length: bigint): void {
    if (at % P !== 0n || length <= 0n || length > P * 64n) return;
    this.#mapped.push({ at, pages: Number((length + P - 1n) / P) });
    if (this.#mapped.length > REMEMBERED) this.#mapped.shift();
  }

  /** An offset or length in a file. */
  bytes(pages = Math.min(8, this.pages)): bigint {
    const random = this.#random;
    if (this.odd(12)) return random.pick(ABSURD);
    const whole = BigInt(random.below(pages + 1)) * P;
    return random.once(3) ? whole + BigInt(random.below(PAGE)) : whole;
  }

  /** A length to allocate from `offset` on: never so much that the host would run out of memory. */
  allocation(offset: bigint): bigint {
    const random = this.#random;
    // From 0 on, 2^63-1 bytes are no error: a kernel would try.
    const most = offset > 0n ? 2n ** 63n - 1n : 0n;
    if (this.odd(10)) return random.pick([0n, -1n, -(2n ** 63n), 2n ** 63n - offset, most]);
    const length = BigInt(1 + random.below(Math.min(6, this.pages))) * P;
    return random.once(3) ? length - BigInt(random.below(PAGE)) : length;
  }

  /** A page of the arena, mostly one where something was mapped lately. */
  page(): bigint {
    const random = this.#random;
    const known = this.#mapped.length > 0 && !random.once(4) ? random.pick(this.#mapped) : undefined;
    if (known !== undefined) return known.at + BigInt(random.below(known.pages)) * P;
    return BigInt(ARENA + random.below(this.pages + (random.once(8) ? 1 : 0)) * PAGE);
  }

  at(): At {
    const random = this.#random;
    if (this.odd(20)) return random.pick(NOWHERE);
    const within = this.odd(8) ? BigInt(random.below(PAGE)) : 0n;
    if (random.once(8)) return { map: random.below(MAP_SLOTS), offset: random.below(4) * PAGE + Number(within) };
    return this.page() + within;
  }

  /** Where a copy may begin: not aligned. */
  anywhere(): At {
    const at = this.at();
    return typeof at !== 'bigint' || this.#random.once(2) ? at : at + BigInt(this.#random.below(PAGE));
  }

  /** A length of memory from `at` on, which must not reach memory of others. */
  reach(at: At, most = Math.min(6, this.pages)): bigint {
    const random = this.#random;
    const more = random.once(4) ? BigInt(random.below(PAGE)) : 0n;
    if (typeof at !== 'bigint') return BigInt(random.below(3)) * P + more;
    if (at < BigInt(ARENA) || at >= 2n ** 47n - P) return BigInt(random.below(2 * PAGE));
    if (this.odd(15)) return random.pick(ABSURD_LENGTHS);
    const pages = BigInt(1 + random.below(most)) * P;
    return more > 0n || !this.odd(10) ? pages + more - (more > 0n ? P : 0n) : 0n;
  }

  /** An address for MAP_FIXED that no mapping can have. */
  impossible(): bigint {
    const inside = this.page();
    return this.#random.pick([inside + 1n, inside + 0x800n, 2n ** 47n, 2n ** 63n, 2n ** 64n - P]);
  }
}
