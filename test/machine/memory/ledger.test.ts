/** The ledger against a list with an entry for each page. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Side } from '../../../lib/machine/index.ts';
import { Ledger } from '../../../lib/machine/memory/ledger.ts';

const PAGE = 4096;
const PAGES = 48;

type Entry = Side | undefined;
const range = fc
  .tuple(fc.nat(PAGES - 1), fc.integer({ min: 1, max: PAGES }))
  .map(([from, length]) => ({ from, to: Math.min(PAGES, from + length) }));
const step = fc.record({ range, side: fc.constantFrom<Entry>('private', 'shared', undefined) });

/** Runs of the model, as the ledger ought to give them. */
function runsOf(model: readonly Entry[], from: number, to: number): { gpa: number; size: number; side: Side }[] {
  const runs: { gpa: number; size: number; side: Side }[] = [];
  for (let page = from; page < to; page++) {
    const side = model[page];
    if (side === undefined) continue;
    const last = runs[runs.length - 1];
    if (last?.side === side && last.gpa + last.size === page * PAGE) last.size += PAGE;
    else runs.push({ gpa: page * PAGE, size: PAGE, side });
  }
  return runs;
}

it('says what a list of pages says, in as few runs as there are', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), range, (steps, asked) => {
      const ledger = new Ledger();
      const model: Entry[] = new Array<Entry>(PAGES).fill(undefined);
      for (const { range: r, side } of steps) {
        ledger.set({ gpa: r.from * PAGE, size: (r.to - r.from) * PAGE }, side);
        model.fill(side, r.from, r.to);
        expect(ledger.runs()).toEqual(runsOf(model, 0, PAGES));
      }
      for (let page = 0; page < PAGES; page++) {
        expect(ledger.sideAt(page * PAGE)).toBe(model[page]);
        expect(ledger.sideAt(page * PAGE + PAGE - 1)).toBe(model[page]);
      }
      expect(ledger.runs({ gpa: asked.from * PAGE, size: (asked.to - asked.from) * PAGE })).toEqual(
        runsOf(model, asked.from, asked.to),
      );
      expect(ledger.bytes('private')).toBe(model.filter((side) => side === 'private').length * PAGE);
      // One entry for each change, the end of each run included.
      const changes = model.filter((side, page) => side !== model[page - 1]).length;
      expect(ledger.fragments).toBe(changes + (model[PAGES - 1] === undefined ? 0 : 1));
    }),
    { numRuns: 300 },
  );
});

it('takes no room for what it does not say', () => {
  const ledger = new Ledger();
  ledger.set({ gpa: 0, size: 2 ** 40 }, 'private');
  for (let i = 0; i < 1000; i++) ledger.set({ gpa: i * PAGE, size: PAGE }, 'shared');
  ledger.set({ gpa: 0, size: 2 ** 40 }, undefined);
  expect(ledger.fragments).toBe(0);
});
