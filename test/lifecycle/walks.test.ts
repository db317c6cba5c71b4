/**
 * Lifecycles in any order: no walk ends in an undefined state or leaves anything behind, and who is said to have enforced a rule did enforce it. What
 * the library refuses is asked of the kernel too, with the library's guard off: a rule that the kernel has must be the kernel's.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { simulationCandidate } from '../../lib/kernel/candidates.ts';
import type { Sys } from '../../lib/kernel/sys.ts';
import { lifecycleObstacle } from '../../lib/lifecycle/lifecycle.ts';
import { DESIGN_NAMES, needOf, TECHNOLOGY_NAMES } from '../../lib/lifecycle/pairs.ts';
import { WALK_STEPS, Walk, type WalkStep } from '../../lib/lifecycle/walk.ts';
import type { State, Step } from '../../lib/lifecycle/words.ts';
import { hostState } from '../support/host-state.ts';
import { describeKvm, SHARED_GMEM } from '../support/kvm.ts';

/** Walks for each pair; PRIVMEM_WALKS=1000 for a longer look, PRIVMEM_SEED to repeat one. */
const RUNS = Number(process.env.PRIVMEM_WALKS ?? 8);
const SEED = process.env.PRIVMEM_SEED;
const SIZE = 8 * 4096;

const NEXT: Readonly<Record<State, readonly State[]>> = {
  none: ['unbound', 'brand-new'],
  unbound: ['unbound', 'bound', 'closed'],
  'brand-new': ['brand-new', 'bound', 'closed'],
  bound: ['bound', 'initialized', 'closed'],
  initialized: ['initialized', 'closed'],
  closed: [],
};
const refusedByKernel = ({ outcome, enforcedBy }: Step): boolean => outcome === 'refused' && enforcedBy === 'kernel';
const OUTCOMES = ['ok', 'refused', 'fault', 'lost', 'unsupported'];

interface Pair {
  readonly design: string;
  readonly technology: string;
}

async function play(sys: Sys, pair: Pair, steps: readonly WalkStep[], guards: boolean): Promise<readonly Step[]> {
  const walk = await Walk.open(sys, { ...pair, size: SIZE, guards });
  try {
    for (const step of steps) await walk.do(step);
  } finally {
    await walk.close();
  }
  return walk.steps;
}

function checkRecords(steps: readonly Step[]): void {
  for (const [i, step] of steps.entries()) {
    expect(NEXT[step.from]).toContain(step.to);
    expect(step.from).toBe(steps[i - 1]?.to ?? 'none');
    expect(OUTCOMES).toContain(step.outcome);
    // Only what goes through changes the state.
    if (step.outcome !== 'ok' && step.outcome !== 'lost') expect(step.to).toBe(step.from);
    // A refusal by the kernel has an errno, one by the library has none.
    if (step.outcome === 'refused')
      expect([step.enforcedBy, step.errno === undefined]).toContainEqual(step.enforcedBy === 'library');
    const covered = (step.memory ?? []).reduce((sum, { length }) => sum + length, 0);
    if (step.memory !== undefined) expect(covered).toBe(SIZE);
  }
  expect(steps.at(-1)).toMatchObject({ name: 'close', to: 'closed', outcome: 'ok' });
}

/** Runs a walk with and without the library's guard, on kernels that `fresh` gives, and holds the two together. */
async function checkWalk(fresh: () => Sys, pair: Pair, steps: readonly WalkStep[]): Promise<void> {
  const sys = fresh();
  const before = hostState(sys);
  const guarded = await play(sys, pair, steps, true);
  checkRecords(guarded);
  expect(hostState(sys)).toEqual(before);
  const ran = guarded.slice(1, -1);
  // What the kernel enforced with the guard on, it enforces with the guard off: the same steps, without those that the library stopped.
  const through = ran.filter(({ enforcedBy, outcome }) => !(outcome === 'refused' && enforcedBy === 'library'));
  const bare = (
    await play(
      fresh(),
      pair,
      through.map(({ name }) => name as WalkStep),
      false,
    )
  ).slice(1, -1);
  expect(bare.filter(refusedByKernel).map(({ name, errno }) => `${name} ${errno}`)).toEqual(
    through.filter(refusedByKernel).map(({ name, errno }) => `${name} ${errno}`),
  );
  // The first thing that the library stopped: with the guard off the kernel lets it through, or there is nothing to ask the kernel.
  const stopped = ran.findIndex(({ enforcedBy, outcome }) => outcome === 'refused' && enforcedBy === 'library');
  if (stopped < 0) return;
  const prefix = ran.slice(0, stopped + 1).map(({ name }) => name as WalkStep);
  const asked = (await play(fresh(), pair, prefix, false)).at(-2);
  // To fill takes a mapping, which is what the library stopped, and then a launch command, whose refusal is another matter.
  const sameRequest = asked?.name !== 'fill' || asked.detail.startsWith('mmap');
  expect([prefix, asked?.name, asked === undefined || (sameRequest && refusedByKernel(asked)), asked?.detail]).toEqual([
    prefix,
    prefix.at(-1),
    false,
    asked?.detail,
  ]);
}

