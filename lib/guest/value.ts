import type { BinaryOperation, Relation, Source } from './generator.ts';
import type { Integer } from './numbers.ts';
import { toUnsigned } from './numbers.ts';

/** A number known now, or one that the guest computes. 64 bits, unsigned; negative numbers mean two's complement. */
export type Operand = Integer | Value;

/** What a value needs of the program that it belongs to. */
export interface ValueOwner {
  compute(operation: BinaryOperation, left: Value, right: Operand): Value;
  assign(variable: Variable, value: Operand): void;
}

/** A comparison for `when` and `loopWhile`; nothing is computed before it is used there. */
export interface Comparison {
  readonly relation: Relation;
  readonly left: Value;
  readonly right: Operand;
}

/**
 * A 64-bit number that exists when the guest runs. Operations emit code and give a new value; they wrap modulo 2^64.
 * A value made inside a loop or branch holds what was computed there last, and anything at all if that never ran.
 */
export class Value {
  readonly owner: ValueOwner;
  /** Number of the 8-byte slot in the program's frame. */
  readonly slot: number;

  constructor(owner: ValueOwner, slot: number) {
    this.owner = owner;
    this.slot = slot;
  }

  add(other: Operand): Value {
    return this.owner.compute('add', this, other);
  }
  sub(other: Operand): Value {
    return this.owner.compute('sub', this, other);
  }
  mul(other: Operand): Value {
    return this.owner.compute('mul', this, other);
  }
  and(other: Operand): Value {
    return this.owner.compute('and', this, other);
  }
  or(other: Operand): Value {
    return this.owner.compute('or', this, other);
  }
  xor(other: Operand): Value {
    return this.owner.compute('xor', this, other);
  }
  /** The count is taken modulo 64. */
  shl(count: Operand): Value {
    return this.owner.compute('shl', this, count);
  }
  /** Fills with zeros; the count is taken modulo 64. */
  shr(count: Operand): Value {
    return this.owner.compute('shr', this, count);
  }

  eq(other: Operand): Comparison {
    return { relation: 'eq', left: this, right: other };
  }
  ne(other: Operand): Comparison {
    return { relation: 'ne', left: this, right: other };
  }
  /** Comparisons are unsigned. */
  lt(other: Operand): Comparison {
    return { relation: 'lt', left: this, right: other };
  }
  le(other: Operand): Comparison {
    return { relation: 'le', left: this, right: other };
  }
  gt(other: Operand): Comparison {
    return { relation: 'gt', left: this, right: other };
  }
  ge(other: Operand): Comparison {
    return { relation: 'ge', left: this, right: other };
  }
}

/** A value that can be given another number, for what has to survive a loop. */
export class Variable extends Value {
  set(value: Operand): void {
    this.owner.assign(this, value);
  }
}

/** Throws TypeError for a value of another program and RangeError for a number that does not fit in 64 bits. */
export function sourceOf(operand: Operand, owner: ValueOwner, what: string): Source {
  if (!(operand instanceof Value)) return { constant: toUnsigned(operand, 64, what) };
  if (operand.owner !== owner) throw new TypeError(`${what}: this value belongs to another program`);
  return { slot: operand.slot };
}

export const OPPOSITE: Readonly<Record<Relation, Relation>> = {
  eq: 'ne',
  ne: 'eq',
  lt: 'ge',
  ge: 'lt',
  gt: 'le',
  le: 'gt',
};
