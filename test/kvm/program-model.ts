/** Programs as data, and what they do: an evaluation here, to compare the vCPU with. */
import { addressPattern, patternBytes } from '../../lib/guest/index.ts';
import { DATA } from '../support/guest.ts';

export const MASK = (1n << 64n) - 1n;
/** The memory that programs play in, in bytes. */
export const ROOM = 256;
export const SIZES = [1, 2, 4, 8] as const;
export const OPERATIONS = ['add', 'sub', 'mul', 'and', 'or', 'xor', 'shl', 'shr'] as const;
export const RELATIONS = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;

export type Size = (typeof SIZES)[number];
/** Operands: a number, or one of the four variables. */
export type Operand = { readonly number: bigint } | { readonly variable: number };
export type Statement =
  | { readonly kind: 'load'; readonly to: number; readonly at: number; readonly size: Size }
  | { readonly kind: 'store'; readonly at: number; readonly value: Operand; readonly size: Size }
  | {
      readonly kind: 'compute';
      readonly to: number;
      readonly operation: (typeof OPERATIONS)[number];
      readonly left: number;
      readonly right: Operand;
    }
  | { readonly kind: 'fill'; readonly at: number; readonly length: number; readonly byte: number }
  | { readonly kind: 'pattern'; readonly at: number; readonly words: number; readonly seed: bigint }
  | { readonly kind: 'copy'; readonly to: number; readonly from: number; readonly length: number }
  | { readonly kind: 'checksum'; readonly to: number; readonly at: number; readonly words: number }
  | { readonly kind: 'fetchAdd'; readonly to: number; readonly word: number; readonly value: Operand }
  | {
      readonly kind: 'exchange';
      readonly to: number;
      readonly word: number;
      readonly expected: Operand;
      readonly desired: Operand;
    }
  | {
      readonly kind: 'when';
      readonly left: number;
      readonly relation: (typeof RELATIONS)[number];
      readonly right: Operand;
      readonly yes: readonly Statement[];
      readonly no: readonly Statement[];
    }
  | { readonly kind: 'repeat'; readonly count: number; readonly body: readonly Statement[] };

export const VARIABLES = 4;

/** The same program on an array of bytes. */
export class Evaluator {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly variables: bigint[] = Array.from({ length: VARIABLES }, (_, i) => BigInt(i));

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  #get(operand: Operand): bigint {
    return 'number' in operand ? operand.number : (this.variables[operand.variable] ?? 0n);
  }

  #load(at: number, size: Size): bigint {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i] ?? 0);
    return value;
  }

  #compute(operation: (typeof OPERATIONS)[number], a: bigint, b: bigint): bigint {
    const table = {
      add: () => a + b,
      sub: () => a - b,
      mul: () => a * b,
      and: () => a & b,
      or: () => a | b,
      xor: () => a ^ b,
      shl: () => a << (b & 63n),
      shr: () => a >> (b & 63n),
    };
    return BigInt.asUintN(64, table[operation]());
  }

  #holds(relation: (typeof RELATIONS)[number], a: bigint, b: bigint): boolean {
    return { eq: a === b, ne: a !== b, lt: a < b, le: a <= b, gt: a > b, ge: a >= b }[relation];
  }

  run(statements: readonly Statement[]): void {
    for (const s of statements) this.#one(s);
  }

  #one(s: Statement): void {
    const { variables, bytes, view } = this;
    switch (s.kind) {
      case 'load':
        variables[s.to] = this.#load(s.at, s.size);
        break;
      case 'store':
        for (let i = 0; i < s.size; i++) bytes[s.at + i] = Number((this.#get(s.value) >> BigInt(8 * i)) & 0xffn);
        break;
      case 'compute':
        variables[s.to] = this.#compute(s.operation, variables[s.left] ?? 0n, this.#get(s.right));
        break;
      case 'fill':
        bytes.fill(s.byte, s.at, s.at + s.length);
        break;
      case 'pattern':
        bytes.set(patternBytes(DATA + s.at, 8 * s.words, addressPattern(s.seed)), s.at);
        break;
      case 'copy':
        for (let i = 0; i < s.length; i++) bytes[s.to + i] = bytes[s.from + i] ?? 0;
        break;
      case 'checksum': {
        let sum = 0n;
        for (let i = 0; i < s.words; i++) sum += this.#load(s.at + 8 * i, 8);
        variables[s.to] = sum & MASK;
        break;
      }
      case 'fetchAdd': {
        const old = view.getBigUint64(8 * s.word, true);
        view.setBigUint64(8 * s.word, BigInt.asUintN(64, old + this.#get(s.value)), true);
        variables[s.to] = old;
        break;
      }
      case 'exchange': {
        const old = view.getBigUint64(8 * s.word, true);
        if (old === this.#get(s.expected)) view.setBigUint64(8 * s.word, this.#get(s.desired), true);
        variables[s.to] = old;
        break;
      }
      case 'when':
        this.run(this.#holds(s.relation, variables[s.left] ?? 0n, this.#get(s.right)) ? s.yes : s.no);
        break;
      case 'repeat':
        for (let i = 0; i < s.count; i++) this.run(s.body);
        break;
    }
  }
}
