import { formatHex } from '../numbers.ts';
import type { Instruction } from './decode.ts';
import { decode } from './decode.ts';
import type { Semantics } from './form.ts';
import type { Bits, MemoryOperand, Mode, Operand } from './operands.ts';
import { CONDITIONS, generalName, NO_REGISTER, RIP, registerName, SEGMENTS } from './operands.ts';

/** One line of a listing. `text` is `(bad)` for a byte that starts no known instruction. */
export interface DisassembledLine {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly instruction: Instruction | undefined;
}

const SIZE_NAMES: Readonly<Record<Bits, string>> = { 8: 'byte', 16: 'word', 32: 'dword', 64: 'qword' };
const SUFFIXES: Readonly<Record<Bits, string>> = { 8: 'b', 16: 'w', 32: 'd', 64: 'q' };

function memoryText(operand: MemoryOperand, segment: number | undefined): string {
  const parts: string[] = [];
  if (operand.base === RIP) parts.push('rip');
  else if (operand.base !== NO_REGISTER) parts.push(generalName(operand.base, operand.addressBits));
  if (operand.index !== NO_REGISTER) {
    parts.push(generalName(operand.index, operand.addressBits) + (operand.scale === 1 ? '' : `*${operand.scale}`));
  }
  let text = parts.join('+');
  if (parts.length === 0) text = formatHex(BigInt.asUintN(operand.addressBits, BigInt(operand.displacement)));
  else if (operand.displacement < 0) text += formatHex(operand.displacement);
  else if (operand.displacement > 0) text += `+${formatHex(operand.displacement)}`;
  const size = operand.bits === 0 ? '' : `${SIZE_NAMES[operand.bits]} ptr `;
  return `${size}${segment === undefined ? '' : `${SEGMENTS[segment]}:`}[${text}]`;
}

/** In 64-bit code only fs and gs have a base. */
const usedSegment = ({ segment }: Instruction, mode: Mode): number | undefined =>
  segment !== undefined && mode === 64 && segment < SEGMENTS.indexOf('fs') ? undefined : segment;

function operandText(operand: Operand, instruction: Instruction, end: number, mode: Mode): string {
  if (operand.kind === 'register') return registerName(operand);
  if (operand.kind === 'immediate') return formatHex(operand.value);
  if (operand.kind === 'memory') return memoryText(operand, usedSegment(instruction, mode));
  return formatHex(BigInt.asUintN(mode, BigInt(end) + BigInt(operand.displacement)));
}

const COUNTERS = { 16: 'jcxz', 32: 'jecxz', 64: 'jrcxz' } as const;
/** Names that say the size. */
const BY_SIZE: Readonly<Partial<Record<Semantics, Readonly<Record<Bits, string>>>>> = {
  cbw: { 8: 'cbw', 16: 'cbw', 32: 'cwde', 64: 'cdqe' },
  cwd: { 8: 'cwd', 16: 'cwd', 32: 'cdq', 64: 'cqo' },
};

function mnemonicText(instruction: Instruction, mode: Mode): string {
  const { form, condition, repeat, lock, bits, addressBits } = instruction;
  const segment = usedSegment(instruction, mode);
  const named = form.semantics === 'jcxz' ? COUNTERS[addressBits] : BY_SIZE[form.semantics]?.[bits];
  let name: string = named ?? form.mnemonic;
  if (condition !== undefined) name = name.replace(/cc$/, CONDITIONS[condition] ?? '');
  if (form.repeat !== undefined) name += SUFFIXES[bits];
  // String instructions have no written operand that could show it.
  if (form.repeat !== undefined && segment !== undefined) name = `${SEGMENTS[segment]} ${name}`;
  if (repeat === 'repne') name = `repne ${name}`;
  if (repeat === 'rep') name = `${form.repeat === 'compare' ? 'repe' : 'rep'} ${name}`;
  return lock ? `lock ${name}` : name;
}

/** One instruction in Intel syntax; `address` is where it stands, for branch targets. */
export function instructionText(instruction: Instruction, mode: Mode, address = 0): string {
  const end = address + instruction.length;
  const operands = instruction.operands.map((operand) => operandText(operand, instruction, end, mode));
  const name = mnemonicText(instruction, mode);
  return operands.length === 0 ? name : `${name} ${operands.join(', ')}`;
}

/** All instructions in `bytes`, in Intel syntax; `base` is the address of the first byte. */
export function disassemble(bytes: Uint8Array, mode: Mode, base = 0): DisassembledLine[] {
  const lines: DisassembledLine[] = [];
  for (let at = 0; at < bytes.length; ) {
    const result = decode(bytes, mode, at);
    const instruction = typeof result === 'string' ? undefined : result;
    const length = instruction?.length ?? 1;
    const address = base + at;
    const text = instruction === undefined ? '(bad)' : instructionText(instruction, mode, address);
    lines.push({ address, bytes: bytes.slice(at, at + length), text, instruction });
    at += length;
  }
  return lines;
}
