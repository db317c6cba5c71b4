/** Reproducible random numbers: the same seed and name give the same numbers on every kernel. */

export class Random {
  #state: number;

  constructor(seed: number, name = '') {
    let state = seed >>> 0;
    for (const char of name) state = Math.imul(state ^ (char.codePointAt(0) ?? 0), 0x0100_0193) >>> 0;
    this.#state = state;
  }

  /** 32 bits (splitmix32). */
  next(): number {
    this.#state = (this.#state + 0x9e37_79b9) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 16), 0x21f0_aaad);
    value = Math.imul(value ^ (value >>> 15), 0x735a_2d97);
    return (value ^ (value >>> 15)) >>> 0;
  }

  /** 0 ... limit - 1. */
  below(limit: number): number {
    return this.next() % limit;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[this.below(from.length)];
    if (picked === undefined) throw new RangeError('nothing to pick from');
    return picked;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.next() & 0xff);
  }
}
