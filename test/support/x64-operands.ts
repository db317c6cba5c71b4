/** What random instructions are made of, whoever chooses: operands for each place in the table, and the flags that nobody promises. */
import type { OperandSpec, Semantics } from '../../lib/guest/x64/form.ts';
import type { Bits, MemoryOperand, Operand } from '../../lib/guest/x64/operands.ts';

export interface OperandChoices {
  /** Memory in place of a register, where both can be. */
  inMemory(): boolean;
  memory(bits: Bits | 0): MemoryOperand;
  register(bits: Bits): Operand;
  value(): bigint;
}

/** @param word the size of what is as wide as the machine. */
export function operandFor(spec: OperandSpec, bits: Bits, word: Bits, choose: OperandChoices): Operand {
  const size: Bits = ({ b: 8, w: 16, d: 32, v: bits, n: word } as const)[spec.at(-1) ?? ''] ?? bits;
  const fixed = (index: number, of: Bits): Operand => ({
    kind: 'register',
    file: 'general',
    index,
    bits: of,
    high: false,
  });
  const immediate = (of: Bits, cut: Bits = of): Operand => ({
    kind: 'immediate',
    value: BigInt.asUintN(of, BigInt.asIntN(cut, choose.value())),
    bits: of,
  });
  switch (spec[0]) {
    case 'E':
      return choose.inMemory() ? choose.memory(size) : choose.register(size);
    case 'M':
      return choose.memory(0);
    case 'I':
      if (spec === 'Ib') return immediate(8);
      return immediate(bits, spec === 'Is' ? 8 : spec === 'Iz' && bits === 64 ? 32 : bits);
    case '1':
      return { kind: 'immediate', value: 1n, bits: 8 };
    case 'A':
      return fixed(0, 8);
    case 'C':
      return fixed(1, 8);
    case 'D':
      return fixed(2, 16);
    case 'r':
      return fixed(0, bits);
    default:
      return choose.register(size);
  }
}

export const ALL_STATUS = 0x8d5;

/** Status flags that no processor promises after an instruction. */
export function undefinedFlags(semantics: Semantics, count: bigint | undefined): number {
  switch (semantics) {
    case 'and':
    case 'or':
    case 'xor':
    case 'test':
      return 0x10;
    case 'shl':
    case 'shr':
    case 'sar':
      // By cl the count is unknown here: carry is undefined beyond the operand, overflow for more than one.
      return count === 1n ? 0x10 : 0x811;
    case 'rol':
    case 'ror':
      return count === 1n ? 0 : 0x800;
    case 'mul':
    case 'imul':
    case 'imul-wide':
      return 0xd4;
    case 'bt':
    case 'bts':
    case 'btr':
    case 'btc':
      return 0x894;
    case 'bsf':
    case 'bsr':
      return 0x895;
    case 'div':
    case 'idiv':
      return ALL_STATUS;
    default:
      return 0;
  }
}
