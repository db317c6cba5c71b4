/** Explicit conversions as selftests carry them out: the guest asks, the host changes attributes, each side sees what it should. */
import { addressPattern, patternBytes, type Value, type Variable } from '../../../guest/index.ts';
import type { X64Builder } from '../../../guest/x64/builder.ts';
import type { Context } from '../../context.ts';
import { MAP_GPA_RANGE_BIT, type Request, serve } from '../../conversions.ts';
import type { Guest } from '../../guest.ts';
import { handedOver, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, HUGE, PAGE, PRIVATE_GUEST, type TwoSided, twoSided } from '../../two-sided.ts';

/** Parts of the area: offset and size in bytes. */
const RANGES: Readonly<Record<string, readonly [offset: number, size: number]>> = {
  first_4K: [0, PAGE],
  first_2M: [0, HUGE],
  second_4K: [PAGE, PAGE],
  '2M_from_4K_on': [PAGE, HUGE],
  last_4K_behind_2M: [HUGE, PAGE],
};
/** Bytes of an area: the range with something before or behind it. */
const areaOf = (offset: number, size: number): number => offset + size + (offset > 0 && size >= HUGE ? 0 : 4 * PAGE);
/** Seed of what the host writes. */
const LAST = 0xb2n;

interface Plan {
  /** Of the area, in bytes. */
  readonly area: number;
  readonly offset: number;
  readonly size: number;
  /** Free the side that is left. */
  readonly punch: boolean;
}

/** The host's part: attributes, and the file's pages as policy has it. */
function converter(memory: TwoSided, punch: boolean) {
  return ({ gpa, size, private: isPrivate }: Request): undefined => {
    const { file, slot } = memory;
    slot.vm.setMemoryAttributes(gpa, size, isPrivate ? 8 : 0);
    if (!punch) return;
    if (isPrivate) file.allocate(gpa - memory.gpa, size);
    else file.punchHole(gpa - memory.gpa, size);
  };
}

/** What the guest touches of each page: its first and its last word, or 2 MiB would take too long. */
const EDGE = 8;
/** Tag under which the guest reports the first word that is not as it should be; 0 when all are. */
const WRONG = 1;

function edges(g: X64Builder, gpa: Value | number, count: number, step: number, each: (at: Value) => void): void {
  g.repeat(count, (i) => {
    const page = i.mul(step).add(gpa);
    each(page);
    each(page.add(PAGE - EDGE));
  });
}

/** What the guest does: its words are their own addresses XOR a seed, or 0 for fresh memory. */
class Steps {
  readonly #g: X64Builder;
  readonly #wrong: Variable;

  constructor(g: X64Builder) {
    this.#g = g;
    this.#wrong = g.variable(0);
  }

  fill(gpa: number, size: number, seed: bigint): void {
    edges(this.#g, gpa, size / PAGE, PAGE, (at) => this.#g.store(at, at.xor(seed)));
  }

  check(gpa: Value | number, size: number, seed: bigint | 'zero', step = PAGE): void {
    edges(this.#g, gpa, size / PAGE, step, (at) => {
      const good = this.#g.load(at).eq(seed === 'zero' ? 0 : at.xor(seed));
      this.#g.when(
        good,
        () => {},
        () => this.#g.when(this.#wrong.eq(0), () => this.#wrong.set(at)),
      );
    });
  }

  /** The host's turn. */
  turn(): void {
    this.#g.report(WRONG, this.#wrong);
    turn(this.#g);
  }
}

function write(g: X64Builder, base: number, { area, offset, size, punch }: Plan): void {
  g.touch(base, area);
  const steps = new Steps(g);
  const [gpa, pages] = [base + offset, size / PAGE];
  const outside = (seed: bigint): void => {
    if (offset > 0) steps.check(base, offset, seed);
    if (offset + size < area) steps.check(gpa + size, area - offset - size, seed);
  };
  // Shared is the default, in both directions.
  steps.fill(base, area, 0xa1n);
  steps.turn();
  steps.check(base, area, LAST);
  // Private: the host sees nothing of it, and nothing else changes.
  g.mapGpaRange(gpa, pages, { private: true });
  steps.check(gpa, size, 'zero');
  steps.fill(gpa, size, 0xc3n);
  outside(LAST);
  steps.turn();
  // Every second page becomes shared again, and shows what the shared side held.
  g.repeat(Math.ceil(pages / 2), (i) => {
    const odd = i.mul(2 * PAGE).add(gpa);
    g.mapGpaRange(odd, 1, { private: false });
    steps.check(odd, PAGE, LAST);
  });
  steps.check(gpa + PAGE, Math.floor(pages / 2) * PAGE, 0xc3n, 2 * PAGE);
  // All of it: now the host is heard again everywhere.
  g.mapGpaRange(gpa, pages, { private: false });
  steps.check(base, area, LAST);
  steps.fill(base, area, 0xd4n);
  steps.turn();
  // And once more private: what was there before, unless the pages were freed. Half of them were, one by one, the others all at once.
  g.mapGpaRange(gpa, pages, { private: true });
  steps.check(gpa, size, punch ? 'zero' : 0xc3n);
  outside(0xd4n);
  g.mapGpaRange(gpa, pages, { private: false });
  steps.turn();
}

