/** Values and control flow of guest programs on the real vCPU. */
import { afterAll, describe, expect, it } from 'vitest';
import { DATA, Guest } from '../support/guest.ts';
import { describeKvm } from '../support/kvm.ts';

const MASK = (1n << 64n) - 1n;
const A = 0x8123_4567_89ab_cdefn;
const B = 0xfedc_ba98_7654_3210n;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describeKvm(
  'guest programs: values and control flow',
  ({ kvm }) => {
    const guest = new Guest(kvm);
    const { memory } = guest;
    afterAll(() => guest.close());

    describe('values', () => {
      it('computes as 64-bit machines do', () => {
        const { reports } = guest.run((g) => {
          const [a, b] = [g.value(A), g.value(B)];
          const results = [
            a.add(b),
            a.sub(b),
            a.mul(b),
            a.and(b),
            a.or(b),
            a.xor(b),
            a.shl(4),
            a.shr(4),
            a.shl(68),
            a.sub(-1),
          ];
          for (const [tag, result] of results.entries()) g.report(tag, result);
        });
        const wanted = [A + B, A - B, A * B, A & B, A | B, A ^ B, A << 4n, A >> 4n, A << 4n, A + 1n];
        expect([...reports.values()]).toEqual(wanted.map((value) => value & MASK));
      });

      it('compares without a sign', () => {
        const { reports } = guest.run((g) => {
          const [small, large] = [g.value(1), g.value(MASK)];
          const comparisons = [
            small.lt(large),
            large.lt(small),
            large.gt(1),
            small.le(1),
            small.ge(2),
            small.eq(1),
            small.ne(1),
          ];
          for (const [tag, comparison] of comparisons.entries()) {
            g.when(
              comparison,
              () => g.report(tag, 1),
              () => g.report(tag, 0),
            );
          }
        });
        expect([...reports.values()]).toEqual([1n, 0n, 1n, 1n, 0n, 1n, 0n]);
      });
    });

    describe('control flow', () => {
      it('repeats, leaves early, and repeats nothing', () => {
        const { reports } = guest.run((g) => {
          const sum = g.variable(0);
          g.repeat(10, (i) => sum.set(sum.add(i)));
          g.report(0, sum);
          const rounds = g.variable(0);
          g.repeat(1000, (i, leave) => {
            rounds.set(i);
            g.when(i.eq(7), leave);
          });
          g.report(1, rounds);
          g.repeat(0, () => g.report(2, 1));
          g.repeat(g.value(2), () => g.repeat(3, () => sum.set(sum.add(100))));
          g.report(3, sum);
        });
        expect([...reports]).toEqual([
          [0, 45n],
          [1, 7n],
          [3, 645n],
        ]);
      });

      it('loops while a condition holds, or for ever until it leaves', () => {
        const { reports } = guest.run((g) => {
          const x = g.variable(1);
          g.loopWhile(
            () => x.lt(1000),
            () => x.set(x.mul(3)),
          );
          g.report(0, x);
          g.loopForever((leave) => {
            x.set(x.sub(1));
            g.when(x.le(5), leave);
          });
          g.report(1, x);
        });
        expect([...reports.values()]).toEqual([2187n, 5n]);
      });

      it('does nothing behind a halt', () => {
        const { reports } = guest.run((g) => {
          g.report(0, 1);
          g.halt();
          g.report(1, 1);
        });
        expect([...reports.keys()]).toEqual([0]);
      });

      it('waits for the host', async () => {
        memory.writeU64(DATA, 1n);
        guest.load((g) => {
          g.whileEqual(DATA, 1);
          g.fence();
          g.report(0, g.load(DATA));
        });
        const run = guest.vcpu().run();
        await sleep(20);
        expect(guest.vcpu().running).toBe(true);
        memory.writeU64(DATA, 42n);
        expect(await run).toMatchObject({ name: 'KVM_EXIT_MMIO', data: new Uint8Array([42, 0, 0, 0, 0, 0, 0, 0]) });
        expect(guest.finish().last.name).toBe('KVM_EXIT_HLT');
      });
    });
  },
  { arch: 'x64' },
);
