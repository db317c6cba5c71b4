import { candidates, isGroup, takesModrm } from './dispatch.ts';
import type { RepeatPrefix } from './encode.ts';
import type { InstructionForm, Semantics } from './form.ts';
import { FAR, isBranch } from './match.ts';
import { OperandReader } from './operand-reader.ts';
import type { Bits, Mode, Operand } from './operands.ts';
import { ByteReader } from './reader.ts';

/** The processor refuses longer instructions, whatever prefixes they repeat. */
const LONGEST_INSTRUCTION = 15;

/** One decoded instruction: everything an executor or a listing needs, without looking at the bytes again. */
export interface Instruction {
  readonly form: InstructionForm;
  /** In bytes, prefixes included. */
  readonly length: number;
  /** Operand size; 8 for byte forms. */
  readonly bits: Bits;
  /** Size of addresses and of the counter that rep and loop use. */
  readonly addressBits: 16 | 32 | 64;
  /** In the order of `form.operands`. */
  readonly operands: readonly Operand[];
  readonly repeat: RepeatPrefix | undefined;
  readonly lock: boolean;
  /** Index of the overriding segment register. In 64-bit code processors ignore es, cs, ss and ds. */
  readonly segment: number | undefined;
  /** Condition code 0..15 of jcc, setcc and cmovcc. */
  readonly condition: number | undefined;
}

/** `truncated`: the bytes end inside an instruction. `unknown`: not in the table. */
export type DecodeFailure = 'truncated' | 'unknown';

interface Prefixes {
  operandSize: boolean;
  addressSize: boolean;
  lock: boolean;
  repeat: RepeatPrefix | undefined;
  segment: number | undefined;
  rex: number;
}

const SEGMENT_PREFIXES = new Map([
  [0x26, 0],
  [0x2e, 1],
  [0x36, 2],
  [0x3e, 3],
  [0x64, 4],
  [0x65, 5],
]);

function readPrefixes(reader: ByteReader, mode: Mode): Prefixes {
  const found: Prefixes = {
    operandSize: false,
    addressSize: false,
    lock: false,
    repeat: undefined,
    segment: undefined,
    rex: 0,
  };
  while (!reader.overrun) {
    const byte = reader.peek();
    const segment = SEGMENT_PREFIXES.get(byte);
    if (byte === 0x66) found.operandSize = true;
    else if (byte === 0x67) found.addressSize = true;
    else if (byte === 0xf0) found.lock = true;
    else if (byte === 0xf2) found.repeat = 'repne';
    else if (byte === 0xf3) found.repeat = 'rep';
    else if (segment !== undefined) found.segment = segment;
    else if (mode === 64 && byte >> 4 === 4) {
      // REX counts only directly before the opcode: what follows is the opcode, even if it looks like a prefix.
      found.rex = byte;
      reader.uint8();
      return found;
    } else return found;
    reader.uint8();
  }
  return found;
}

function operandSize(form: InstructionForm, prefixes: Prefixes, mode: Mode): Bits {
  if (form.width === 'byte') return 8;
  if (form.width === 'fixed') return mode;
  // REX.W wins over the size prefix; only port instructions know no 64 bits.
  if ((prefixes.rex & 8) !== 0) return form.width === 'port' ? 32 : 64;
  if (form.width === 'stack' && mode === 64) return prefixes.operandSize ? 16 : 64;
  return toggled(mode, prefixes);
}

function addressSize(prefixes: Prefixes, mode: Mode): 16 | 32 | 64 {
  if (mode === 64) return prefixes.addressSize ? 32 : 64;
  return (mode === 16) === prefixes.addressSize ? 32 : 16;
}

function toggled(mode: Mode, prefixes: Prefixes): 16 | 32 {
  return (mode === 16) === prefixes.operandSize ? 32 : 16;
}

/** Whether of the prefixes that can be part of an opcode these are there and no others. */
function hasExactly({ operandSize, repeat }: Prefixes, mandatory: InstructionForm['mandatory']): boolean {
  const wanted = mandatory === 0xf3 ? 'rep' : mandatory === 0xf2 ? 'repne' : undefined;
  return operandSize === (mandatory === 0x66) && repeat === wanted;
}

/** Here the size prefix changes what is loaded; only what the mode says is known. */
const SIZED_BY_MODE: ReadonlySet<Semantics> = new Set(['lgdt', ...FAR]);

/** Whether a candidate is what the prefixes and the following byte say. */
function applies(form: InstructionForm, prefixes: Prefixes, next: number, mode: Mode): boolean {
  if (form.opcode.length === 3) {
    // In this crowded corner of the opcode map prefixes make other instructions (f3 before vmmcall: vmgexit).
    return form.opcode[2] === next && hasExactly(prefixes, form.mandatory) && !prefixes.lock;
  }
  if (form.mandatory === 0xf3 && prefixes.repeat !== 'rep') return false;
  if (form.only !== undefined && (form.only === 'long') !== (mode === 64)) return false;
  const memory = takesModrm(form) && next < 0xc0;
  if (memory ? form.operands.some((spec) => spec[0] === 'R') : form.operands.includes('M')) return false;
  if (prefixes.lock && !(form.lock && memory)) return false;
  // 90 is nop only as long as no REX.B turns it into an exchange of r8.
  if (form.semantics === 'nop' && !takesModrm(form) && (prefixes.rex & 1) !== 0) return false;
  // See encode: the size prefix on branches is not the same everywhere, so it is refused rather than guessed.
  return !((isBranch(form) || SIZED_BY_MODE.has(form.semantics)) && prefixes.operandSize);
}

/** Decodes the instruction that starts at `offset`. */
export function decode(bytes: Uint8Array, mode: Mode, offset = 0): Instruction | DecodeFailure {
  const reader = new ByteReader(bytes, offset, Math.min(bytes.length, offset + LONGEST_INSTRUCTION));
  const failure = (): DecodeFailure =>
    reader.overrun && bytes.length - offset < LONGEST_INSTRUCTION ? 'truncated' : 'unknown';
  const prefixes = readPrefixes(reader, mode);
  let opcode = reader.uint8();
  const twoByte = opcode === 0x0f;
  if (twoByte) opcode = reader.uint8();
  if (reader.overrun) return failure();
  const next = reader.peek();
  const form = candidates(twoByte, opcode, next).find((candidate) => applies(candidate, prefixes, next, mode));
  if (form === undefined) {
    // Without the byte behind the opcode a group cannot be told apart, so there it may still become known.
    return reader.at >= reader.end && reader.end === bytes.length && isGroup(twoByte, opcode) ? 'truncated' : 'unknown';
  }
  const modrm = takesModrm(form) ? reader.uint8() : undefined;
  if (form.opcode.length === 3) reader.uint8();
  const bits = operandSize(form, prefixes, mode);
  const addressBits = addressSize(prefixes, mode);
  const source = new OperandReader(reader, { mode, bits, addressBits, rex: prefixes.rex, opcode, modrm });
  const operands: Operand[] = [];
  for (const spec of form.operands) {
    const operand = source.read(spec, operands.length === 0);
    if (operand === undefined) return failure();
    operands.push(operand);
  }
  if (reader.overrun) return failure();
  return {
    form,
    length: reader.at - offset,
    bits,
    addressBits,
    operands,
    repeat: form.repeat === undefined ? undefined : prefixes.repeat,
    lock: prefixes.lock,
    segment: prefixes.segment,
    condition: form.conditional ? opcode & 15 : undefined,
  };
}
