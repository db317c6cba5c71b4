import type { OperandSpec } from './form.ts';
import { stackBits } from './match.ts';
import { decodeMemory } from './modrm.ts';
import type { Bits, MemoryOperand, Mode, Operand, RegisterOperand } from './operands.ts';
import { controlExists } from './operands.ts';
import type { ByteReader } from './reader.ts';

/** What is known about an instruction once its opcode and ModRM byte have been read. */
export interface OperandContext {
  readonly mode: Mode;
  readonly bits: Bits;
  readonly addressBits: 16 | 32 | 64;
  readonly rex: number;
  readonly opcode: number;
  readonly modrm: number | undefined;
}

const SPEC_BITS: Partial<Record<OperandSpec, Bits>> = { Eb: 8, Gb: 8, Zb: 8, Ew: 16, Ed: 32 };

function generalRegister(index: number, bits: Bits, rex: number): RegisterOperand {
  const high = bits === 8 && rex === 0 && index > 3;
  return { kind: 'register', file: 'general', index: high ? index - 4 : index, bits, high };
}

/** Reads operands in the order in which they stand in the bytes: address first, immediates and distances last. */
export class OperandReader {
  readonly reader: ByteReader;
  readonly context: OperandContext;
  readonly memory: Omit<MemoryOperand, 'bits'> | undefined;

  constructor(reader: ByteReader, context: OperandContext) {
    this.reader = reader;
    this.context = context;
    const { modrm, rex, addressBits, mode } = context;
    const isMemory = modrm !== undefined && modrm < 0xc0;
    this.memory = isMemory ? decodeMemory(reader, modrm, rex, addressBits, mode) : undefined;
  }

  /** Undefined when the bytes name something that does not exist (a seventh segment register). */
  read(spec: OperandSpec, destination: boolean): Operand | undefined {
    const { rex, mode, opcode, modrm = 0 } = this.context;
    const bits = SPEC_BITS[spec] ?? this.context.bits;
    const native: Bits = mode === 64 ? 64 : 32;
    const rm = (modrm & 7) | ((rex & 1) << 3);
    const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    switch (spec) {
      case 'M':
        return this.memory === undefined ? undefined : { ...this.memory, bits: 0 };
      case 'Eb':
      case 'Ew':
      case 'Ed':
      case 'Ev':
        return this.memory === undefined ? generalRegister(rm, bits, rex) : { ...this.memory, bits };
      case 'Rv':
      case 'Rn':
        return generalRegister(rm, spec === 'Rn' ? native : bits, rex);
      case 'Gb':
      case 'Gv':
        return generalRegister(reg, bits, rex);
      case 'Zb':
      case 'Zv':
        return generalRegister((opcode & 7) | ((rex & 1) << 3), bits, rex);
      case 'Cn':
        return !controlExists(reg, mode)
          ? undefined
          : { kind: 'register', file: 'control', index: reg, bits: 64, high: false };
      case 'Sw':
        // cs can be read, but a load of it is undefined.
        if ((reg & 7) > 5 || (destination && (reg & 7) === 1)) return undefined;
        return { kind: 'register', file: 'segment', index: reg & 7, bits: 16, high: false };
      case 'AL':
        return generalRegister(0, 8, rex);
      case 'CL':
        return generalRegister(1, 8, rex);
      case 'DX':
        return generalRegister(2, 16, rex);
      case 'rAX':
        return generalRegister(0, this.context.bits, rex);
      case '1':
        return { kind: 'immediate', value: 1n, bits: 8 };
      case 'Ib':
        return this.immediate(8, 8);
      case 'Iw':
        return this.immediate(16, 16);
      case 'Is':
        return this.immediate(8, this.context.bits);
      case 'Iz':
        return this.immediate(this.context.bits === 64 ? 32 : this.context.bits, this.context.bits);
      case 'Iv':
        return this.immediate(this.context.bits, this.context.bits);
      case 'Jb':
        return { kind: 'relative', displacement: this.reader.int8() };
      case 'Jz':
        return {
          kind: 'relative',
          displacement: stackBits(mode) === 16 ? this.reader.int16() : this.reader.int32(),
        };
    }
  }

  private immediate(stored: Bits, bits: Bits): Operand {
    return { kind: 'immediate', value: BigInt.asUintN(bits, this.reader.signed(stored)), bits };
  }
}
