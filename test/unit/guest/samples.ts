import type { EncodeOptions, Encoding } from '../../../lib/guest/x64/encode.ts';
import { encodeForm } from '../../../lib/guest/x64/encode.ts';
import type { InstructionForm, OperandSpec } from '../../../lib/guest/x64/form.ts';
import { isMismatch } from '../../../lib/guest/x64/match.ts';
import type { Bits, MemoryOperand, Mode, Operand, RegisterOperand } from '../../../lib/guest/x64/operands.ts';
import { NO_REGISTER, RIP } from '../../../lib/guest/x64/operands.ts';

export const MODES: readonly Mode[] = [16, 32, 64];

export interface Sample {
  readonly form: InstructionForm;
  readonly mode: Mode;
  readonly operands: readonly Operand[];
  readonly options: EncodeOptions;
  readonly encoding: Encoding;
}

export function general(index: number, bits: Bits, high = false): RegisterOperand {
  return { kind: 'register', file: 'general', index, bits, high };
}

function addresses(mode: Mode): Omit<MemoryOperand, 'bits'>[] {
  const memory = (
    addressBits: 16 | 32 | 64,
    base: number,
    displacement: number,
    index = NO_REGISTER,
    scale: 1 | 2 | 4 | 8 = 1,
  ): Omit<MemoryOperand, 'bits'> => ({ kind: 'memory', base, index, scale, displacement, addressBits });
  const wide = mode === 16 ? 32 : mode;
  const common = [
    memory(wide, 0, 0),
    memory(wide, 5, 0),
    memory(wide, 4, 0),
    memory(wide, 4, -8, 6, 2),
    memory(wide, 3, 0x1234),
    memory(wide, NO_REGISTER, 0x5678),
    memory(wide, NO_REGISTER, 0x40, 1, 8),
  ];
  if (mode === 64) {
    return [...common, memory(64, RIP, -0x20), memory(64, 13, 0), memory(64, 12, 127, 12, 4), memory(32, 9, 0x80)];
  }
  const pairs = [
    memory(16, 3, 0, 6),
    memory(16, 5, -1, 7),
    memory(16, 5, 0),
    memory(16, 6, 0x1234),
    memory(16, NO_REGISTER, 0x77),
  ];
  return [...pairs, ...common];
}

function registers(bits: Bits, mode: Mode): RegisterOperand[] {
  if (bits === 64 && mode !== 64) return [];
  const list = [general(0, bits), general(3, bits)];
  if (bits === 8) list.push(general(1, 8, true));
  if (mode === 64) list.push(general(9, bits));
  if (mode === 64 && bits === 8) list.push(general(6, 8));
  return list;
}

const unsigned = (value: bigint, bits: Bits): Operand => ({
  kind: 'immediate',
  value: BigInt.asUintN(bits, value),
  bits,
});

function samplesOf(spec: OperandSpec, bits: Bits, mode: Mode, form: InstructionForm): Operand[] {
  const native: Bits = mode === 64 ? 64 : 32;
  const size: Bits = { b: 8, w: 16, d: 32, v: bits, n: native }[spec.at(-1) ?? ''] as Bits;
  const memory = (of: Bits | 0): Operand[] => addresses(mode).map((address) => ({ ...address, bits: of }));
  switch (spec) {
    case 'Eb':
    case 'Ew':
    case 'Ed':
    case 'Ev':
      return [...registers(size, mode), ...memory(size)];
    case 'M':
      return memory(0);
    case 'Rv':
    case 'Rn':
    case 'Gb':
    case 'Gv':
    case 'Zb':
    case 'Zv':
      return registers(size, mode);
    case 'Cn':
      return [0, 3, 4].map((index) => ({ kind: 'register', file: 'control', index, bits: 64, high: false }));
    case 'Sw':
      return [0, 3, 5].map((index) => ({ kind: 'register', file: 'segment', index, bits: 16, high: false }));
    case 'AL':
      return [general(0, 8)];
    case 'CL':
      return [general(1, 8)];
    case 'DX':
      return [general(2, 16)];
    case 'rAX':
      return [general(0, bits)];
    case '1':
      return [unsigned(1n, 8)];
    case 'Ib':
      return [unsigned(0x12n, 8), unsigned(form.semantics === 'in' || form.semantics === 'out' ? 0x80n : -2n, 8)];
    case 'Iw':
      return [0x10n, 0xfff0n].map((value) => ({ kind: 'immediate', value, bits: 16 }));
    case 'Is':
      return [unsigned(5n, bits), unsigned(-128n, bits)];
    case 'Iz':
      return [unsigned(0x1234n, bits), unsigned(-300n, bits)];
    case 'Iv':
      return [unsigned(0x1234n, bits), unsigned(-1n, bits)];
    case 'Jb':
      return [-128, 0x10, 127].map((displacement) => ({ kind: 'relative', displacement }));
    case 'Jz':
      return [-0x1000, 0x10].map((displacement) => ({ kind: 'relative', displacement }));
  }
}

/** Every form of a table in every mode and size it takes, with a spread of operands. */
export function* samples(forms: readonly InstructionForm[]): Generator<Sample> {
  for (const form of forms) {
    for (const mode of MODES) {
      for (const bits of [8, 16, 32, 64] as const) yield* samplesWith(form, mode, bits);
    }
  }
}

function* samplesWith(form: InstructionForm, mode: Mode, bits: Bits): Generator<Sample> {
  if (form.width === 'fixed' && bits !== mode) return;
  if ((form.width === 'byte') !== (bits === 8)) return;
  const choices = form.operands.map((spec) => samplesOf(spec, bits, mode, form));
  const count = Math.max(1, ...choices.map((choice) => choice.length));
  const options: EncodeOptions = {
    mode,
    ...(form.width === 'fixed' ? {} : { bits }),
    ...(form.conditional ? { condition: 'ne' as const } : {}),
  };
  for (let i = 0; i < count; i++) {
    // Each operand walks its own list, so combinations differ without a full product.
    const operands = choices.map((choice) => choice[i % choice.length]);
    if (!operands.every((operand) => operand !== undefined)) continue;
    const encoding = encodeForm(form, operands, options);
    if (!isMismatch(encoding)) yield { form, mode, operands, options, encoding };
  }
}
