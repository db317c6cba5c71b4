/** From a mnemonic and operands to an instruction word. */
import { encodeOperand } from './codec.ts';
import { Mismatch } from './fields.ts';
import type { InstructionForm, Mnemonic } from './form.ts';
import { INSTRUCTIONS } from './instructions.ts';
import type { Operand } from './operands.ts';

const byMnemonic = new Map<Mnemonic, InstructionForm[]>();
for (const row of INSTRUCTIONS) {
  const rows = byMnemonic.get(row.mnemonic);
  if (rows === undefined) byMnemonic.set(row.mnemonic, [row]);
  else rows.push(row);
}

/** The word (unsigned), or why this form does not take the operands. */
export function encodeForm(form: InstructionForm, operands: readonly Operand[]): number | Mismatch {
  if (operands.length !== form.operands.length)
    return new Mismatch('shape', `${form.operands.length} operands are needed`);
  let word = form.value;
  for (const [i, spec] of form.operands.entries()) {
    const operand = operands[i];
    const fields = operand === undefined ? new Mismatch('shape', 'missing') : encodeOperand(operand, spec, form);
    if (fields instanceof Mismatch) return fields;
    for (const [name, value] of Object.entries(fields)) {
      const field = form.fields.get(name);
      // A field that the row has fixed takes the fixed value only.
      if (field === undefined) {
        if (value !== 0) return new Mismatch('range', `${name} is fixed here`);
      } else if (value >= 2 ** field.width) return new Mismatch('range', `${value} is too large for ${name}`);
      else word |= value << field.at;
    }
  }
  return word >>> 0;
}

/** RangeError for a number that does not fit, TypeError for operands that no form of the mnemonic has. */
export function encode(mnemonic: Mnemonic, operands: readonly Operand[]): number {
  let closest: Mismatch | undefined;
  for (const form of byMnemonic.get(mnemonic) ?? []) {
    const word = encodeForm(form, operands);
    if (!(word instanceof Mismatch)) return word;
    if (closest?.why !== 'range') closest = word;
  }
  const text = `${mnemonic}: ${closest?.text ?? 'no such instruction'}`;
  throw closest?.why === 'range' ? new RangeError(text) : new TypeError(text);
}
