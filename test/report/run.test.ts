import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { MemoryRun, MemoryState } from '../../lib/lifecycle/words.ts';
import { findingOf } from '../../lib/report/findings.ts';
import { runId, segmentName, segmentsOf, stateOf } from '../../lib/report/run.ts';
import { runOf, stepOf } from '../support/steps.ts';

const PAGE = 4096;
const STATES: readonly MemoryState[] = ['private', 'shared', 'unbacked', 'faulting'];

/** States of pages as runs of alike ones. */
function runsOf(pages: readonly MemoryState[]): MemoryRun[] {
  const runs: { offset: number; length: number; state: MemoryState }[] = [];
  pages.forEach((state, i) => {
    const last = runs.at(-1);
    if (last?.state === state) last.length += PAGE;
    else runs.push({ offset: i * PAGE, length: PAGE, state });
  });
  return runs;
}

test('segments give every page its state at every step, and no two neighbours are alike throughout', () => {
  const memory = fc.array(fc.array(fc.constantFrom(...STATES), { minLength: 12, maxLength: 12 }), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(memory, (pages) => {
      const steps = pages.map((states) => stepOf({ memory: runsOf(states) }));
      const segments = segmentsOf(steps);
      expect(segments.reduce((sum, { length }) => sum + length, 0)).toBe(12 * PAGE);
      const columns = segments.map((segment) => steps.map(({ memory }) => stateOf(memory, segment)).join());
      segments.forEach(({ offset, length }, at) => {
        for (let page = offset / PAGE; page < (offset + length) / PAGE; page++)
          expect(pages.map((states) => states[page]).join()).toBe(columns[at]);
        if (at > 0) expect(columns[at]).not.toBe(columns[at - 1]);
      });
    }),
  );
});

test('a fault laid over a run counts; a step without memory has no state', () => {
  const memory: MemoryRun[] = [
    { offset: 0, length: 4 * PAGE, state: 'private' },
    { offset: PAGE, length: PAGE, state: 'faulting' },
  ];
  const steps = [stepOf(), stepOf({ memory })];
  expect(segmentsOf(steps).map((segment) => [segmentName(segment), stateOf(memory, segment)])).toEqual([
    ['page 0', 'private'],
    ['page 1', 'faulting'],
    ['pages 2 to 3', 'private'],
  ]);
  expect(stateOf(undefined, { offset: 0, length: PAGE })).toBeUndefined();
  expect(segmentsOf([stepOf()])).toEqual([]);
  expect(segmentName({ offset: 16, length: 32 })).toBe('bytes 0x10 to 0x2f');
});

test.each([
  ['ok', 'kernel', 'done'],
  ['ok', 'library', 'done'],
  ['ok', 'nobody', 'nobody'],
  ['refused', 'kernel', 'refused'],
  ['refused', 'library', 'convention'],
  ['fault', 'kernel', 'fault'],
  ['lost', 'nobody', 'lost'],
  ['unsupported', 'kernel', 'unsupported'],
] as const)('%s, enforced by %s, is the finding %s', (outcome, enforcedBy, finding) => {
  expect(findingOf({ outcome, enforcedBy })).toBe(finding);
});

test('ids hold what an id may hold, and differ where names do', () => {
  const ids = ['a b', 'a_b', 'a-b', 'ab"'].map((design) => runId(runOf({ design })));
  expect(new Set(ids).size).toBe(4);
  for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]+$/);
});
