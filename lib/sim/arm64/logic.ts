/** Logic, moves of numbers, bit fields, shifts, and what counts or turns bits round. */
import { compileRead, immediateAt, NEXT, type Operation, plain, type Site, source, target } from './machine.ts';
import { at, C, HIGH, N, V, Z } from './registers.ts';
import { shiftLeft, shiftRight, shiftRightSigned } from './shifts.ts';

export type LogicName = 'and' | 'orr' | 'eor' | 'bic' | 'orn' | 'eon';

const FUNCTIONS: Readonly<Record<LogicName, (a: number, b: number) => number>> = {
  and: (a, b) => a & b,
  orr: (a, b) => a | b,
  eor: (a, b) => a ^ b,
  bic: (a, b) => a & ~b,
  orn: (a, b) => a | ~b,
  eon: (a, b) => a ^ ~b,
};

function setFlags(r: Int32Array, low: number, high: number, wide: boolean): void {
  r[N] = (wide ? high : low) >>> 31;
  r[Z] = (wide ? low | high : low) === 0 ? 1 : 0;
  r[C] = 0;
  r[V] = 0;
}

export function compileLogic(site: Site, name: LogicName, flags: boolean): Operation {
  const { r } = site.machine;
  const [to, from] = [target(site, 0), source(site, 1)];
  const compute = FUNCTIONS[name];
  const wide = site.instruction.form.bits === 64;
  const fast = plain(site, 2);
  if (fast !== undefined && !flags) {
    const { words, at: other } = fast;
    return () => {
      const low = compute(at(r, from), at(words, other));
      r[to + 1] = wide ? compute(at(r, from + 1), at(words, other + 1)) : 0;
      r[to] = low;
      return NEXT;
    };
  }
  const read = compileRead(site, 2);
  return () => {
    const b = read();
    const low = compute(at(r, from), b);
    const high = wide ? compute(at(r, from + 1), at(r, HIGH)) : 0;
    if (flags) setFlags(r, low, high, wide);
    r[to] = low;
    r[to + 1] = high;
    return NEXT;
  };
}

/** movz, movn; with `keep` movk, which leaves the other bits. */
export function compileMoveWide(site: Site, kind: 'movz' | 'movn' | 'movk'): Operation {
  const { r } = site.machine;
  const to = target(site, 0);
  const shift = Number(immediateAt(site, 2));
  const half = Number(immediateAt(site, 1));
  const wide = site.instruction.form.bits === 64;
  const word = shift >= 32 ? 1 : 0;
  const bits = half << (shift & 31);
  if (kind === 'movk') {
    const keep = ~(0xffff << (shift & 31));
    return () => {
      r[to + word] = (at(r, to + word) & keep) | bits;
      if (!wide) r[to + 1] = 0;
      return NEXT;
    };
  }
  const invert = kind === 'movn' ? -1 : 0;
  const low = (word === 0 ? bits : 0) ^ invert;
  const high = wide ? (word === 1 ? bits : 0) ^ invert : 0;
  return () => {
    r[to] = low;
    r[to + 1] = high;
    return NEXT;
  };
}

/** The field moved to its place: to the left until its top bit is the top bit, then to the right. */
function compileField(site: Site, from: (r: Int32Array) => readonly [low: number, high: number], signed: boolean) {
  const { r } = site.machine;
  const { bits } = site.instruction.form;
  const [immr, imms] = [Number(immediateAt(site, 2)), Number(immediateAt(site, 3))];
  const left = bits - 1 - imms;
  const right = imms >= immr ? left + immr : immr - imms - 1;
  if (bits === 32) {
    return (): number => {
      const moved = from(r)[0] << left;
      r[HIGH] = 0;
      return signed ? moved >> right : moved >>> right;
    };
  }
  const back = signed ? shiftRightSigned : shiftRight;
  return (): number => {
    const [low, high] = from(r);
    const moved = shiftLeft(r, low, high, left);
    return back(r, moved, at(r, HIGH), right);
  };
}

export function compileBitfield(site: Site, kind: 'ubfm' | 'sbfm' | 'bfm'): Operation {
  const { r } = site.machine;
  const [to, from] = [target(site, 0), source(site, 1)];
  const old = source(site, 0);
  const field = compileField(site, () => [at(r, from), at(r, from + 1)], kind === 'sbfm');
  if (kind !== 'bfm') {
    return () => {
      r[to] = field();
      r[to + 1] = at(r, HIGH);
      return NEXT;
    };
  }
  const mask = compileField(site, () => [-1, -1], false);
  return () => {
    const ones = mask();
    const onesHigh = at(r, HIGH);
    const low = field();
    r[to] = (at(r, old) & ~ones) | (low & ones);
    const wide = site.instruction.form.bits === 64;
    r[to + 1] = wide ? (at(r, old + 1) & ~onesHigh) | (at(r, HIGH) & onesHigh) : 0;
    return NEXT;
  };
}

