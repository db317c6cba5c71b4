/** Every call of a conversion fails once, and the undoing after it too. The ledger must say what the guest sees. */
import { afterEach, describe, expect, it } from 'vitest';
import { KernelError } from '../../../lib/index.ts';
import { ConversionError, type Policy, type Side } from '../../../lib/machine/index.ts';
import { PAGE, pagesOf, RAM, World } from './world.ts';

const SIZE = 16 * PAGE;
const whole = { gpa: RAM, size: SIZE };
/** Three calls that convert, three that punch. */
const RANGES = [
  { gpa: RAM, size: 2 * PAGE },
  { gpa: RAM + 4 * PAGE, size: PAGE },
  { gpa: RAM + 8 * PAGE, size: 3 * PAGE },
];
const converted = new Set(RANGES.flatMap(pagesOf));
/** On the shared side of every page, by the host's own mapping. No private page holds it. */
const MARK = 0x5a5a_5a5a_5a5a_5a5an;

let world: World;
afterEach(() => world.close());

function build(initial: Side): void {
  world = new World();
  world.memory.addRam({ name: 'ram', gpa: RAM, size: SIZE, shared: 'memfd', private: true, initial });
}

/** Which side the guest gets at each page: asked of the guest. */
function sidesOfGuest(): Side[] {
  const { mapping } = world.memory.region('ram');
  for (let offset = 0; offset < SIZE; offset += PAGE) mapping.writeU64(offset, MARK);
  return world.guestWords(pagesOf(whole)).map((word) => (word === MARK ? 'shared' : 'private'));
}

const sidesOfLedger = (): (Side | undefined)[] => pagesOf(whole).map((gpa) => world.memory.ledger.sideAt(gpa));

function failed(to: Side, policy: Policy): ConversionError {
  try {
    world.memory.convert(RANGES, to, policy);
  } catch (error) {
    if (error instanceof ConversionError) return error;
    throw error;
  }
  throw new Error('the conversion went through');
}

const policies: readonly Policy[] = ['discard-left', 'discard-first', 'discard-entered', 'keep'];
const sides: readonly Side[] = ['private', 'shared'];
const cases = policies.flatMap((policy) => sides.map((to) => ({ policy, to })));

describe.each(cases)('$policy to $to', ({ policy, to }) => {
  const from: Side = to === 'private' ? 'shared' : 'private';
  const punches = policy === 'keep' ? 0 : 3;
  const calls = 3 + punches;

  it('makes the calls of its plan', () => {
    build(from);
    world.faults.arm(() => false);
    const plan = world.memory.plan(RANGES, to, policy);
    expect(world.faults.count).toBe(0);
    const receipt = world.memory.convert(RANGES, to, policy);
    expect(world.faults.count).toBe(calls);
    expect(receipt.calls).toEqual(plan.calls.map((call) => ({ ...call, outcome: 'done' })));
    expect(sidesOfGuest()).toEqual(pagesOf(whole).map((gpa) => (converted.has(gpa) ? to : from)));
  });

  it.each(Array.from({ length: calls }, (_, i) => i + 1))('call %i fails', (nth) => {
    build(from);
    world.faults.arm((call) => call === nth);
    const error = failed(to, policy);
    expect(error.cause).toBeInstanceOf(KernelError);
    expect(error.receipt.calls.filter(({ outcome }) => outcome === 'failed')).toHaveLength(1);
    const stands = policy === 'discard-left' && nth > 3;
    expect(error.end).toBe(stands ? 'incomplete' : 'undone');
    expect(sidesOfLedger()).toEqual(pagesOf(whole).map((gpa) => (stands && converted.has(gpa) ? to : from)));
    expect(sidesOfGuest()).toEqual(sidesOfLedger());
    // Each call that was made is in the receipt.
    expect(error.receipt.calls).toHaveLength(world.faults.count);
    const punched = error.receipt.calls.filter(({ does, outcome }) => does === 'discard' && outcome === 'done');
    const lost = policy === 'discard-first' ? punched.map(({ gpa, size }) => ({ gpa, size })) : [];
    expect(error.lost).toEqual(lost);
  });

  it.each([2, 3].map((nth) => nth + (policy === 'discard-left' ? 0 : punches)))(
    'call %i fails, and undoing it as well',
    (nth) => {
      build(from);
      world.faults.arm((call) => call === nth || call === nth + 1);
      const error = failed(to, policy);
      expect(error.end).toBe('torn');
      // Undone from the last on: that one could not be taken back, those before it could.
      const kept = new Set(pagesOf(RANGES[nth - (policy === 'discard-left' ? 0 : punches) - 2] ?? whole));
      expect(sidesOfLedger()).toEqual(pagesOf(whole).map((gpa) => (kept.has(gpa) ? to : from)));
      expect(sidesOfGuest()).toEqual(sidesOfLedger());
    },
  );

  it('goes through when it is tried again', () => {
    build(from);
    world.faults.arm((call) => call === 2);
    failed(to, policy);
    world.faults.arm(() => false);
    world.memory.convert(RANGES, to, policy);
    expect(sidesOfGuest()).toEqual(pagesOf(whole).map((gpa) => (converted.has(gpa) ? to : from)));
    expect(sidesOfGuest()).toEqual(sidesOfLedger());
  });
});

it('gives back a checkerboard as it was, although one call converted it', () => {
  build('private');
  const odd = pagesOf(whole).filter((gpa) => (gpa / PAGE) % 2 === 1);
  world.memory.convert(
    odd.map((gpa) => ({ gpa, size: PAGE })),
    'shared',
  );
  const before = sidesOfLedger();
  world.faults.arm((call) => call === 2);
  // One call for all of it, then nine punches of which the first fails: that stands. So a veto, which does not.
  const off = world.memory.on('populate', ({ side }) => {
    if (side === 'shared') throw new Error('no room in the IOMMU');
  });
  world.faults.arm(() => false);
  expect(() => world.memory.convert(whole, 'shared')).toThrow(/undone: no room in the IOMMU/);
  off();
  expect(sidesOfLedger()).toEqual(before);
  expect(sidesOfGuest()).toEqual(before);
});
