/** AArch64: assembler, decoder and the table behind both; how programs start. */
export type { AssemblerOperand, Extended, Memory, Shifted } from './assembler.ts';
export { Assembler, Label } from './assembler.ts';
export { decodeBitmask, encodeBitmask } from './bitmask.ts';
export type { A64Builder } from './builder.ts';
export type { Instruction } from './decode.ts';
export { decode } from './decode.ts';
export type { DisassembledLine } from './disassemble.ts';
export { disassemble, instructionText } from './disassemble.ts';
export { encode } from './encode.ts';
export type { Access, InstructionForm, Mnemonic, OperandSpec, Semantics } from './form.ts';
export { INSTRUCTIONS } from './instructions.ts';
export type { Condition, Extend, Indexing, Operand as InstructionOperand, Register, Shift, Width } from './operands.ts';
export { CONDITIONS, EXTENDS, registerName, registerOperand, SHIFTS } from './operands.ts';
export type { CoreStart, StartOptions, StartState } from './start.ts';
export { startState } from './start.ts';
export type { SystemRegister } from './system-registers.ts';
export { SYSTEM_REGISTERS, systemRegisterName } from './system-registers.ts';
