import type { BinaryOperation, CodeGenerator, Source } from './generator.ts';
import type { GpaRange } from './numbers.ts';
import { toGpa, toRange } from './numbers.ts';
import { withoutAlias } from './technology.ts';
import type { Operand, ValueOwner } from './value.ts';
import { sourceOf, Value, Variable } from './value.ts';

/** A step of the program and where its code begins, for listings. */
export interface ProgramNote {
  readonly offset: number;
  readonly text: string;
}

/** The bookkeeping below the operations: slots for values, the memory that is touched, notes for listings. */
export class ProgramFrame implements ValueOwner {
  readonly touched: GpaRange[] = [];
  readonly notes: ProgramNote[] = [];
  readonly #generator: CodeGenerator;
  #slots = 0;
  #finished = false;

  constructor(generator: CodeGenerator) {
    this.#generator = generator;
  }

  get slots(): number {
    return this.#slots;
  }

  /** The generator, as long as the program is being written. Throws TypeError afterwards. */
  get code(): CodeGenerator {
    if (this.#finished) throw new TypeError('the program is complete; operations belong into its function');
    return this.#generator;
  }

  finish(): void {
    this.#finished = true;
  }

  newSlot(): number {
    return this.#slots++;
  }

  newValue(): Value {
    return new Value(this, this.newSlot());
  }

  note(text: string): void {
    this.notes.push({ offset: this.code.offset, text });
  }

  source(operand: Operand, what: string): Source {
    return sourceOf(operand, this, what);
  }

  /** An address operand; a known one is also remembered as touched. */
  address(gpa: Operand, size: Operand, what: string): Source {
    if (gpa instanceof Value) return this.source(gpa, `${what} gpa`);
    const { gpa: start, size: length } =
      size instanceof Value ? { gpa: toGpa(gpa, `${what} gpa`), size: 1 } : toRange(gpa, size, what);
    this.touched.push({ gpa: withoutAlias(start), size: length });
    return this.source(gpa, `${what} gpa`);
  }

  compute(operation: BinaryOperation, left: Value, right: Operand): Value {
    const sources = [this.source(left, operation), this.source(right, operation)] as const;
    this.note(operation);
    const result = this.newValue();
    this.code.binary(operation, result.slot, ...sources);
    return result;
  }

  assign(variable: Variable, value: Operand): void {
    const source = this.source(value, 'set');
    this.note('set');
    this.code.move(variable.slot, source);
  }

  variable(initial: Operand): Variable {
    const source = this.source(initial, 'variable');
    this.note('variable');
    const variable = new Variable(this, this.newSlot());
    this.code.move(variable.slot, source);
    return variable;
  }
}
