import type { Integer } from '../numbers.ts';
import { formatHex, toUnsigned } from '../numbers.ts';
import type { EncodeOptions, Field } from './encode.ts';
import { encode } from './encode.ts';
import type { Mnemonic } from './form.ts';
import type { AddressRegister, Bits, MemoryOperand, Mode, Operand, Register } from './operands.ts';
import { NO_REGISTER, RIP, registerOperand } from './operands.ts';

/** A place in the program; made by {@link Assembler.label}, given its address by {@link Assembler.bind}. */
export class Label {
  readonly name: string;
  /** Byte offset in the program; undefined until bound. */
  offset: number | undefined;

  constructor(name: string) {
    this.name = name;
  }
}

/** An address in an instruction. `size` (bytes) is needed where no register operand says the size of the access. */
export interface Memory {
  readonly base?: AddressRegister;
  readonly index?: Exclude<AddressRegister, 'rip'>;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly disp?: Integer;
  /** The label's address is the displacement (distance with base `rip`); excludes `disp`. */
  readonly label?: Label;
  readonly size?: 1 | 2 | 4 | 8;
}

export type AssemblerOperand = Register | Integer | Memory | Label;
export type InstructionOptions = Omit<EncodeOptions, 'mode'>;

interface Fixup {
  readonly label: Label;
  readonly at: number;
  readonly size: number;
  /** Offset of the end of the instruction for distances, undefined for absolute addresses. */
  readonly end: number | undefined;
}

const BRANCHES: ReadonlySet<Mnemonic> = new Set(['jmp', 'jcc', 'call', 'loop', 'loope', 'loopne', 'jcxz']);
const SHORT_ONLY: ReadonlySet<Mnemonic> = new Set(['loop', 'loope', 'loopne', 'jcxz']);

/** Collects instructions as bytes. Every error is thrown by the call that caused it, except unbound labels. */
export class AssemblerCore {
  readonly mode: Mode;
  /** The address of the first byte, for absolute label addresses. */
  readonly base: number;
  readonly #bytes: number[] = [];
  readonly #fixups: Fixup[] = [];
  #locked = false;

  constructor(mode: Mode, base = 0) {
    if (!Number.isSafeInteger(base) || base < 0) throw new RangeError(`base: ${base} is not an address`);
    this.mode = mode;
    this.base = base;
  }

  /** Bytes so far. */
  get offset(): number {
    return this.#bytes.length;
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

  /** Raw bytes. */
  data(bytes: Iterable<number>): this {
    for (const byte of bytes) this.#bytes.push(Number(toUnsigned(byte, 8, 'data')));
    return this;
  }

  /** One little-endian number of `bits` bits. */
  word(value: Integer, bits: Bits): this {
    const unsigned = toUnsigned(value, bits, 'word');
    return this.data(Array.from({ length: bits / 8 }, (_, i) => Number((unsigned >> BigInt(8 * i)) & 0xffn)));
  }

  /** Zero bytes up to a multiple of `alignment`. */
  align(alignment: number): this {
    while (this.offset % alignment !== 0) this.#bytes.push(0);
    return this;
  }

  /** The next instruction gets a LOCK prefix; TypeError there when it cannot be locked. */
  lock(): this {
    this.#locked = true;
    return this;
  }

  /** One instruction of the table. Throws RangeError for numbers that do not fit, TypeError for unknown shapes. */
  emit(mnemonic: Mnemonic, operands: readonly AssemblerOperand[] = [], options: InstructionOptions = {}): this {
    const lock = this.#locked;
    this.#locked = false;
    const labels: { label: Label; part: 'immediate' | 'displacement' }[] = [];
    const peer = operands.find((operand) => typeof operand === 'string');
    const lowered = operands.map((operand): Operand => {
      if (operand instanceof Label) {
        labels.push({ label: operand, part: 'immediate' });
        return BRANCHES.has(mnemonic) ? this.#distance(mnemonic, operand) : this.#placeholder(peer, options);
      }
      if (typeof operand === 'object' && operand.label !== undefined) {
        labels.push({ label: operand.label, part: 'displacement' });
      }
      return this.#lower(operand);
    });
    const encoding = encode(mnemonic, lowered, { lock, ...options, mode: this.mode });
    const start = this.offset;
    this.#bytes.push(...encoding.bytes);
    for (const { label, part } of labels) {
      const field: Field = encoding[part];
      const rip = lowered.some((operand) => operand.kind === 'memory' && operand.base === RIP);
      const relative = part === 'immediate' ? BRANCHES.has(mnemonic) : rip;
      this.#fixups.push({ label, at: start + field.at, size: field.size, end: relative ? this.offset : undefined });
    }
    return this;
  }

  /** The program. Throws TypeError for unbound labels and RangeError for labels out of an instruction's reach. */
  bytes(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes);
    for (const { label, at, size, end } of this.#fixups) {
      if (label.offset === undefined) throw new TypeError(`label '${label.name}' is used but never bound`);
      const value = end === undefined ? this.base + label.offset : label.offset - end;
      const limit = 2 ** (8 * size - 1);
      if (value < -limit || value >= (end === undefined ? 2 * limit : limit)) {
        throw new RangeError(`label '${label.name}': ${formatHex(value)} does not fit in ${8 * size} bits`);
      }
      for (let i = 0; i < size; i++) bytes[at + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
    }
    return bytes;
  }

  /** Bound labels behind us may be near enough for the short form; others get room for any distance. */
  #distance(mnemonic: Mnemonic, label: Label): Operand {
    if (SHORT_ONLY.has(mnemonic)) return { kind: 'relative', displacement: 0 };
    const short = label.offset === undefined ? undefined : label.offset - (this.offset + 2);
    const near = this.mode === 16 ? 0x7fff : 0x7fff_ffff;
    return { kind: 'relative', displacement: short !== undefined && short >= -128 ? short : near };
  }

