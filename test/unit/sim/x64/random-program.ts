/** Random guest programs, made with the operations that users write them with. */
import fc from 'fast-check';
import { addressPattern, program } from '../../../../lib/guest/index.ts';
import type { X64Builder } from '../../../../lib/guest/x64/index.ts';
import { CODE } from './ram.ts';

const DATA = 0x1_8000;
const ROOM = 0x2000;
/** More than any exit list of one step: a failed check reports four numbers. */
export const EXITS_PER_STEP = 5;

type Step = (g: X64Builder) => unknown;

const number = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const anywhere = fc.integer({ min: DATA, max: DATA + ROOM });
const words = fc.integer({ min: 1, max: 32 }).map((count) => 8 * count);
const size = fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const);
const byte = fc.integer({ min: 0, max: 255 });
const pattern = fc.oneof(byte, number, number.map(addressPattern));
const binary = fc.constantFrom('add', 'sub', 'mul', 'and', 'or', 'xor', 'shl', 'shr');
const relation = fc.constantFrom('eq', 'ne', 'lt', 'le', 'gt', 'ge');

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(anywhere, number, size).map(
    ([at, value, of]): Step =>
      (g) => {
        g.store(at, value & ((1n << BigInt(8 * of)) - 1n), { size: of });
      },
  ),
  fc.tuple(anywhere, size).map(
    ([at, of]): Step =>
      (g) =>
        g.report(1, g.load(at, { size: of })),
  ),
  fc.tuple(anywhere, words, pattern).map(
    ([at, length, of]): Step =>
      (g) =>
        g.fill(at, length, of),
  ),
  fc.tuple(anywhere, fc.integer({ min: 1, max: 100 }), byte).map(
    ([at, length, of]): Step =>
      (g) =>
        g.fill(at, length, of),
  ),
  fc.tuple(anywhere, words, pattern).map(
    ([at, length, of]): Step =>
      (g) =>
        g.check(at, length, of),
  ),
  fc.tuple(anywhere, words).map(
    ([at, length]): Step =>
      (g) =>
        g.report(2, g.checksum(at, length)),
  ),
  fc.tuple(anywhere, anywhere, fc.integer({ min: 1, max: 100 })).map(
    ([to, from, length]): Step =>
      (g) =>
        g.copy(to, from, length),
  ),
  fc.tuple(anywhere, number).map(
    ([at, value]): Step =>
      (g) =>
        g.report(3, g.fetchAdd(at, value)),
  ),
  fc.tuple(anywhere, number, number).map(
    ([at, old, value]): Step =>
      (g) =>
        g.compareExchange(at, old, value),
  ),
  fc.tuple(number, number, binary).map(
    ([a, b, name]): Step =>
      (g) =>
        g.report(4, g.value(a)[name](b)),
  ),
  fc.tuple(number, number, relation).map(
    ([a, b, name]): Step =>
      (g) => {
        g.when(
          g.value(a)[name](b),
          () => g.report(5, 1),
          () => g.report(6, 0),
        );
      },
  ),
  fc.tuple(fc.integer({ min: 1, max: 40 }), anywhere).map(
    ([count, at]): Step =>
      (g) => {
        const sum = g.variable(0n);
        g.repeat(count, (i) => {
          sum.set(sum.add(i.mul(i)));
          g.store(i.mul(8).add(at), sum);
        });
        g.report(7, sum);
      },
  ),
  fc.constant((g: X64Builder) => g.touch(DATA, 2 * ROOM)),
);

export const guestSteps: fc.Arbitrary<readonly Step[]> = fc.array(step, { minLength: 1, maxLength: 8 });

/** The program's bytes, to be run at {@link CODE} in long mode. */
export function guestCode(steps: readonly Step[]): Uint8Array {
  return program({ arch: 'x64', base: CODE }, (g) => {
    for (const write of steps) write(g);
  }).bytes;
}
