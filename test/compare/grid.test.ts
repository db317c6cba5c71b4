import fc from 'fast-check';
import { expect, test } from 'vitest';
import { visibleWidth, withoutColours } from '../../lib/cli/table.ts';
import { breakable, fold, textGrid } from '../../lib/cli/text-grid.ts';

const word = fc.stringMatching(/^[a-z]{1,9}$/);
const cell = fc.array(word, { maxLength: 5 });

test('a grid keeps every word, in order, and is as narrow as its longest words allow', () => {
  const rows = fc
    .integer({ min: 1, max: 7 })
    .chain((columns) =>
      fc.array(fc.array(cell, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 5 }),
    );
  fc.assert(
    fc.property(rows, fc.integer({ min: 20, max: 120 }), (grid, width) => {
      const lines = textGrid(grid, width);
      const words = (text: string) => text.split(/\s+/).filter(Boolean).sort();
      expect(words(lines.join(' '))).toEqual(words(grid.flat(2).join(' ')));
      const columns = grid[0]?.length ?? 0;
      const least = Array.from({ length: columns }, (_, i) =>
        Math.max(1, ...grid.flatMap((row) => (row[i] ?? []).map((text) => text.length))),
      ).reduce((sum, n) => sum + n, columns - 1);
      for (const line of lines) expect(visibleWidth(line)).toBeLessThanOrEqual(Math.max(width, least));
    }),
  );
});

test('columns are aligned, colours take no room, names break after hyphens', () => {
  const red = (text: string) => `\u001b[31m${text}\u001b[0m`;
  const grid = [
    [['design'], breakable('sw-protected'), ['tdx']],
    [['guest-memfd'], [red('ok'), 'sim', 'R12', 'F1'], ['—']],
  ];
  expect(textGrid(grid, 80)).toEqual(['design       sw-protected   tdx', `guest-memfd  ${red('ok')} sim R12 F1  —`]);
  // Painted or not, the parts of a name are joined without a space.
  const painted = [[['design'], breakable('sw-protected').map(red)]];
  expect(textGrid(painted, 80).map(withoutColours)).toEqual(['design  sw-protected']);
  expect(textGrid(grid, 28)).toEqual([
    'design       sw-         tdx',
    '             protected',
    `guest-memfd  ${red('ok')} sim R12  —`,
    '             F1',
  ]);
});

test('folded text keeps its words and its width', () => {
  fc.assert(
    fc.property(fc.array(word), fc.integer({ min: 20, max: 60 }), (words, width) => {
      const lines = fold(words.join(' '), width, '  ');
      expect(lines.map((line) => line.trim()).join(' ')).toBe(words.join(' '));
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(Math.max(width, 22));
    }),
  );
});
