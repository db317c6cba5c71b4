import type { InstructionForm } from './form.ts';
import { hasModrm } from './form.ts';
import { INSTRUCTIONS } from './instructions.ts';

/**
 * Candidate forms at index `opcode * 8 + ModRM.reg`. Opcodes without ModRM have the same candidates in all eight places,
 * so a lookup needs no case distinction. Nearly every place holds at most one form.
 */
type DispatchTable = readonly (readonly InstructionForm[])[];

/** How many opcode values a form owns: register numbers and condition codes live in the opcode's low bits. */
function opcodeSpan(form: InstructionForm): number {
  if (form.conditional) return 16;
  return form.operands[0] === 'Zb' || form.operands[0] === 'Zv' ? 8 : 1;
}

function build(twoByte: boolean): DispatchTable {
  const table: InstructionForm[][] = Array.from({ length: 256 * 8 }, () => []);
  for (const form of INSTRUCTIONS) {
    const [first = 0, ...rest] = form.opcode;
    if ((first === 0x0f) !== twoByte) continue;
    const opcode = twoByte ? (rest[0] ?? 0) : first;
    const modrm = form.opcode[2];
    for (let value = opcode; value < opcode + opcodeSpan(form); value++) {
      const digits = modrm === undefined ? form.digit : (modrm >> 3) & 7;
      for (let digit = 0; digit < 8; digit++) {
        if (digits !== undefined && digits !== digit) continue;
        const place = table[value * 8 + digit] ?? [];
        // The special case (a whole ModRM byte, a mandatory prefix) must be seen before the general one.
        if (modrm !== undefined || form.mandatory !== undefined) place.unshift(form);
        else place.push(form);
      }
    }
  }
  return table;
}

const ONE_BYTE = build(false);
const TWO_BYTE = build(true);
const NONE: readonly InstructionForm[] = [];

/** The forms that an opcode may mean; `next` is the byte behind the opcode (its ModRM byte if it has one). */
export function candidates(twoByte: boolean, opcode: number, next: number): readonly InstructionForm[] {
  return (twoByte ? TWO_BYTE : ONE_BYTE)[opcode * 8 + ((next >> 3) & 7)] ?? NONE;
}

/** Whether the byte behind the opcode decides what it means. */
export function isGroup(twoByte: boolean, opcode: number): boolean {
  const table = twoByte ? TWO_BYTE : ONE_BYTE;
  return table
    .slice(opcode * 8, opcode * 8 + 8)
    .some((forms) => forms.some((form) => hasModrm(form) || form.opcode.length === 3));
}

const byMnemonic = new Map<string, InstructionForm[]>();
for (const form of INSTRUCTIONS) {
  const forms = byMnemonic.get(form.mnemonic);
  if (forms === undefined) byMnemonic.set(form.mnemonic, [form]);
  else forms.push(form);
}

export function formsOf(mnemonic: string): readonly InstructionForm[] {
  return byMnemonic.get(mnemonic) ?? NONE;
}

const modrmByForm = new Map(INSTRUCTIONS.map((form) => [form, hasModrm(form)]));

/** {@link hasModrm}, computed once per form of the table. */
export function takesModrm(form: InstructionForm): boolean {
  return modrmByForm.get(form) ?? hasModrm(form);
}
