/** Instructions as text, in the spelling of GNU as without aliases. */
import { formatHex } from '../numbers.ts';
import { decode, type Instruction } from './decode.ts';
import type { InstructionForm } from './form.ts';
import { type ExtendedOperand, type MemoryOperand, type Operand, registerName } from './operands.ts';
import { systemRegisterName } from './system-registers.ts';

/** One line of a listing. `text` is `.inst 0x…` for a word that is no known instruction. */
export interface DisassembledLine {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly instruction: Instruction | undefined;
}

const PSTATE_FIELDS: Readonly<Record<number, string>> = { 5: 'spsel', 30: 'daifset', 31: 'daifclr' };

function extendText({ extend, amount }: ExtendedOperand): string {
  if (extend === 'uxtx') return amount === 0 ? '' : `, lsl #${amount}`;
  return amount === 0 ? `, ${extend}` : `, ${extend} #${amount}`;
}

function memoryText({ base, offset, indexing, index }: MemoryOperand): string {
  const name = registerName(base, 64, true);
  if (index !== undefined) return `[${name}, ${registerName(index.index, index.bits)}${extendText(index)}]`;
  if (indexing === 'post') return `[${name}], #${offset}`;
  if (indexing === 'pre') return `[${name}, #${offset}]!`;
  return offset === 0 ? `[${name}]` : `[${name}, #${offset}]`;
}

function operandText(operand: Operand, form: InstructionForm, place: number, address: number): string {
  switch (operand.kind) {
    case 'register':
      return registerName(operand.index, operand.bits, operand.sp);
    case 'shifted': {
      const name = registerName(operand.index, operand.bits);
      return operand.amount === 0 && operand.shift === 'lsl' ? name : `${name}, ${operand.shift} #${operand.amount}`;
    }
    case 'extended': {
      const { extend, amount } = operand;
      // Spelt out: `uxtx` without a shift would otherwise read like the shifted form.
      return `${registerName(operand.index, operand.bits)}, ${extend}${amount === 0 ? '' : ` #${amount}`}`;
    }
    case 'immediate': {
      const spec = form.operands[place];
      if (spec === 'pstate') return PSTATE_FIELDS[Number(operand.value)] ?? `pstate${operand.value}`;
      if (spec === 'hw') return `lsl #${operand.value}`;
      return `#${formatHex(operand.value)}`;
    }
    case 'relative': {
      const from = form.mnemonic === 'adrp' ? Math.floor(address / 4096) * 4096 : address;
      return formatHex(BigInt.asUintN(64, BigInt(from) + BigInt(operand.displacement)));
    }
    case 'memory':
      return memoryText(operand);
    case 'condition':
      return operand.condition;
    case 'system':
      return systemRegisterName(operand.encoding);
  }
}

/** One instruction; `address` is where it stands, for the targets of branches. */
export function instructionText({ form, operands }: Instruction, address = 0): string {
  const { mnemonic } = form;
  const texts = operands.map((operand, i) => operandText(operand, form, i, address));
  if (mnemonic === 'b.cond') return `b.${texts[0]} ${texts[1]}`;
  // What each assembler leaves out when it is the usual value.
  if (mnemonic === 'ret' && texts[0] === 'x30') return 'ret';
  if (mnemonic === 'isb' && texts[0] === '#0xf') return 'isb';
  return texts.length === 0 ? mnemonic : `${mnemonic} ${texts.join(', ')}`;
}

/** All instructions in `bytes`; `base` is the address of the first byte. Bytes behind the last whole word are left out. */
export function disassemble(bytes: Uint8Array, base = 0): DisassembledLine[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => {
    const word = view.getUint32(4 * i, true);
    const instruction = decode(word);
    const address = base + 4 * i;
    const text = instruction === undefined ? `.inst ${formatHex(word)}` : instructionText(instruction, address);
    return { address, bytes: bytes.slice(4 * i, 4 * i + 4), text, instruction };
  });
}