/** The shared side byte for byte: what the host wrote last, and over it the edges that the guest wrote. */
function expected(base: number, before: Uint8Array, seed: bigint): Uint8Array {
  const area = before.length;
  const bytes = before.slice();
  const pattern = patternBytes(base, area, addressPattern(seed));
  for (let page = 0; page < area; page += PAGE)
    for (const at of [page, page + PAGE - EDGE]) bytes.set(pattern.subarray(at, at + EDGE), at);
  return bytes;
}

/** @param at where the guest's area begins in the shared memory. */
async function carryOut(t: Context, guest: Guest, memory: TwoSided, plan: Plan, id = 0, at = 0): Promise<void> {
  const { shared } = memory;
  const { area } = plan;
  const base = memory.gpa + at;
  const convert = converter(memory, plan.punch);
  const next = async (when: string): Promise<void> => {
    const reports = handedOver(await serve(guest, convert, id));
    t.same(reports.get(WRONG), 0n, `address of the first wrong word in the guest's eyes ${when}`);
  };
  const sees = (bytes: Uint8Array, when: string): void =>
    t.same(shared.firstDifference(at, bytes), undefined, `first byte of the shared side that differs ${when}`);
  const before = new Uint8Array(area).fill(0x5a);
  shared.write(at, before);
  guest.load((g) => write(g, base, plan), id);
  await next('at first');
  sees(expected(base, before, 0xa1n), 'after the guest wrote it');
  const last = patternBytes(base, area, addressPattern(LAST));
  shared.write(at, last);
  await next('after the range became private');
  sees(last, 'after the guest wrote privately');
  await next('after the range became shared again');
  sees(expected(base, last, 0xd4n), 'after all of it is shared again');
  await next('in the end');
}

function prepare(t: Context) {
  const vm = t.vm();
  vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
  return vm;
}

export const conversionExplicit = topic(
  'conversion/explicit',
  {
    promise:
      'Documentation/virt/kvm/api.rst 4.140, 4.142, 7, KVM_CAP_EXIT_HYPERCALL; selftests private_mem_conversions_test, Linux 6.8',
    needs: { ...PRIVATE_GUEST, caps: { KVM_CAP_EXIT_HYPERCALL: MAP_GPA_RANGE_BIT } },
  },
  (scenario) => {
    for (const [words, [offset, size]] of Object.entries(RANGES)) {
      for (const punch of [false, true]) {
        scenario(`${words}${punch ? '_with_pages_freed' : ''}`, async (t) => {
          const vm = prepare(t);
          const area = areaOf(offset, size);
          const memory = twoSided(t, vm, { size: area, shared: t.anonymous(area, { shared: false }) });
          await carryOut(t, t.guest({ vm }), memory, { area, offset, size, punch });
          if (punch) t.same(memory.file.residency().cache, 0, 'pages of the file in the end');
        });
      }
    }

    scenario('several_vCPUs_over_one_file', async (t) => {
      const vm = prepare(t);
      const file = t.guestMemfd(vm, 60 * PAGE);
      const guest = t.guest({ vm });
      const memories = [0, 1, 2].map((i) =>
        // The areas follow each other in the file in another order than in the guest.
        twoSided(t, vm, { slot: i, gpa: AREA + i * HUGE, size: 20 * PAGE, file, offset: (2 - i) * 20 * PAGE }),
      );
      const plan = { area: 20 * PAGE, offset: PAGE, size: 16 * PAGE, punch: false };
      await Promise.all(memories.map((memory, i) => carryOut(t, guest, memory, plan, i)));
    });

    scenario('several_vCPUs_in_one_slot_with_pages_freed', async (t) => {
      const vm = prepare(t);
      const size = 3 * HUGE;
      const file = t.guestMemfd(vm, size);
      const shared = t.anonymous(size, { shared: false });
      const memory = twoSided(t, vm, { size, file, shared });
      const guest = t.guest({ vm });
      const plan = { area: 20 * PAGE, offset: PAGE, size: 16 * PAGE, punch: true };
      await Promise.all([0, 1, 2].map((i) => carryOut(t, guest, memory, plan, i, HUGE * i)));
    });
  },
);
