import { formatHex } from '../numbers.ts';
import { formsOf } from './dispatch.ts';
import type { InstructionForm, Mnemonic } from './form.ts';
import type { Slots } from './match.ts';
import { isMismatch, type Mismatch, matchOperands } from './match.ts';
import type { ModrmEncoding } from './modrm.ts';
import { encodeModrm } from './modrm.ts';
import type { Bits, Condition, Mode, Operand } from './operands.ts';
import { CONDITIONS } from './operands.ts';

export type RepeatPrefix = 'rep' | 'repne';

export interface EncodeOptions {
  readonly mode: Mode;
  /** Operand size where no operand says it (string instructions, push of an immediate). */
  readonly bits?: Bits;
  readonly condition?: Condition;
  readonly repeat?: RepeatPrefix;
  readonly lock?: boolean;
}

/** A place in the bytes of an instruction; size 0 means that the instruction has no such part. */
export interface Field {
  readonly at: number;
  readonly size: number;
}

export interface Encoding {
  readonly form: InstructionForm;
  readonly bytes: readonly number[];
  /** The immediate or branch distance, for a label to be patched in. */
  readonly immediate: Field;
  readonly displacement: Field;
}

const NOP = 0x90;

function littleEndian(value: bigint, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function prefixes(form: InstructionForm, slots: Slots, options: EncodeOptions): number[] {
  const bytes: number[] = [];
  if (options.lock) bytes.push(0xf0);
  if (form.mandatory !== undefined) bytes.push(form.mandatory);
  else if (options.repeat !== undefined) bytes.push(options.repeat === 'repne' ? 0xf2 : 0xf3);
  const { mode } = options;
  if (slots.rm?.kind === 'memory' && slots.rm.addressBits !== mode) bytes.push(0x67);
  const sized = form.width !== 'byte' && form.width !== 'fixed';
  if (sized && (mode === 16 ? slots.bits === 32 : slots.bits === 16)) bytes.push(0x66);
  return bytes;
}

function modrmOf(form: InstructionForm, slots: Slots, mode: Mode): ModrmEncoding | Mismatch | undefined {
  if (slots.rm === undefined) return undefined;
  const reg = form.digit ?? (slots.reg === undefined ? 0 : slots.reg.index + (slots.reg.high ? 4 : 0));
  const modrm = encodeModrm(reg, slots.rm, mode);
  return typeof modrm === 'string' ? { mismatch: 'shape', text: modrm } : modrm;
}

function opcodeOf(form: InstructionForm, slots: Slots, condition: Condition | undefined): number[] {
  const opcode = [...form.opcode];
  const last = opcode.length - 1;
  let low = 0;
  if (slots.opcodeRegister !== undefined) {
    low = (slots.opcodeRegister.index + (slots.opcodeRegister.high ? 4 : 0)) & 7;
  } else if (form.conditional && condition !== undefined) {
    low = CONDITIONS.indexOf(condition);
  }
  opcode[last] = (opcode[last] ?? 0) | low;
  return opcode;
}

/** The REX byte, 0 for none, or a mismatch where a register cannot stand beside one. */
function rexOf(form: InstructionForm, slots: Slots, modrm: ModrmEncoding | undefined, mode: Mode): number | Mismatch {
  const inOpcode = slots.opcodeRegister !== undefined && slots.opcodeRegister.index > 7;
  const wide = form.width === 'full' && slots.bits === 64;
  const flags = (wide ? 8 : 0) | (modrm?.rexR ? 4 : 0) | (modrm?.rexX ? 2 : 0) | (modrm?.rexB || inOpcode ? 1 : 0);
  const bytes = [slots.reg, slots.rm, slots.opcodeRegister].filter((o) => o?.kind === 'register' && o.bits === 8);
  // Numbers 4..7 mean spl..dil with a REX prefix and ah..bh without: the prefix decides, so both cannot be had.
  const low = bytes.some((o) => o?.kind === 'register' && !o.high && o.index > 3);
  const high = bytes.some((o) => o?.kind === 'register' && o.high);
  if (flags === 0 && !low) return 0;
  if (mode !== 64) return { mismatch: 'shape', text: 'this register or size exists in 64-bit code only' };
  if (high) return { mismatch: 'shape', text: 'ah, ch, dh and bh cannot stand beside a REX prefix' };
  return 0x40 | flags;
}

/** Encodes one given form; answers a {@link Mismatch} when the operands are not what the form takes. */
export function encodeForm(
  form: InstructionForm,
  operands: readonly Operand[],
  options: EncodeOptions,
): Encoding | Mismatch {
  const slots = matchOperands(form, operands, options);
  if (isMismatch(slots)) return slots;
  // 90 is nop, which leaves the upper half of rax alone: an exchange of eax with itself does not.
  if (form.opcode[0] === NOP && slots.opcodeRegister?.index === 0) return { mismatch: 'shape', text: '' };
  const modrm = modrmOf(form, slots, options.mode);
  if (modrm !== undefined && isMismatch(modrm)) return modrm;
  const rex = rexOf(form, slots, modrm, options.mode);
  if (typeof rex !== 'number') return rex;
  const bytes = [...prefixes(form, slots, options)];
  if (rex !== 0) bytes.push(rex);
  bytes.push(...opcodeOf(form, slots, options.condition));
  let displacement: Field = { at: 0, size: 0 };
  if (modrm !== undefined) {
    displacement = { at: bytes.length + modrm.displacementAt, size: modrm.displacementSize };
    bytes.push(...modrm.bytes);
  }
  const immediate: Field = { at: bytes.length, size: slots.immediateSize };
  bytes.push(...littleEndian(slots.immediate, slots.immediateSize));
  return { form, bytes, immediate, displacement };
}

function describe(operand: Operand): string {
  if (operand.kind === 'register') return `${operand.bits}-bit ${operand.file} register`;
  if (operand.kind === 'memory') return operand.bits === 0 ? 'memory of unstated size' : `${operand.bits}-bit memory`;
  return operand.kind === 'immediate' ? `immediate ${formatHex(operand.value)}` : 'branch distance';
}

/**
 * Encodes in the shortest form that fits.
 * Throws RangeError naming the operand when only a number is too large, TypeError when no form takes such operands.
 */
export function encode(mnemonic: Mnemonic, operands: readonly Operand[], options: EncodeOptions): Encoding {
  let best: Encoding | undefined;
  let reason: Mismatch | undefined;
  for (const form of formsOf(mnemonic)) {
    const result = encodeForm(form, operands, options);
    if (isMismatch(result)) {
      if (reason === undefined || rank(result) > rank(reason)) reason = result;
    } else if (best === undefined || result.bytes.length < best.bytes.length) {
      best = result;
    }
  }
  if (best !== undefined) return best;
  if (reason?.mismatch === 'range') throw new RangeError(`${mnemonic}: ${reason.text}`);
  const given = operands.map(describe).join(', ') || 'no operands';
  const detail = reason === undefined || reason.text === '' ? '' : `: ${reason.text}`;
  throw new TypeError(`${mnemonic}: no ${options.mode}-bit form takes ${given}${detail}`);
}

/** The mismatch nearest to success explains best: kinds right but number too large, then a stated reason. */
function rank(mismatch: Mismatch): number {
  if (mismatch.mismatch === 'range') return 2;
  return mismatch.text === '' ? 0 : 1;
}
