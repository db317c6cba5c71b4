/** From an instruction word to its form and operands. */
import { decodeOperand } from './codec.ts';
import type { Fields } from './fields.ts';
import type { InstructionForm } from './form.ts';
import { INSTRUCTIONS } from './instructions.ts';
import type { Operand } from './operands.ts';

export interface Instruction {
  readonly form: InstructionForm;
  /** In the order of `form.operands`. */
  readonly operands: readonly Operand[];
}

/** Rows by bits 28:25, which the manual's top-level table divides by: each row stands in every group that it can match. */
const GROUPS: readonly (readonly InstructionForm[])[] = Array.from({ length: 16 }, (_, group) =>
  INSTRUCTIONS.filter(({ mask, value }) => ((mask >>> 25) & 15 & (group ^ (value >>> 25))) === 0),
);

function fieldsOf(word: number, form: InstructionForm): Fields {
  const fields: Record<string, number> = {};
  for (const [name, { at, width }] of form.fields) fields[name] = (word >>> at) & (2 ** width - 1);
  return fields;
}

function decodeAs(word: number, form: InstructionForm): Instruction | undefined {
  const fields = fieldsOf(word, form);
  const operands: Operand[] = [];
  for (const spec of form.operands) {
    const operand = decodeOperand(fields, spec, form);
    if (operand === undefined) return undefined;
    operands.push(operand);
  }
  return { form, operands };
}

/** Undefined for a word that is not in the table: unallocated, or beyond this subset. */
export function decode(word: number): Instruction | undefined {
  for (const form of GROUPS[(word >>> 25) & 15] ?? []) {
    if ((word & form.mask) >>> 0 !== form.value) continue;
    const instruction = decodeAs(word, form);
    if (instruction !== undefined) return instruction;
  }
  return undefined;
}
