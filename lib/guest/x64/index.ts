/** x86-64: assembler, decoder and the table behind both; page tables and register settings. */

export type { MemoryImage } from '../start.ts';
export type { AssemblerOperand, InstructionOptions, Memory } from './assembler.ts';
export { Assembler, Label } from './assembler.ts';
export type { CpuidValues, X64Builder } from './builder.ts';
export type { DecodeFailure, Instruction } from './decode.ts';
export { decode } from './decode.ts';
export type { DisassembledLine } from './disassemble.ts';
export { disassemble, instructionText } from './disassemble.ts';
export type { EncodeOptions, Encoding, RepeatPrefix } from './encode.ts';
export { encode, encodeForm } from './encode.ts';
export type { Emulation, InstructionForm, Mnemonic, OperandSpec, Semantics, Width } from './form.ts';
export type { HypercallInstruction } from './generator.ts';
export { INSTRUCTIONS } from './instructions.ts';
export type { Mismatch } from './match.ts';
export { isMismatch } from './match.ts';
export type { ModeRegisters, Segment } from './modes.ts';
export { longMode, protectedMode, realMode } from './modes.ts';
export type {
  AddressRegister,
  Bits,
  Condition,
  GeneralRegister,
  ImmediateOperand,
  MemoryOperand,
  Mode,
  Operand as InstructionOperand,
  Register,
  RegisterOperand,
  RelativeOperand,
} from './operands.ts';
export { CONDITIONS, NO_REGISTER, RIP, registerName, registerOperand } from './operands.ts';
export type { PageTableOptions, PageTables } from './paging.ts';
export { identityPageTables, LOW_MEMORY } from './paging.ts';
export { RESET_PAGE, resetPage } from './reset-page.ts';
export type { StartOptions, StartState } from './start.ts';
export { startState } from './start.ts';
