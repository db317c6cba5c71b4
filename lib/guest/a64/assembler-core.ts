import type { Integer } from '../numbers.ts';
import { toUnsigned } from '../numbers.ts';
import { encode } from './encode.ts';
import type { Mnemonic } from './form.ts';
import {
  type Condition,
  type Extend,
  type Indexing,
  type Operand,
  type Register,
  registerOperand,
  type Shift,
} from './operands.ts';
import { SYSTEM_REGISTERS, type SystemRegister } from './system-registers.ts';

/** A place in the program; made by {@link Assembler.label}, given its address by {@link Assembler.bind}. */
export class Label {
  readonly name: string;
  /** Byte offset in the program; undefined until bound. */
  offset: number | undefined;

  constructor(name: string) {
    this.name = name;
  }
}

/** A register shifted by a number of bits. */
export interface Shifted {
  readonly register: Register;
  readonly shift: Shift;
  readonly amount: number;
}

/** A register extended from 8, 16 or 32 bits and then shifted left. */
export interface Extended {
  readonly register: Register;
  readonly extend: Extend;
  readonly amount?: number;
}

/** An address: a base with a number of bytes, or with another register. */
export interface Memory {
  readonly base: Register;
  readonly offset?: number;
  readonly index?: Register;
  /** Default uxtx: the whole index register. */
  readonly extend?: Extend;
  /** Bits that the index is shifted left: 0, or as many as fit the size of the access. */
  readonly amount?: number;
  /** Keeps base + offset in the base: before the access (`pre`) or after it (`post`, which accesses the base itself). */
  readonly indexing?: Indexing;
}

export type AssemblerOperand =
  | Register
  | Integer
  | Memory
  | Shifted
  | Extended
  | Label
  | { readonly condition: Condition }
  | { readonly system: SystemRegister | number };

interface Fixup {
  readonly at: number;
  readonly mnemonic: Mnemonic;
  readonly operands: readonly (Operand | Label)[];
}

/** Collects instructions as bytes. Every error is thrown by the call that caused it, except those of labels. */
export class AssemblerCore {
  /** The address of the first byte: adrp counts in pages from it. */
  readonly base: number;
  readonly #words: number[] = [];
  readonly #fixups: Fixup[] = [];

  constructor(base = 0) {
    if (!Number.isSafeInteger(base) || base < 0 || base % 4 !== 0) {
      throw new RangeError(`base: ${base} is not the address of an instruction`);
    }
    this.base = base;
  }

  /** Bytes so far. */
  get offset(): number {
    return 4 * this.#words.length;
  }

  label(name = 'label'): Label {
    return new Label(name);
  }

  /** Gives the label this place. Throws TypeError when it has one. */
  bind(label: Label): this {
    if (label.offset !== undefined) throw new TypeError(`label '${label.name}' is bound twice`);
    label.offset = this.offset;
    return this;
  }

  /** One word of 32 bits, as it is. */
  word(value: Integer): this {
    this.#words.push(Number(toUnsigned(value, 32, 'word')));
    return this;
  }

  /** Zero words up to a multiple of `alignment` bytes. */
  align(alignment: number): this {
    while ((this.base + this.offset) % alignment !== 0) this.word(0);
    return this;
  }

  /** One instruction of the table. Throws RangeError for numbers that do not fit, TypeError for unknown shapes. */
  emit(mnemonic: Mnemonic, operands: readonly AssemblerOperand[] = []): this {
    const lowered = operands.map((operand) => (operand instanceof Label ? operand : lower(operand)));
    if (lowered.some((operand) => operand instanceof Label)) {
      this.#fixups.push({ at: this.offset, mnemonic, operands: lowered });
    }
    // A label stands for itself until all are bound: a distance of 0 has every form's shape.
    this.#words.push(
      encode(
        mnemonic,
        lowered.map((operand) => (operand instanceof Label ? NEAR : operand)),
      ),
    );
    return this;
  }

  /** The program. Throws TypeError for unbound labels and RangeError for labels out of an instruction's reach. */
  bytes(): Uint8Array {
    const view = new DataView(new ArrayBuffer(this.offset));
    this.#words.forEach((word, i) => {
      view.setUint32(4 * i, word, true);
    });
    for (const { at, mnemonic, operands } of this.#fixups) {
      const placed = operands.map((operand) =>
        operand instanceof Label ? this.#distance(operand, at, mnemonic) : operand,
      );
      view.setUint32(at, encode(mnemonic, placed), true);
    }
    return new Uint8Array(view.buffer);
  }

  #distance(label: Label, at: number, mnemonic: Mnemonic): Operand {
    if (label.offset === undefined) throw new TypeError(`label '${label.name}' is used but never bound`);
    if (mnemonic !== 'adrp') return { kind: 'relative', displacement: label.offset - at };
    const page = (offset: number): number => Math.floor((this.base + offset) / 4096);
    return { kind: 'relative', displacement: 4096 * (page(label.offset) - page(at)) };
  }
}

const NEAR: Operand = { kind: 'relative', displacement: 0 };

function lower(operand: Exclude<AssemblerOperand, Label>): Operand {
  if (typeof operand === 'string') return registerOperand(operand);
  if (typeof operand !== 'object') {
    toUnsigned(operand, 64, 'immediate');
    return { kind: 'immediate', value: BigInt(operand) };
  }
  if ('condition' in operand) return { kind: 'condition', condition: operand.condition };
  if ('system' in operand) {
    const { system } = operand;
    return { kind: 'system', encoding: typeof system === 'number' ? system : SYSTEM_REGISTERS[system] };
  }
  if ('shift' in operand) {
    const { index, bits } = general(operand.register);
    return { kind: 'shifted', index, bits, shift: operand.shift, amount: operand.amount };
  }
  if ('register' in operand) return extended(operand.register, operand.extend, operand.amount);
  return memory(operand);
}

function general(name: Register): { index: number; bits: 32 | 64 } {
  const { index, bits, sp } = registerOperand(name);
  if (sp) throw new TypeError('the stack pointer cannot be shifted, extended or an index');
  return { index, bits };
}

function extended(name: Register, extend: Extend, amount = 0): Extract<Operand, { kind: 'extended' }> {
  return { kind: 'extended', ...general(name), extend, amount };
}

function memory({ base, offset = 0, index, extend = 'uxtx', amount, indexing = 'offset' }: Memory): Operand {
  const register = registerOperand(base);
  if (register.bits !== 64 || base === 'xzr') throw new TypeError('the base of an address is x0…x30 or sp');
  if (index !== undefined && offset !== 0) throw new TypeError('an address has an offset or an index, not both');
  return {
    kind: 'memory',
    base: register.index,
    offset,
    indexing,
    index: index === undefined ? undefined : extended(index, extend, amount),
  };
}
