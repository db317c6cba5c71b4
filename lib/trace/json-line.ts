/** One line of a trace: values of JSON, checked. What is wrong is named by line and field. */

/** A file that is no trace, or a damaged one. */
export class TraceFormatError extends RangeError {
  /** From 1. */
  readonly line: number;
  /** `args[2]`, or empty for the whole line. */
  readonly field: string;

  constructor(file: string, line: number, field: string, problem: string) {
    super(`${file}:${line}: ${field === '' ? '' : `${field}: `}${problem}`);
    this.name = 'TraceFormatError';
    this.line = line;
    this.field = field;
  }
}

export type Json = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
};

/** One line. Every method names the field that it looks at. */
export class Line {
  readonly #file: string;
  readonly #number: number;

  constructor(file: string, number: number) {
    this.#file = file;
    this.#number = number;
  }

  fail(field: string, problem: string): never {
    throw new TraceFormatError(this.#file, this.#number, field, problem);
  }

  integer(value: unknown, field: string, least: number, most: number): number {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
      this.fail(field, `must be an integer between ${least} and ${most}, got ${shown(value)}`);
    }
    return value;
  }

  micros(value: unknown, field: string): number {
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
      this.fail(field, `must be a number of microseconds, got ${shown(value)}`);
    }
    return value;
  }

  text(value: unknown, field: string): string {
    if (typeof value !== 'string') this.fail(field, `must be a string, got ${shown(value)}`);
    return value;
  }

  /** A number, or a hexadecimal string for one that JSON's numbers cannot hold. */
  wide(value: unknown, field: string, least: bigint, end: bigint): number | bigint {
    let big: bigint | undefined;
    if (typeof value === 'number' && Number.isSafeInteger(value)) big = BigInt(value);
    else if (typeof value === 'string' && /^-?0x[0-9a-f]{1,16}$/.test(value)) {
      big = value.startsWith('-') ? -BigInt(value.slice(1)) : BigInt(value);
    }
    if (big === undefined || big < least || big >= end) {
      const most = `${(end - 1n).toString()}`;
      this.fail(field, `must be an integer between ${least} and ${most} (large ones as "0x…"), got ${shown(value)}`);
    }
    return typeof value === 'number' ? value : big;
  }

  bytes(value: unknown, field: string): Uint8Array {
    const base64 = isObject(value) ? value.base64 : undefined;
    if (typeof base64 !== 'string') this.fail(field, `must be {"base64": …}, got ${shown(value)}`);
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || base64.length % 4 !== 0) {
      this.fail(field, `is not base64: ${shown(base64)}`);
    }
    return new Uint8Array(Buffer.from(base64, 'base64'));
  }

  list(value: unknown, field: string): readonly unknown[] {
    if (!Array.isArray(value)) this.fail(field, `must be a list, got ${shown(value)}`);
    return value;
  }

  object(value: unknown, field: string): Json {
    if (!isObject(value)) this.fail(field, `must be an object, got ${shown(value)}`);
    return value;
  }
}
