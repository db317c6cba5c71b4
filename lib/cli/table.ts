/** Columns of text, aligned. */

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

export const withoutColours = (text: string): string => text.replace(ESCAPES, '');
/** Escape sequences for colours take no room. */
export const visibleWidth = (text: string): number => withoutColours(text).length;
// biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence starts with one.
const ESCAPES = /\u001b\[[0-9;]*m/g;

export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, i) => Math.max(...all.map((row) => visibleWidth(row[i] ?? ''))));
  return all.map((row) =>
    columns
      .map(({ align }, i) => {
        const cell = row[i] ?? '';
        const fill = ' '.repeat(Math.max(0, (widths[i] ?? 0) - visibleWidth(cell)));
        return align === 'right' ? fill + cell : cell + fill;
      })
      .join('  ')
      .trimEnd(),
  );
}
