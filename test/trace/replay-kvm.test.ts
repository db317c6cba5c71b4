/** Recordings of the real kernel, repeated on it and on its simulation. */
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { simulate } from '../../lib/sim/simulate.ts';
import { diffTraces } from '../../lib/trace/diff.ts';
import { replayTrace } from '../../lib/trace/replay.ts';
import { describeKvm } from '../support/kvm.ts';
import { record, summary } from './record.ts';
import { playAliased, playVariety } from './variety.ts';

const openFds = (): number => readdirSync('/proc/self/fd').length;

describeKvm(
  'a recording of many calls',
  async ({ sys }) => {
    const recording = await record(sys.kernel, playVariety);

    it('has calls that failed, that faulted, runs that were kicked, writes through views', () => {
      const { calls } = recording;
      expect(calls.length).toBeGreaterThan(90);
      expect(calls.filter(({ result }) => result < 0).length).toBeGreaterThan(10);
      expect(calls.some(({ text }) => /KVM_RUN, 0\) = -1 EINTR/.test(text))).toBe(true);
      expect(calls.some(({ writes }) => writes.length > 0)).toBe(true);
      expect(calls.some(({ pointed }) => pointed.length > 0)).toBe(true);
    });

    it('meets the same outcomes on the same kernel, and leaves nothing behind', async () => {
      const before = openFds();
      const report = await replayTrace(recording, sys.kernel);
      expect(summary(report)).toEqual([]);
      // What a processor did in a run may differ where the run was cut.
      expect(report.same + report.processor.length).toBe(recording.calls.length);
      expect(openFds()).toBe(before);
    });

    it('meets the same outcomes on a simulation of the release', async () => {
      const report = await replayTrace(recording, simulate({ release: '6.18', technologies: [] }));
      expect(summary(report)).toEqual([]);
    });

    it('holds calls on memory that nobody may touch, without touching it', async () => {
      const aliased = await record(sys.kernel, playAliased);
      const writes = aliased.calls.filter(({ call, mapped }) => call === 'pwrite' && mapped.size > 0);
      const EFAULT = 14;
      expect(writes.map(({ result }) => result)).toEqual([-EFAULT, 32]);
      expect(summary(await replayTrace(aliased, sys.kernel))).toEqual([]);
    });

    it('is the same as a second recording of it', async () => {
      const again = await record(sys.kernel, playVariety);
      const { entries } = diffTraces(recording, again);
      expect(entries).toEqual([]);
    });
  },
  { arch: 'x64', release: [6, 18] },
);