/** Steps in the right order most of the time, so that walks get somewhere. */
const ORDER: readonly WalkStep[] = [
  'bind',
  'fill',
  'drop-mappings',
  'complete',
  'guest-reads',
  'to-shared',
  'to-private',
];
const anyStep = fc.constantFrom(...WALK_STEPS);
const steps = fc
  .tuple(
    fc.array(fc.tuple(fc.boolean(), anyStep), { minLength: ORDER.length, maxLength: ORDER.length }),
    fc.array(anyStep, { maxLength: 6 }),
  )
  .map(([mixed, rest]) => [...ORDER.flatMap((step, i) => (mixed[i]?.[0] ? [mixed[i][1], step] : [step])), ...rest]);
const scattered = fc.array(anyStep, { minLength: 1, maxLength: 12 });
const walks = fc.oneof(steps, scattered);

const parameters = { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) };

const PAIRS: readonly Pair[] = DESIGN_NAMES.flatMap((design) =>
  TECHNOLOGY_NAMES.map((technology) => ({ design, technology })),
);

/** Pairs that the simulation carries out. */
const simulated = PAIRS.filter(({ design, technology }) => {
  try {
    const sys = simulationCandidate().open(needOf(design, technology));
    return lifecycleObstacle(sys, { design, technology }) === undefined;
  } catch {
    return false;
  }
});

describe('random walks on the simulation', () => {
  it('there are pairs of every design and technology', () => {
    expect(new Set(simulated.map(({ design }) => design)).size).toBe(DESIGN_NAMES.length);
    expect(new Set(simulated.map(({ technology }) => technology)).size).toBe(TECHNOLOGY_NAMES.length);
  });

  it.each(simulated)('$design × $technology', { timeout: 120_000 }, async (pair) => {
    const fresh = (): Sys => simulationCandidate().open(needOf(pair.design, pair.technology));
    await fc.assert(
      fc.asyncProperty(walks, (walk) => checkWalk(fresh, pair, walk)),
      parameters,
    );
  });
});

describeKvm(
  'random walks on the kernel at hand',
  ({ sys }) => {
    it.each(
      PAIRS.filter(({ technology }) => technology === 'none').filter(
        (pair) => lifecycleObstacle(sys, pair) === undefined,
      ),
    )('$design × $technology', { timeout: 120_000 }, async (pair) => {
      await fc.assert(
        fc.asyncProperty(walks, (walk) => checkWalk(() => sys, pair, walk)),
        parameters,
      );
    });
  },
  { arch: 'x64', ...SHARED_GMEM },
);

describe('a walk', () => {
  const open = (design: string, technology: string, guards: boolean): Promise<Walk> =>
    Walk.open(simulationCandidate().open(needOf(design, technology)), { design, technology, guards, size: SIZE });

  it('says in which state what was refused, and what is allowed', async () => {
    const walk = await open('unbound-first', 'none', true);
    const step = await walk.do('host-reads');
    expect(step).toMatchObject({ outcome: 'refused', enforcedBy: 'library', from: 'unbound', to: 'unbound' });
    expect(step.detail).toMatch(/map in state unbound.*allowed now: bind, close/);
    await walk.close();
    await expect(walk.do('bind')).rejects.toMatchObject({
      name: 'StateError',
      state: 'closed',
      step: 'bind',
      allowed: [],
    });
  });

  it('without guards the library refuses nothing, and what goes through was never the kernel’s rule', async () => {
    const walk = await open('unbound-first', 'none', false);
    expect(await walk.do('host-reads')).toMatchObject({ outcome: 'ok', enforcedBy: 'nobody' });
    await walk.close();
    const private_ = await open('unbound-first', 'tdx', false);
    expect(await private_.do('host-reads')).toMatchObject({
      outcome: 'refused',
      errno: 'ENODEV',
      enforcedBy: 'kernel',
    });
    await private_.close();
  });
});
