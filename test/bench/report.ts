/** Results as rows of text: aligned for a terminal, or as a table for the page in docs. */
import { type Host, hostLine } from './host.ts';
import type { ItemResult, Measured, Missing } from './rounds.ts';

export interface Document {
  readonly host: Host;
  readonly rounds: number;
  readonly batchMs: number;
  readonly unit: 'ns per operation';
  readonly items: readonly ItemResult[];
}

const TITLES = ['item', 'by', 'median', 'min', 'ratio to C', 'half of the rounds', 'aim', ''];
const LEFT_COLUMNS = 2;

const UNITS: readonly (readonly [size: number, name: string])[] = [
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
];

/** Three digits that matter. */
export function showTime(nanoseconds: number): string {
  const [size, name] = UNITS.find(([unit]) => nanoseconds >= unit) ?? [1, 'ns'];
  const value = nanoseconds / size;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${name}`;
}

function cells(title: string, result: Measured | Missing): string[] {
  if ('unsupported' in result) return [title, result.name, `unsupported: ${result.unsupported}`];
  const { name, median, min, ratio, aim, pass } = result;
  const compared =
    ratio === undefined || name === 'C'
      ? ['', '']
      : [ratio.median.toFixed(2), `${ratio.low.toFixed(2)} – ${ratio.high.toFixed(2)}`];
  const judged = aim === undefined ? ['', ''] : [`≤ ${aim.toFixed(2)}`, pass ? 'pass' : 'miss'];
  return [title, name, showTime(median), showTime(min), ...compared, ...judged];
}

/** The title stands in the first row of its item only. */
const rowsOf = (items: readonly ItemResult[]): string[][] =>
  items.flatMap(({ title, results }) => results.map((result, i) => cells(i === 0 ? title : '', result)));

const introduction = ({ host, rounds, batchMs }: Document): string =>
  `${hostLine(host)}; ${rounds} rounds, batches of about ${batchMs} ms.`;

export function asText(document: Document): string {
  const rows = [TITLES, ...rowsOf(document.items)];
  // Reasons run over the columns to their right, so they do not widen their own.
  const widths = TITLES.map((_, i) =>
    Math.max(...rows.map((row) => (row[i]?.startsWith('unsupported') ? 0 : (row[i] ?? '').length))),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, i) => (i < LEFT_COLUMNS ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  return [introduction(document), '', ...lines, ''].join('\n');
}

export function asMarkdown(document: Document): string {
  const row = (values: readonly string[]): string => `| ${values.join(' | ')} |`;
  const escaped = (cell: string): string => cell.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ');
  const body = rowsOf(document.items).map((values) => row(TITLES.map((_, i) => escaped(values[i] ?? ''))));
  const rule = row(TITLES.map((_, i) => (i < LEFT_COLUMNS ? '---' : '---:')));
  return [introduction(document), '', row(TITLES), rule, ...body].join('\n');
}

const MARKS = ['<!-- bench:start -->', '<!-- bench:end -->'] as const;

/** The page with the table between its marks replaced. RangeError when it lacks the marks. */
export function replaceBlock(page: string, block: string): string {
  const start = page.indexOf(MARKS[0]);
  const end = page.indexOf(MARKS[1]);
  if (start < 0 || end < start) throw new RangeError(`no ${MARKS.join(' … ')} in the page`);
  return `${page.slice(0, start + MARKS[0].length)}\n${block}\n${page.slice(end)}`;
}
