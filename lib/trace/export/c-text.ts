/** C as text: numbers, strings and comments that stay what they are whatever a file holds. */

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** An integer literal. */
export function literal(value: number | bigint): string {
  if (value < 0) {
    // The least number has no literal of its own: its magnitude does not fit.
    return value === -(2n ** 63n) ? '(-0x7fffffffffffffff - 1)' : `-${literal(-value)}`;
  }
  return value < 10 ? String(value) : hex(value);
}

/** A string literal. Octal escapes end after three digits, whatever follows. */
export function quote(text: string): string {
  const bytes = [...Buffer.from(text, 'utf8')].map((byte) => {
    const char = String.fromCharCode(byte);
    // A question mark could begin a trigraph.
    if (char === '"') return '\\"';
    return /[ !#->@-[\]-~]/.test(char) ? char : `\\${byte.toString(8).padStart(3, '0')}`;
  });
  return `"${bytes.join('')}"`;
}

const MOST_COMMENT = 400;
const MOST_MESSAGE = 140;

/** The text of a comment of either kind: nothing that ends it, continues it or moves a terminal. */
export function comment(text: string): string {
  const plain = text
    .replace(/[^ -~]/g, '.')
    .replace(/\\|\?\?/g, '.')
    .replace(/\*\/|\/\*/g, '..');
  return plain.length > MOST_COMMENT ? `${plain.slice(0, MOST_COMMENT)} ...` : plain;
}

/** Text inside a message of the program: a string literal's contents that printf takes as they are. */
export const message = (text: string): string =>
  quote(text.length > MOST_MESSAGE ? `${text.slice(0, MOST_MESSAGE)}...` : text);

export const indent = (lines: readonly string[], by = '\t'): string[] =>
  lines.map((line) => (line === '' ? '' : by + line));
