/** A whole lifecycle in a trace: every call is there, in words and as data, and the trace changes nothing. */
import { expect, it } from 'vitest';
import { Sys } from '../../lib/kernel/sys.ts';
import { type TraceRecord, traceKernel } from '../../lib/kernel/trace.ts';
import { recordToJson } from '../../lib/kernel/trace-sinks.ts';
import { runLifecycle } from '../../lib/lifecycle/lifecycle.ts';
import { describeKvm, SHARED_GMEM } from '../support/kvm.ts';

const SIZE = 10 * 4096;

describeKvm(
  'a traced lifecycle',
  async ({ sys }) => {
    const records: TraceRecord[] = [];
    const traced = new Sys(traceKernel(sys.kernel, (record) => records.push(record)));
    const report = await runLifecycle(traced, { size: SIZE });
    const plain = await runLifecycle(sys, { size: SIZE });

    it('is the same lifecycle', () => {
      const shape = (steps: typeof report.steps) =>
        steps.map(({ name, outcome, enforcedBy, calls }) => ({ name, outcome, enforcedBy, calls }));
      expect(shape(report.steps)).toEqual(shape(plain.steps));
    });

    it('has a record for every call that the steps count, numbered without gaps', () => {
      const counted = report.steps.reduce((sum, { calls }) => sum + calls, 0);
      expect(records.filter(({ syscall }) => syscall !== null).length).toBeGreaterThanOrEqual(counted);
      expect(records.map(({ n }) => n)).toEqual(records.map((_, i) => i + 1));
    });

    it('survives JSON, one line each', () => {
      for (const record of records) {
        const line = recordToJson(record);
        expect(line).not.toContain('\n');
        expect(JSON.parse(line)).toMatchObject({
          n: record.n,
          call: record.call,
          result: record.result,
          text: record.text,
        });
      }
    });

    it('names everything: no request, no descriptor of ours, no exit is a bare number', () => {
      const texts = records.map(({ text }) => text);
      const requests = texts.filter((text) => text.startsWith('ioctl('));
      expect(requests.filter((text) => !/^ioctl\(\d+<\w+>, (KVM_\w+|_IOWR\(0xae, 0xd2, 128\))/.test(text))).toEqual([]);
      const runs = requests.filter((text) => text.includes('KVM_RUN'));
      expect(runs.length).toBeGreaterThan(5);
      expect(runs.filter((text) => !/<KVM_EXIT_\w+/.test(text))).toEqual([]);
      expect(texts.some((text) => text.includes('GUEST_MEMFD_FLAG_MMAP|GUEST_MEMFD_FLAG_INIT_SHARED'))).toBe(true);
    });

    it('closes every descriptor that it opened', () => {
      const open = new Set<number>();
      for (const { call, text, result, args } of records) {
        if (call === 'close') open.delete(Number(args[0]));
        else if (/= \d+<\w+>$/.test(text)) open.add(result);
      }
      expect([...open]).toEqual([]);
    });
  },
  { arch: 'x64', ...SHARED_GMEM },
);
