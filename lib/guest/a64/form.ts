/** One encoding of one A64 instruction, as data: a row of the table in instructions.ts. */
import type { Indexing, Width } from './operands.ts';

type RegisterField = 'd' | 'n' | 'm' | 'a' | 't' | 't2' | 's';
/** `R` is as wide as the form, `W` 32 bits, `X` 64. `|SP`: number 31 is the stack pointer, not the zero register. */
export type RegisterSpec = `${'R' | 'W' | 'X'}${RegisterField}${'' | '|SP'}`;

/**
 * What stands at one place of the assembler's text, and which fields of the pattern hold it:
 * - `Rm,shift` a register shifted by imm6; `Rm,shift|ror`: also rotated. `Rm,extend` a register extended by option and shifted by imm3
 * - `imm12` with sh: 12 bits, or 12 bits shifted by 12. `bitmask`: N, immr, imms
 * - `imm16`, `hw` (16 × hw), `immr`, `imms`, `imm5`, `nzcv`, `imm4` (CRm), `imm7` (hint): plain numbers; `bit`: b5:b40
 * - `rel26`, `rel19`, `rel14`: distances in words; `adr`, `adrp`
 * - `[n]`, `[n,uimm12]` (scaled), `[n,simm9]`, `[n,simm7]` (scaled), `[n,Rm]` (register offset)
 * - `cond`; `sysreg`; `pstate` (op1:op2 of MSR immediate)
 */
export type OperandSpec =
  | RegisterSpec
  | ('Rm,shift' | 'Rm,shift|ror' | 'Rm,extend' | 'imm12' | 'bitmask' | 'imm16' | 'hw' | 'immr' | 'imms' | 'imm5')
  | ('nzcv' | 'imm4' | 'imm7' | 'bit' | 'rel26' | 'rel19' | 'rel14' | 'adr' | 'adrp' | 'cond' | 'sysreg' | 'pstate')
  | ('[n]' | '[n,uimm12]' | '[n,simm9]' | '[n,simm7]' | '[n,Rm]');

/** What the instruction does. An executor dispatches on this. */
export type Semantics =
  | ('add' | 'adds' | 'sub' | 'subs' | 'adc' | 'adcs' | 'sbc' | 'sbcs' | 'adr' | 'adrp')
  | ('and' | 'ands' | 'bic' | 'bics' | 'orr' | 'orn' | 'eor' | 'eon' | 'movz' | 'movn' | 'movk')
  | ('ubfm' | 'sbfm' | 'bfm' | 'extr' | 'lslv' | 'lsrv' | 'asrv' | 'rorv')
  | ('csel' | 'csinc' | 'csinv' | 'csneg' | 'ccmp' | 'ccmn')
  | ('madd' | 'msub' | 'smaddl' | 'smsubl' | 'umaddl' | 'umsubl' | 'smulh' | 'umulh' | 'udiv' | 'sdiv')
  | ('rbit' | 'rev16' | 'rev32' | 'rev' | 'clz' | 'cls')
  | ('b' | 'bl' | 'b.cond' | 'cbz' | 'cbnz' | 'tbz' | 'tbnz' | 'br' | 'blr' | 'ret' | 'eret')
  | ('load' | 'store' | 'load-pair' | 'store-pair' | 'load-literal')
  | ('load-exclusive' | 'store-exclusive' | 'clrex')
  | ('mrs' | 'msr' | 'msr-immediate' | 'nop' | 'barrier' | 'yield' | 'wfi' | 'wfe')
  | ('hvc' | 'smc' | 'svc' | 'brk');

export type Mnemonic =
  | Exclude<Semantics, 'load' | 'store' | `load-${string}` | `store-${string}` | 'msr-immediate' | 'barrier'>
  | ('ldr' | 'ldrb' | 'ldrh' | 'ldrsb' | 'ldrsh' | 'ldrsw' | 'str' | 'strb' | 'strh')
  | ('ldur' | 'ldurb' | 'ldurh' | 'ldursb' | 'ldursh' | 'ldursw' | 'stur' | 'sturb' | 'sturh')
  | ('ldp' | 'ldpsw' | 'stp' | 'ldxr' | 'ldxrb' | 'ldxrh' | 'ldaxr' | 'ldaxrb' | 'ldaxrh' | 'ldar' | 'ldarb' | 'ldarh')
  | ('stxr' | 'stxrb' | 'stxrh' | 'stlxr' | 'stlxrb' | 'stlxrh' | 'stlr' | 'stlrb' | 'stlrh')
  | ('dmb' | 'dsb' | 'isb' | 'sev' | 'sevl');

/** Bytes of one access, and how the register is filled. */
export interface Access {
  readonly size: 1 | 2 | 4 | 8;
  readonly signed: boolean;
}

export interface Field {
  readonly at: number;
  readonly width: number;
}

export interface InstructionForm {
  readonly mnemonic: Mnemonic;
  readonly semantics: Semantics;
  /** Of the registers written `R`. */
  readonly bits: Width;
  /** Fixed bits, and which they are: unsigned 32-bit numbers. */
  readonly value: number;
  readonly mask: number;
  readonly fields: ReadonlyMap<string, Field>;
  readonly operands: readonly OperandSpec[];
  readonly access: Access | undefined;
  readonly indexing: Indexing;
}

export type FormOptions = Partial<Pick<InstructionForm, 'access' | 'indexing' | 'bits'>> & { semantics?: Semantics };

/**
 * A form from its bits, highest first, as the manual draws them: `0`s and `1`s, and fields as `name:width` (`name` alone is one bit).
 * TypeError when that is not 32 bits.
 */
export function form(
  mnemonic: Mnemonic,
  pattern: string,
  operands: readonly OperandSpec[],
  options: FormOptions = {},
): InstructionForm {
  let [value, mask, at] = [0, 0, 32];
  const fields = new Map<string, Field>();
  for (const token of pattern.split(' ')) {
    const fixed = /^[01]+$/.test(token);
    const [name = '', width = '1'] = token.split(':');
    const length = fixed ? token.length : Number(width);
    at -= length;
    if (!fixed) fields.set(name, { at, width: length });
    else {
      value |= Number.parseInt(token, 2) << at;
      mask |= (2 ** length - 1) << at;
    }
  }
  if (at !== 0) throw new TypeError(`${mnemonic}: the pattern has ${32 - at} bits`);
  return {
    // Where several mnemonics share a meaning, the row says so.
    semantics: options.semantics ?? (mnemonic as Semantics),
    bits: options.bits ?? 64,
    access: options.access,
    indexing: options.indexing ?? 'offset',
    mnemonic,
    value: value >>> 0,
    mask: mask >>> 0,
    fields,
    operands,
  };
}

/** Both widths of a form whose first bit is `sf`. */
export function widths(
  mnemonic: Mnemonic,
  pattern: string,
  operands: readonly OperandSpec[],
  options: FormOptions = {},
): InstructionForm[] {
  return ([64, 32] as const).map((bits) =>
    form(mnemonic, `${bits === 64 ? 1 : 0} ${pattern}`, operands, { ...options, bits }),
  );
}
