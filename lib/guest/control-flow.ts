import type { ProgramFrame } from './frame.ts';
import type { CodeLabel } from './generator.ts';
import type { Integer } from './numbers.ts';
import type { Comparison, Operand, Variable } from './value.ts';
import { OPPOSITE, Value } from './value.ts';

/** Values, loops and branches: the part of a program that touches no memory but its own. */
export class ControlFlow {
  protected readonly frame: ProgramFrame;

  constructor(frame: ProgramFrame) {
    this.frame = frame;
  }

  /** A number as a value, for computing with. */
  value(number: Integer): Value {
    return this.frame.variable(number);
  }

  /** A value that can change. */
  variable(initial: Operand): Variable {
    return this.frame.variable(initial);
  }

  /** Runs `body` that many times with i = 0, 1, ...; `leave` ends the loop from inside. */
  repeat(count: Operand, body: (i: Value, leave: () => void) => void): void {
    this.frame.source(count, 'repeat count');
    // A copy, so that the body may change the variable that the count came from.
    const limit = count instanceof Value ? this.frame.variable(count) : count;
    const i = this.frame.variable(0);
    this.#loop(
      'repeat',
      () => i.ge(limit),
      (leave) => {
        body(i, leave);
        i.set(i.add(1));
      },
    );
  }

  /** Runs `body` for ever, or until it calls `leave`. */
  loopForever(body: (leave: () => void) => void): void {
    this.#loop('loopForever', undefined, body);
  }

  /** Runs `body` as long as the comparison holds; `condition` is evaluated before every round. */
  loopWhile(condition: () => Comparison, body: (leave: () => void) => void): void {
    const opposite = (): Comparison => negate(condition());
    this.#loop('loopWhile', opposite, body);
  }

  /** Runs one of two parts. */
  when(comparison: Comparison, then: () => void, otherwise?: () => void): void {
    const { code } = this.frame;
    const [not, end] = [code.label('otherwise'), code.label('end')];
    this.frame.note('when');
    this.#branch(negate(comparison), not);
    then();
    if (otherwise !== undefined) code.jump(end);
    code.bind(not);
    otherwise?.();
    code.bind(end);
  }

  #branch(comparison: Comparison, label: CodeLabel): void {
    const left = this.frame.source(comparison.left, 'comparison');
    this.frame.code.branch(comparison.relation, left, this.frame.source(comparison.right, 'comparison'), label);
  }

  #loop(name: string, until: (() => Comparison) | undefined, body: (leave: () => void) => void): void {
    const { code } = this.frame;
    const [again, end] = [code.label('again'), code.label('end')];
    this.frame.note(name);
    code.bind(again);
    if (until !== undefined) this.#branch(until(), end);
    body(() => code.jump(end));
    code.jump(again);
    code.bind(end);
  }
}

function negate(comparison: Comparison): Comparison {
  return { ...comparison, relation: OPPOSITE[comparison.relation] };
}
