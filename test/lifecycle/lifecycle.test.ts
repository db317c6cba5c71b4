/** Both designs on every kernel at hand: they pass, say who enforced what, and leave nothing behind. */
import { expect, it } from 'vitest';
import { UnsupportedError } from '../../lib/kernel/errors.ts';
import { runLifecycle } from '../../lib/lifecycle/lifecycle.ts';
import { designSupport, technologySupport } from '../../lib/lifecycle/support.ts';
import type { LifecycleReport } from '../../lib/lifecycle/words.ts';
import { hostState, threadCount } from '../support/host-state.ts';
import { describeKvm, requires, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const NEEDS = { arch: 'x64', ...SHARED_GMEM } as const;
const stepOf = (report: LifecycleReport, name: string) => report.steps.find((step) => step.name === name);

describeKvm(
  'lifecycle',
  ({ sys }) => {
    it.each([
      ['unbound-first', 10],
      ['unbound-first', 11],
      ['guest-memfd-mmap', 10],
      ['guest-memfd-mmap', 512],
    ])('%s with %i pages passes', async (design, pages) => {
      const before = { ...hostState(sys), threads: threadCount(sys) };
      const report = await runLifecycle(sys, { design, size: pages * PAGE });
      expect(report.steps.filter((step) => !step.expected)).toEqual([]);
      expect(report).toMatchObject({
        backend: sys.kernel.backend,
        kernel: sys.kernel.release,
        arch: 'x64',
        design,
        technology: 'none',
        passed: true,
      });
      expect({ ...hostState(sys), threads: threadCount(sys) }).toEqual(before);
    });

    it('has the states of each design, one after the other', async () => {
      for (const [design, first] of [
        ['unbound-first', 'unbound'],
        ['guest-memfd-mmap', 'brand-new'],
      ] as const) {
        const { steps } = await runLifecycle(sys, { design, size: 10 * PAGE });
        const states = ['none', ...steps.map(({ to }) => to)].filter((state, i, all) => state !== all[i - 1]);
        expect(states).toEqual(['none', first, 'bound', 'initialized', 'closed']);
        for (const [i, step] of steps.entries()) expect(step.from).toBe(i === 0 ? 'none' : steps[i - 1]?.to);
      }
    });

    it('says honestly who enforced a rule', async () => {
      const kept = await runLifecycle(sys, { design: 'unbound-first', size: 10 * PAGE });
      const bare = await runLifecycle(sys, { design: 'guest-memfd-mmap', size: 10 * PAGE });
      for (const name of ['host-access-before-bind', 'complete-with-live-mapping', 'host-access-after-complete']) {
        expect(stepOf(kept, name)).toMatchObject({ outcome: 'refused', enforcedBy: 'library' });
        expect(stepOf(bare, name)).toMatchObject({ outcome: 'ok', enforcedBy: 'nobody' });
      }
      for (const report of [kept, bare]) {
        expect(stepOf(report, 'bind-to-second-vm')).toMatchObject({
          outcome: 'refused',
          enforcedBy: 'kernel',
          errno: 'EINVAL',
        });
        expect(stepOf(report, 'host-reads-private-page')).toMatchObject({
          outcome: 'fault',
          fault: 'SIGBUS BUS_ADRERR',
        });
        expect(stepOf(report, 'guest-reads-converted-range')).toMatchObject({ outcome: 'lost', enforcedBy: 'kernel' });
      }
    });

    it('reports what only a guest that read the memory can know', async () => {
      const small = await runLifecycle(sys, { size: 10 * PAGE });
      const large = await runLifecycle(sys, { size: 16 * PAGE });
      const sums = [small, large].map((report) => stepOf(report, 'guest-reads-initial-contents')?.reported?.checksum);
      expect(sums[0]).toMatch(/^0x[0-9a-f]+$/);
      expect(sums[0]).not.toBe(sums[1]);
      expect(stepOf(small, 'guest-reads-initial-contents')?.calls).toBeGreaterThan(2);
    });

    it('is JSON as documented', async () => {
      const report = await runLifecycle(sys, { size: 10 * PAGE });
      const parsed = JSON.parse(JSON.stringify(report)) as LifecycleReport;
      expect(parsed).toEqual(report);
      for (const step of parsed.steps) {
        expect(Object.keys(step)).toEqual(
          expect.arrayContaining([
            'name',
            'from',
            'to',
            'outcome',
            'enforcedBy',
            'calls',
            'detail',
            'expected',
            'micros',
          ]),
        );
      }
    });

    it('tells an observer of each step as it comes', async () => {
      const heard: string[] = [];
      const report = await runLifecycle(sys, { size: 10 * PAGE, onStep: (step) => heard.push(step.name) });
      expect(heard).toEqual(report.steps.map(({ name }) => name));
    });

    it('two at once do not disturb each other', async () => {
      const reports = await Promise.all(
        ['unbound-first', 'guest-memfd-mmap'].map((design) => runLifecycle(sys, { design, size: 10 * PAGE })),
      );
      expect(reports.map(({ passed }) => passed)).toEqual([true, true]);
    });

    it('refuses sizes and names that make no sense, and leaves nothing open', async () => {
      const before = hostState(sys);
      for (const size of [0, 4096, 9 * PAGE, 10 * PAGE + 1, -PAGE, 1.5, Number.NaN, 2 ** 53]) {
        await expect(runLifecycle(sys, { size })).rejects.toThrow(RangeError);
      }
      await expect(runLifecycle(sys, { design: 'nonsense' })).rejects.toThrow(RangeError);
      await expect(runLifecycle(sys, { technology: 'nonsense' })).rejects.toThrow(RangeError);
      expect(hostState(sys)).toEqual(before);
    });
  },
  NEEDS,
);

describeKvm('support', ({ sys, kvm }) => {
  it('gives a reason and a next step for everything that is not there', () => {
    const before = hostState(sys);
    for (const [name, support] of Object.entries({ ...technologySupport(kvm), ...designSupport(kvm) })) {
      if (support.supported) continue;
      expect([name, support.reason?.length ?? 0, support.nextStep?.length ?? 0]).toEqual([
        name,
        expect.any(Number),
        expect.any(Number),
      ]);
      expect(Math.min(support.reason?.length ?? 0, support.nextStep?.length ?? 0)).toBeGreaterThan(5);
    }
    expect(hostState(sys)).toEqual(before);
  });

  it('agrees with what runs: an unsupported pair is an UnsupportedError', async () => {
    for (const [technology, support] of Object.entries(technologySupport(kvm))) {
      if (!support.supported) await expect(runLifecycle(sys, { technology })).rejects.toThrow(UnsupportedError);
    }
    for (const [design, support] of Object.entries(designSupport(kvm))) {
      if (!support.supported) await expect(runLifecycle(sys, { design })).rejects.toThrow(UnsupportedError);
    }
  });

  requires({ before: [7, 99] })('knows that no released kernel implements the designs of 2022', () => {
    const designs = designSupport(kvm);
    expect([designs['inaccessible-memfd']?.supported, designs['register-converts']?.supported]).toEqual([false, false]);
  });
});
