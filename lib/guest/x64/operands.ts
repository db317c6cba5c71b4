/** Width of code: what the code segment says (16-bit real mode, 32-bit protected mode, 64-bit long mode). */
export type Mode = 16 | 32 | 64;
export type Bits = 8 | 16 | 32 | 64;

// The position in each list is the register's number in the encoding.
export const REGISTERS_64 = [
  ...(['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const),
] as const;
export const REGISTERS_32 = [
  ...(['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'] as const),
  ...(['r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d', 'r14d', 'r15d'] as const),
] as const;
export const REGISTERS_16 = [
  ...(['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'] as const),
  ...(['r8w', 'r9w', 'r10w', 'r11w', 'r12w', 'r13w', 'r14w', 'r15w'] as const),
] as const;
export const REGISTERS_8 = [
  ...(['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'] as const),
  ...(['r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b', 'r14b', 'r15b'] as const),
] as const;
export const HIGH_BYTES = ['ah', 'ch', 'dh', 'bh'] as const;
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;
/** Empty names are numbers that the architecture leaves undefined. */
const CONTROLS = ['cr0', '', 'cr2', 'cr3', 'cr4', '', '', '', 'cr8'] as const;

export type Register64 = (typeof REGISTERS_64)[number];
export type Register32 = (typeof REGISTERS_32)[number];
export type Register16 = (typeof REGISTERS_16)[number];
export type Register8 = (typeof REGISTERS_8)[number] | (typeof HIGH_BYTES)[number];
export type SegmentRegister = (typeof SEGMENTS)[number];
export type ControlRegister = Exclude<(typeof CONTROLS)[number], ''>;
export type GeneralRegister = Register64 | Register32 | Register16 | Register8;
export type Register = GeneralRegister | SegmentRegister | ControlRegister;
/** What may stand in an address; `rip` means "the next instruction" and takes no index. */
export type AddressRegister = Register64 | Register32 | Register16 | 'rip';

/** The condition codes by number: the low four bits of the opcodes of jcc, setcc and cmovcc. */
export const CONDITIONS = [
  ...(['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a'] as const),
  ...(['s', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'] as const),
] as const;
export type Condition = (typeof CONDITIONS)[number];

export const NO_REGISTER = -1;
export const RIP = 16;

/** `high` means bits 8..15 of register `index` (ah, ch, dh, bh). */
export interface RegisterOperand {
  readonly kind: 'register';
  readonly file: 'general' | 'segment' | 'control';
  readonly index: number;
  readonly bits: Bits;
  readonly high: boolean;
}

/** `bits` is the size of the access, 0 where nothing is accessed (lea, invlpg) or nobody said it. */
export interface MemoryOperand {
  readonly kind: 'memory';
  /** Register numbers; {@link NO_REGISTER} for none, {@link RIP} for rip-relative. */
  readonly base: number;
  readonly index: number;
  readonly scale: 1 | 2 | 4 | 8;
  /** Signed. */
  readonly displacement: number;
  readonly bits: Bits | 0;
  readonly addressBits: 16 | 32 | 64;
}

/** `value` is unsigned and `bits` wide; sign extension that the form asks for has been done. */
export interface ImmediateOperand {
  readonly kind: 'immediate';
  readonly value: bigint;
  readonly bits: Bits;
}

/** A branch target as the signed distance from the end of the instruction. */
export interface RelativeOperand {
  readonly kind: 'relative';
  readonly displacement: number;
}

export type Operand = RegisterOperand | MemoryOperand | ImmediateOperand | RelativeOperand;

const registersByName = new Map<string, RegisterOperand>();
function register(names: readonly string[], file: RegisterOperand['file'], bits: Bits, high = false): void {
  for (const [index, name] of names.entries()) {
    if (name !== '') registersByName.set(name, { kind: 'register', file, index, bits, high });
  }
}
register(REGISTERS_64, 'general', 64);
register(REGISTERS_32, 'general', 32);
register(REGISTERS_16, 'general', 16);
register(REGISTERS_8, 'general', 8);
register(HIGH_BYTES, 'general', 8, true);
register(SEGMENTS, 'segment', 16);
register(CONTROLS, 'control', 64);

/** The operand for a register's name. Throws TypeError for a name that is no register (callers without types). */
export function registerOperand(name: Register): RegisterOperand {
  const found = registersByName.get(name);
  if (found === undefined) throw new TypeError(`'${name}' is not a register`);
  return found;
}

/** Whether a control register can be named in this mode; the others make the instruction undefined. */
export function controlExists(index: number, mode: Mode): boolean {
  return (CONTROLS[index] ?? '') !== '' && (index < 8 || mode === 64);
}

export function registerName(operand: RegisterOperand): string {
  const { file, index, bits, high } = operand;
  if (file === 'segment') return SEGMENTS[index] ?? '?';
  if (file === 'control') return CONTROLS[index] ?? '?';
  if (high) return HIGH_BYTES[index] ?? '?';
  return generalName(index, bits);
}

export function generalName(index: number, bits: Bits): string {
  const names = { 8: REGISTERS_8, 16: REGISTERS_16, 32: REGISTERS_32, 64: REGISTERS_64 }[bits];
  return names[index] ?? '?';
}
