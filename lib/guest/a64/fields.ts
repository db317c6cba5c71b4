/** The numbers in an instruction's fields, by their names in the pattern. */

export type Fields = Readonly<Record<string, number>>;

/** Why an operand does not fit a form: `shape` is another kind of operand, `range` the right kind with a number that does not fit. */
export class Mismatch {
  readonly why: 'shape' | 'range';
  readonly text: string;

  constructor(why: 'shape' | 'range', text: string) {
    this.why = why;
    this.text = text;
  }
}

/** A signed number of a field's width, as the field holds it. */
export function signedField(value: number, width: number): number | undefined {
  const limit = 2 ** (width - 1);
  if (!Number.isInteger(value) || value < -limit || value >= limit) return undefined;
  return value < 0 ? value + 2 * limit : value;
}

export const signExtend = (value: number, width: number): number =>
  value >= 2 ** (width - 1) ? value - 2 ** width : value;
