/** A table whose cells may take several lines, so that it fits a terminal. */
import { visibleWidth, withoutColours } from './table.ts';

/** The words of a cell. Lines break between them only. */
export type GridCell = readonly string[];

const joined = (words: GridCell): string =>
  words.reduce((line, word) => line + (line === '' || /[-_]$/.test(withoutColours(line)) ? '' : ' ') + word, '');

function wrap(words: GridCell, width: number): string[] {
  const lines: string[] = [];
  let line: string[] = [];
  for (const word of words) {
    if (line.length > 0 && visibleWidth(joined([...line, word])) > width) {
      lines.push(joined(line));
      line = [];
    }
    line.push(word);
  }
  if (line.length > 0) lines.push(joined(line));
  return lines;
}

/** A name that may break after its hyphens: `guest-`, `memfd-`, `mmap`. */
export const breakable = (name: string): GridCell => name.split(/(?<=[-_])/);

/** Column widths: what each would like, less where it does not fit, never less than its longest word. */
function widthsFor(rows: readonly (readonly GridCell[])[], room: number): number[] {
  const columns = Math.max(...rows.map((row) => row.length));
  const all = Array.from({ length: columns }, (_, i) => rows.map((row) => row[i] ?? []));
  const liked = all.map((cells) => Math.max(...cells.map((words) => visibleWidth(joined(words)))));
  const widths = all.map((cells) => Math.max(...cells.flatMap((words) => words.map(visibleWidth)), 1));
  let left = Math.max(0, room - widths.reduce((sum, width) => sum + width, 0));
  const name = Math.min(left, (liked[0] ?? 0) - (widths[0] ?? 0));
  widths[0] = (widths[0] ?? 0) + name;
  left -= name;
  // Names first, then the narrowest, so that no column starves.
  while (left > 0) {
    const needy = widths.map((width, i) => ({ i, width })).filter(({ i, width }) => width < (liked[i] ?? 0));
    const next = needy.sort((a, b) => a.width - b.width)[0];
    if (next === undefined) break;
    widths[next.i] = next.width + 1;
    left--;
  }
  return widths;
}

/** Lines of text, at most `width` wide where the longest words allow it. `apart`: a blank line between rows, where any takes several. */
export function textGrid(
  rows: readonly (readonly GridCell[])[],
  width: number,
  spacing: 'close' | 'apart' = 'close',
): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const roomy = widthsFor(rows, width - 2 * (columns - 1));
  const gap = roomy.reduce((sum, w) => sum + w, 0) + 2 * (columns - 1) <= width ? '  ' : ' ';
  const widths = gap === '  ' ? roomy : widthsFor(rows, width - (columns - 1));
  const blocks = rows.map((row) => {
    const cells = widths.map((w, i) => wrap(row[i] ?? [], w));
    const height = Math.max(1, ...cells.map((lines) => lines.length));
    return Array.from({ length: height }, (_, y) =>
      cells
        .map((cell, i) => {
          const text = cell[y] ?? '';
          return text + ' '.repeat(Math.max(0, (widths[i] ?? 0) - visibleWidth(text)));
        })
        .join(gap)
        .trimEnd(),
    );
  });
  const several = blocks.some((lines) => lines.length > 1);
  return blocks.flatMap((lines, i) => (spacing === 'apart' && several && i > 0 ? ['', ...lines] : lines));
}

/** Words of a text in lines of at most `width`, each after `indent`. */
export function fold(text: string, width: number, indent = ''): string[] {
  return wrap(text.split(/\s+/).filter(Boolean), Math.max(20, width - indent.length)).map((line) => indent + line);
}