/** Bits from the middle of two registers; with the same one twice, a rotation. */
export function compileExtract(site: Site): Operation {
  const { r } = site.machine;
  const [to, n, m] = [target(site, 0), source(site, 1), source(site, 2)];
  const lsb = Number(immediateAt(site, 3));
  if (site.instruction.form.bits === 32) {
    return () => {
      r[to] = (at(r, m) >>> lsb) | (lsb === 0 ? 0 : at(r, n) << (32 - lsb));
      r[to + 1] = 0;
      return NEXT;
    };
  }
  return () => {
    const low = shiftRight(r, at(r, m), at(r, m + 1), lsb);
    const high = at(r, HIGH);
    const upper = lsb === 0 ? 0 : shiftLeft(r, at(r, n), at(r, n + 1), 64 - lsb);
    r[to] = low | upper;
    r[to + 1] = lsb === 0 ? high : high | at(r, HIGH);
    return NEXT;
  };
}

/** By a register, modulo the width. */
export function compileShift(site: Site, kind: 'lslv' | 'lsrv' | 'asrv' | 'rorv'): Operation {
  const { r } = site.machine;
  const [to, from, count] = [target(site, 0), source(site, 1), source(site, 2)];
  if (site.instruction.form.bits === 32) {
    return () => {
      const [value, by] = [at(r, from), at(r, count) & 31];
      if (kind === 'lslv') r[to] = value << by;
      else if (kind === 'lsrv') r[to] = value >>> by;
      else if (kind === 'asrv') r[to] = value >> by;
      else r[to] = (value >>> by) | (value << ((32 - by) & 31));
      r[to + 1] = 0;
      return NEXT;
    };
  }
  if (kind !== 'rorv') {
    const shift = { lslv: shiftLeft, lsrv: shiftRight, asrv: shiftRightSigned }[kind];
    return () => {
      r[to] = shift(r, at(r, from), at(r, from + 1), at(r, count) & 63);
      r[to + 1] = at(r, HIGH);
      return NEXT;
    };
  }
  return () => {
    const [low, high, by] = [at(r, from), at(r, from + 1), at(r, count) & 63];
    const right = shiftRight(r, low, high, by);
    const rightHigh = at(r, HIGH);
    const left = by === 0 ? 0 : shiftLeft(r, low, high, 64 - by);
    r[to] = right | left;
    r[to + 1] = by === 0 ? rightHigh : rightHigh | at(r, HIGH);
    return NEXT;
  };
}

function reverseBits(word: number): number {
  let value = word;
  value = ((value >>> 1) & 0x5555_5555) | ((value & 0x5555_5555) << 1);
  value = ((value >>> 2) & 0x3333_3333) | ((value & 0x3333_3333) << 2);
  value = ((value >>> 4) & 0x0f0f_0f0f) | ((value & 0x0f0f_0f0f) << 4);
  return reverseBytes(value);
}

const reverseHalves = (word: number): number => ((word >>> 8) & 0x00ff_00ff) | ((word & 0x00ff_00ff) << 8);

function reverseBytes(word: number): number {
  const value = reverseHalves(word);
  return (value >>> 16) | (value << 16);
}

/** One source: rbit, rev16, rev32, rev, clz, cls. */
export function compileOneSource(site: Site, kind: 'rbit' | 'rev16' | 'rev32' | 'rev' | 'clz' | 'cls'): Operation {
  const { r } = site.machine;
  const [to, from] = [target(site, 0), source(site, 1)];
  const wide = site.instruction.form.bits === 64;
  const compute = { rbit: reverseBits, rev16: reverseHalves, rev32: reverseBytes, rev: reverseBytes, clz: 0, cls: 0 }[
    kind
  ];
  if (typeof compute === 'function') {
    const swaps = wide && (kind === 'rbit' || kind === 'rev');
    return () => {
      const low = compute(at(r, from));
      const high = wide ? compute(at(r, from + 1)) : 0;
      r[to] = swaps ? high : low;
      r[to + 1] = swaps ? low : high;
      return NEXT;
    };
  }
  // cls counts what repeats the sign: leading zeros of the number with its neighbour's bits taken out.
  return () => {
    const [low, high] = [at(r, from), at(r, from + 1)];
    const sign = (wide ? high : low) >> 31;
    const invert = kind === 'cls' ? sign : 0;
    const top = wide ? high ^ invert : low ^ invert;
    const zeros = Math.clz32(top);
    const count = wide && zeros === 32 ? 32 + Math.clz32(low ^ invert) : zeros;
    r[to] = kind === 'cls' ? count - 1 : count;
    r[to + 1] = 0;
    return NEXT;
  };
}
