/**
 * Conversions against a model with an entry for each page: sides, and contents of both sides under every policy, also when calls fail. What the
 * kernel has is what the guest sees: the model is compared with that, not with what the library says of itself.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ConversionError, type Policy, type Side } from '../../../lib/machine/index.ts';
import { PAGE, pagesOf, RAM, World } from './world.ts';

const PAGES = 24;
/** Two regions that touch, the second in the same private file, then a hole, then a third one. */
const LAYOUT = [
  { name: 'a', first: 0, pages: 8 },
  { name: 'b', first: 8, pages: 8 },
  { name: 'c', first: 20, pages: 4 },
] as const;
const isHole = (page: number): boolean => page >= 16 && page < 20;

interface Page {
  side: Side;
  readonly words: Record<Side, bigint>;
}

const policies: readonly Policy[] = ['discard-left', 'discard-first', 'discard-entered', 'keep'];
const step = fc.record({
  ranges: fc.array(fc.tuple(fc.nat(PAGES - 1), fc.integer({ min: 1, max: 10 })), { minLength: 1, maxLength: 3 }),
  to: fc.constantFrom<Side>('private', 'shared'),
  policy: fc.constantFrom(...policies),
  /** The guest stores a new word in these before. */
  stores: fc.array(fc.nat(PAGES - 1), { maxLength: 3 }),
  /** The call that fails; 0 for none. */
  fails: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 6 }) }),
});

function build(initial: Side, options: { readonly oneFile: boolean; readonly inPlace: boolean }): World {
  const world = new World(options.inPlace ? { patches: ['in-place-v8'] } : {});
  const flags = options.inPlace ? { mmap: true, initShared: initial === 'shared' } : {};
  const file = options.oneFile ? world.vm.createGuestMemfd(PAGES * PAGE, flags) : undefined;
  for (const { name, first, pages } of LAYOUT) {
    world.memory.addRam({
      name,
      gpa: RAM + first * PAGE,
      size: pages * PAGE,
      shared: options.inPlace ? 'guest-memfd' : 'memfd',
      private: file === undefined ? true : { file, offset: first * PAGE },
      initial,
    });
  }
  return world;
}

const at = (page: number): number => RAM + page * PAGE;

it.each([
  { inPlace: false, oneFile: false },
  { inPlace: false, oneFile: true },
  { inPlace: true, oneFile: false },
  { inPlace: true, oneFile: true },
])(
  'in place $inPlace, one file $oneFile: the guest sees what the ledger and the policies say',
  ({ inPlace, oneFile }) => {
    fc.assert(
      fc.property(
        fc.constantFrom<Side>('private', 'shared'),
        fc.array(step, { minLength: 1, maxLength: 6 }),
        (initial, steps) => {
          const world = build(initial, { inPlace, oneFile });
          try {
            const model: Page[] = Array.from({ length: PAGES }, () => ({
              side: initial,
              words: { private: 0n, shared: 0n },
            }));
            // In one backing a page has one content, whatever its side.
            if (inPlace)
              for (const page of model)
                Object.defineProperty(page.words, 'shared', {
                  get: () => page.words.private,
                  set: (v: bigint) => {
                    page.words.private = v;
                  },
                });
            let next = 1n;
            for (const { ranges, to, policy, stores, fails } of steps) {
              const words = new Map<number, bigint>();
              for (const page of stores.filter((p) => !isHole(p))) {
                const entry = model[page];
                if (entry === undefined) continue;
                entry.words[entry.side] = next;
                words.set(at(page), next++);
              }
              world.guestStores(words);
              const asked = ranges.map(([from, pages]) => ({
                gpa: at(from),
                size: Math.min(pages, PAGES - from) * PAGE,
              }));
              const pages = [
                ...new Set(asked.flatMap((range) => pagesOf(range).map((gpa) => (gpa - RAM) / PAGE))),
              ].filter((p) => !isHole(p));
              const changed = pages.map((p) => model[p]).filter((p) => p !== undefined && p.side !== to) as Page[];
              const from: Side = to === 'private' ? 'shared' : 'private';
              const punched: Side | undefined =
                policy === 'keep' || (inPlace && policy === 'discard-left')
                  ? undefined
                  : policy === 'discard-entered'
                    ? to
                    : from;
              world.faults.arm((call) => call === fails);
              let error: unknown;
              try {
                const receipt = world.memory.convert(asked, to, { policy, holes: 'skip' });
                expect(receipt.bytes).toBe(changed.length * PAGE);
              } catch (thrown) {
                error = thrown;
              }
              world.faults.arm(() => false);
              if (error === undefined) {
                for (const page of changed) {
                  page.side = to;
                  if (punched !== undefined) page.words[punched] = 0n;
                }
                continue;
              }
              if (!(error instanceof ConversionError)) throw error;
              const done = (side: Side) =>
                error instanceof ConversionError
                  ? error.receipt.calls
                      .filter((c) => c.does === 'discard' && c.outcome === 'done' && c.side === side)
                      .flatMap((c) => pagesOf(c))
                  : [];
              // What was punched is gone, converted or not; nothing else is.
              for (const side of ['private', 'shared'] as const) {
                for (const gpa of done(side)) {
                  const page = model[(gpa - RAM) / PAGE];
                  if (page !== undefined) page.words[side] = 0n;
                }
              }
              expect(error.end).toBe(
                policy === 'discard-left' && error.receipt.calls.some((c) => c.does === 'discard')
                  ? 'incomplete'
                  : 'undone',
              );
              if (error.end === 'incomplete') for (const page of changed) page.side = to;
            }
            // Both sides, as the guest sees them: as it is, and after everything was turned over.
            const real = model.map((_, page) => page).filter((page) => !isHole(page));
            const seen = (): unknown => world.guestWords(real.map(at));
            const said = (): unknown => real.map((page) => world.memory.ledger.sideAt(at(page)));
            expect(said()).toEqual(real.map((page) => model[page]?.side));
            expect(seen()).toEqual(real.map((page) => model[page]?.words[model[page].side]));
            const whole = { gpa: RAM, size: PAGES * PAGE };
            for (const to of ['private', 'shared'] as const) {
              world.memory.convert(whole, to, { policy: 'keep', holes: 'skip' });
              expect(seen()).toEqual(real.map((page) => model[page]?.words[to]));
            }
          } finally {
            world.close();
          }
        },
      ),
      { numRuns: 60 },
    );
  },
);
