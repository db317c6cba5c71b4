/** Addresses of loads and stores, to and from an instruction's fields. */
import { type Fields, Mismatch, signExtend, signedField } from './fields.ts';
import type { InstructionForm, OperandSpec } from './form.ts';
import { EXTENDS, type MemoryOperand, type Operand } from './operands.ts';

function offsetFields(memory: MemoryOperand, spec: OperandSpec, form: InstructionForm): Fields | undefined {
  const { offset } = memory;
  const size = form.access?.size ?? 1;
  switch (spec) {
    case '[n]':
      return offset === 0 ? {} : undefined;
    case '[n,uimm12]': {
      const scaled = offset / size;
      return Number.isInteger(scaled) && scaled >= 0 && scaled < 4096 ? { imm12: scaled } : undefined;
    }
    case '[n,simm9]': {
      const imm9 = signedField(offset, 9);
      return imm9 === undefined ? undefined : { imm9 };
    }
    default: {
      const imm7 = signedField(offset / size, 7);
      return imm7 === undefined ? undefined : { imm7 };
    }
  }
}

export function encodeMemory(operand: Operand, spec: OperandSpec, form: InstructionForm): Fields | Mismatch {
  if (operand.kind !== 'memory') return new Mismatch('shape', 'an address is needed');
  if (operand.indexing !== form.indexing)
    return new Mismatch('shape', `${operand.indexing} indexing does not exist here`);
  const { index } = operand;
  if (spec !== '[n,Rm]') {
    if (index !== undefined) return new Mismatch('shape', 'an index register does not exist here');
    const fields = offsetFields(operand, spec, form);
    if (fields === undefined) return new Mismatch('range', `an offset of ${operand.offset} does not fit`);
    return { Rn: operand.base, ...fields };
  }
  if (index === undefined) return new Mismatch('shape', 'an index register is needed');
  const option = EXTENDS.indexOf(index.extend);
  // uxtw, uxtx (written lsl), sxtw, sxtx: what extends less than 32 bits does not exist.
  if ((option & 2) === 0 || index.bits !== ((option & 1) === 1 ? 64 : 32)) {
    return new Mismatch('shape', `${index.extend} of an index register of ${index.bits} bits does not exist`);
  }
  const shift = Math.log2(form.access?.size ?? 1);
  if (index.amount !== 0 && index.amount !== shift) return new Mismatch('range', `index shifted by ${index.amount}`);
  return { Rn: operand.base, Rm: index.index, option, S: index.amount === 0 ? 0 : 1 };
}

export function decodeMemory(fields: Fields, spec: OperandSpec, form: InstructionForm): Operand | undefined {
  const f = (name: string): number => fields[name] ?? 0;
  const size = form.access?.size ?? 1;
  const at = (offset: number): MemoryOperand => ({
    kind: 'memory',
    base: f('Rn'),
    offset,
    indexing: form.indexing,
    index: undefined,
  });
  switch (spec) {
    case '[n]':
      return at(0);
    case '[n,uimm12]':
      return at(f('imm12') * size);
    case '[n,simm9]':
      return at(signExtend(f('imm9'), 9));
    case '[n,simm7]':
      return at(signExtend(f('imm7'), 7) * size);
    default: {
      const option = f('option');
      if ((option & 2) === 0) return undefined;
      const amount = f('S') === 1 ? Math.log2(size) : 0;
      const bits = (option & 1) === 1 ? 64 : 32;
      return {
        ...at(0),
        index: { kind: 'extended', index: f('Rm'), bits, extend: EXTENDS[option] ?? 'uxtx', amount },
      };
    }
  }
}
