/**
 * How an operand is encoded, in the notation of the architecture manuals' opcode maps:
 * - `E` register or memory in ModRM.rm; `R` register only; `M` memory only; `G` register in ModRM.reg
 * - `Z` register in the low three bits of the opcode; `C` control and `S` segment register in ModRM.reg
 * - `I` immediate: `Ib` eight bits, `Iw` 16, `Is` eight bits sign-extended to the operand size, `Iz` 16 or 32 bits
 *   (sign-extended when the operand is 64 bits wide), `Iv` as wide as the operand
 * - `J` distance to a branch target
 * - second letter: `b` 8 bits, `w` 16, `d` 32, `v` the operand size, `n` the machine's word (32, or 64 in long mode)
 * - fixed operands by name: `AL`, `rAX` (operand size), `DX`, `CL`, `1`
 */
export type OperandSpec =
  | ('Eb' | 'Ew' | 'Ed' | 'Ev' | 'Rv' | 'Rn' | 'M' | 'Gb' | 'Gv' | 'Zb' | 'Zv' | 'Cn' | 'Sw')
  | ('Ib' | 'Iw' | 'Is' | 'Iz' | 'Iv' | 'Jb' | 'Jz')
  | ('AL' | 'rAX' | 'DX' | 'CL' | '1');

/**
 * Where the operand size comes from:
 * - `byte`: always 8
 * - `full`: 16, 32 or 64 from mode, prefix 66 and REX.W
 * - `port`: 16 or 32; REX.W means nothing (in, out)
 * - `stack`: 64 in long mode without any REX.W (push, pop, near branches through a register)
 * - `fixed`: neither prefix nor REX.W changes anything
 */
export type Width = 'byte' | 'full' | 'port' | 'stack' | 'fixed';

/** What the instruction does. An executor dispatches on this; several forms and mnemonics may share one. */
export type Semantics =
  | ('add' | 'or' | 'adc' | 'sbb' | 'and' | 'sub' | 'xor' | 'cmp' | 'test')
  | ('mov' | 'mov-control' | 'mov-segment' | 'movzx' | 'movsx' | 'lea' | 'xchg' | 'cmov' | 'setcc')
  | ('inc' | 'dec' | 'not' | 'neg' | 'mul' | 'imul' | 'imul-wide' | 'div')
  | ('rol' | 'ror' | 'shl' | 'shr' | 'sar')
  | ('idiv' | 'bt' | 'bts' | 'btr' | 'btc' | 'bsf' | 'bsr' | 'bswap' | 'cbw' | 'cwd' | 'cmc' | 'leave' | 'ins' | 'outs')
  | ('push' | 'pop' | 'pushf' | 'popf' | 'call' | 'ret' | 'jmp' | 'jcc' | 'loop' | 'jcxz')
  | ('in' | 'out' | 'hlt' | 'nop' | 'pause' | 'fence' | 'cpuid' | 'rdtsc' | 'rdmsr' | 'wrmsr')
  | ('stos' | 'movs' | 'lods' | 'scas' | 'cmps')
  | ('clc' | 'stc' | 'cld' | 'std' | 'cli' | 'sti')
  | ('int3' | 'ud2' | 'hypercall' | 'cmpxchg' | 'xadd' | 'invlpg' | 'lgdt')
  | ('jmp-far' | 'call-far' | 'ret-far' | 'iret')
  | ('vmgexit' | 'pvalidate' | 'tdcall');

export type Mnemonic =
  | ('idiv' | 'bt' | 'bts' | 'btr' | 'btc' | 'bsf' | 'bsr' | 'bswap' | 'cbw' | 'cwd' | 'cmc' | 'leave' | 'ins' | 'outs')
  | ('add' | 'or' | 'adc' | 'sbb' | 'and' | 'sub' | 'xor' | 'cmp' | 'test')
  | ('mov' | 'movzx' | 'movsx' | 'movsxd' | 'lea' | 'xchg' | 'cmovcc' | 'setcc')
  | ('inc' | 'dec' | 'not' | 'neg' | 'mul' | 'imul' | 'div' | 'rol' | 'ror' | 'shl' | 'shr' | 'sar')
  | ('push' | 'pop' | 'pushf' | 'popf' | 'call' | 'ret' | 'jmp' | 'jcc' | 'loop' | 'loope' | 'loopne' | 'jcxz')
  | ('in' | 'out' | 'hlt' | 'nop' | 'pause' | 'mfence' | 'lfence' | 'sfence' | 'cpuid' | 'rdtsc' | 'rdmsr' | 'wrmsr')
  | ('stos' | 'movs' | 'lods' | 'scas' | 'cmps' | 'clc' | 'stc' | 'cld' | 'std' | 'cli' | 'sti')
  | ('int3' | 'ud2' | 'vmcall' | 'vmmcall' | 'cmpxchg' | 'xadd' | 'invlpg' | 'lgdt')
  | ('jmpf' | 'callf' | 'retf' | 'iret')
  | ('vmgexit' | 'pvalidate' | 'tdcall');

/**
 * Whether KVM's software instruction emulator runs the form, as found by running it on a KVM that emulates every guest
 * instruction (6.18): `yes`; `no`: it gives KVM_EXIT_INTERNAL_ERROR or repeats the instruction for ever.
 * Guests on ordinary hardware virtualisation run all forms.
 */
export type Emulation = 'yes' | 'no';

/** One encoding of one instruction. */
export interface InstructionForm {
  readonly mnemonic: Mnemonic;
  readonly semantics: Semantics;
  /** Opcode bytes without prefixes. A third byte is a ModRM byte that belongs to the opcode (vmcall). */
  readonly opcode: readonly number[];
  readonly operands: readonly OperandSpec[];
  readonly width: Width;
  /** ModRM.reg as part of the opcode (`/digit`). */
  readonly digit?: number;
  /** The low four bits of the last opcode byte are a condition code. */
  readonly conditional?: true;
  /** A prefix that is part of the opcode: F3 for pause and vmgexit, F2 for pvalidate, 66 for tdcall. */
  readonly mandatory?: 0x66 | 0xf2 | 0xf3;
  /** Valid in 64-bit code only, or everywhere but there. */
  readonly only?: 'long' | 'legacy';
  /** LOCK is allowed when the destination is memory. */
  readonly lock?: true;
  /** REP prefixes are meaningful: `rep` repeats rcx times, `compare` also stops on the zero flag. */
  readonly repeat?: 'rep' | 'compare';
  readonly emulation: Emulation;
}

const MODRM_OPERANDS = new Set<OperandSpec>(['Eb', 'Ew', 'Ed', 'Ev', 'Rv', 'Rn', 'M', 'Gb', 'Gv', 'Cn', 'Sw']);

/** Whether a ModRM byte follows the opcode. */
export function hasModrm(form: InstructionForm): boolean {
  return form.digit !== undefined || form.operands.some((spec) => MODRM_OPERANDS.has(spec));
}