  /** A number that only the full-width immediate can hold keeps room for any address. */
  #placeholder(peer: AssemblerOperand | undefined, options: InstructionOptions): Operand {
    const bits = typeof peer === 'string' ? registerOperand(peer).bits : (options.bits ?? this.mode);
    return { kind: 'immediate', value: (1n << BigInt(bits - 1)) - 1n, bits };
  }

  #lower(operand: Exclude<AssemblerOperand, Label>): Operand {
    if (typeof operand === 'string') return registerOperand(operand);
    if (typeof operand === 'object') return this.#memory(operand);
    // The widest reading here; the form's own size is checked when it is matched.
    toUnsigned(operand, 64, 'immediate');
    return { kind: 'immediate', value: BigInt(operand), bits: 64 };
  }

  #memory(memory: Memory): MemoryOperand {
    const { scale = 1, disp = 0, label } = memory;
    const base = memory.base === undefined || memory.base === 'rip' ? undefined : registerOperand(memory.base);
    const index = memory.index === undefined ? undefined : registerOperand(memory.index);
    if (base !== undefined && index !== undefined && base.bits !== index.bits) {
      throw new TypeError('base and index of an address must have the same size');
    }
    if (label !== undefined && disp !== 0) throw new TypeError('an address has a label or a disp, not both');
    const bits = base?.bits ?? index?.bits ?? this.mode;
    if (bits === 8) throw new TypeError('byte registers cannot stand in an address');
    const width = Math.min(bits, 32);
    // 64-bit addresses hold a sign-extended 32-bit number; shorter ones wrap, so both spellings are the same address.
    const value = bits === 64 ? BigInt(disp) : toUnsigned(disp, width, 'disp');
    const signed = BigInt.asIntN(width, value);
    if (bits === 64 && signed !== value) throw new RangeError(`disp: ${formatHex(value)} does not fit in 32 bits`);
    const placeholder = width === 16 ? 0x7fff : 0x7fff_ffff;
    return {
      kind: 'memory',
      base: memory.base === 'rip' ? RIP : (base?.index ?? NO_REGISTER),
      index: index?.index ?? NO_REGISTER,
      scale: index === undefined ? 1 : scale,
      displacement: label === undefined ? Number(signed) : placeholder,
      bits: memory.size === undefined ? 0 : ({ 1: 8, 2: 16, 4: 32, 8: 64 } as const)[memory.size],
      addressBits: bits,
    };
  }
}
