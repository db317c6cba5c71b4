/** Pausing, kicking, watching, and the two ways to run. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, expect, it, vi } from 'vitest';
import { StateError } from '../../../lib/kernel/errors.ts';
import type { Exit } from '../../../lib/kvm/exits.ts';
import { describeKvm } from '../../support/kvm.ts';
import { DATA, type TestMachine, testMachine, type Write } from '../support.ts';

const COUNTER = DATA;

/** Counts in memory for as long as it runs. */
const counting: Write = (g) => {
  g.touch(COUNTER, 8);
  g.loopForever(() => {
    g.fetchAdd(COUNTER, 1);
  });
};

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describeKvm(
  'control of a machine',
  ({ kvm }) => {
    let open: TestMachine | undefined;
    const machine = (...programs: Write[]): TestMachine => {
      open = testMachine(kvm, programs);
      return open;
    };
    afterEach(() => open?.close());

    it('pause stands still, resume goes on; snapshots only while nothing runs', async () => {
      const { machine: m, memory } = machine(counting, counting);
      const count = (): bigint => new DataView(memory.read(COUNTER, 8).buffer).getBigUint64(0, true);
      const seen: string[] = [];
      m.on('pause', () => seen.push('pause'));
      m.on('resume', () => seen.push('resume'));
      const end = m.run();
      await soon();
      expect(() => m.snapshot(0)).toThrow(StateError);
      await expect(m.run()).rejects.toThrow(StateError);
      await m.pause();
      expect(m.paused).toBe(true);
      const before = count();
      const state = m.snapshot(1);
      expect(state.regs?.rip).toBeGreaterThan(0x2_0000n);
      await soon();
      expect(count()).toBe(before);
      expect(before).toBeGreaterThan(0n);
      await m.pause();
      m.resume();
      await soon();
      expect(count()).toBeGreaterThan(before);
      m.kick(0);
      await soon();
      m.stop('done');
      expect(await end).toEqual({ kind: 'aborted', reason: 'done' });
      expect(seen).toEqual(['pause', 'resume']);
      // What was stopped goes on where it was.
      const again = m.run();
      const then = count();
      await soon();
      m.stop();
      await again;
      expect(count()).toBeGreaterThan(then);
    });

    it('a paused machine can be stopped', async () => {
      const { machine: m } = machine(counting);
      const end = m.run();
      await m.pause();
      m.stop('paused');
      expect(await end).toEqual({ kind: 'aborted', reason: 'paused' });
    });

    it('a snapshot after an answered read has the answer in the registers', async () => {
      const { machine: m, reported } = machine((g) => {
        g.report(0, g.in(0x71, 1));
        g.halt();
      });
      m.attach(
        'port',
        {
          name: 'seven',
          read: () => {
            void m.pause();
            return 7;
          },
        },
        { address: 0x71, size: 1 },
      );
      const end = m.run();
      const { regs } = await vi.waitFor(() => m.snapshot(0), { timeout: 10_000 });
      expect(Number(regs?.rax ?? 0n) & 0xff).toBe(7);
      m.resume();
      expect((await end).kind).toBe('halted');
      expect(reported(0)).toEqual([7n]);
    });

    it('exits for listeners and on diagnostics_channel; statistics', async () => {
      const { machine: m } = machine((g) => {
        g.repeat(5, () => g.out(0x80, 1, 1));
        g.report(0, 1);
        g.halt();
      });
      m.attach('port', { name: 'post' }, { address: 0x80, size: 1 });
      const exits: Exit[] = [];
      const published: unknown[] = [];
      const onExit = (message: unknown): void => void published.push(message);
      subscribe('privmem:machine:exit', onExit);
      m.on('exit', (_, exit) => exits.push(exit));
      try {
        await m.run();
      } finally {
        unsubscribe('privmem:machine:exit', onExit);
      }
      expect(exits.map(({ name }) => name)).toEqual([
        ...Array.from({ length: 5 }, () => 'KVM_EXIT_IO'),
        'KVM_EXIT_MMIO',
        'KVM_EXIT_HLT',
      ]);
      expect(published).toHaveLength(7);
      const { total, byReason, byPort, unclaimed } = m.statistics;
      expect({ total, byReason, unclaimed }).toEqual({
        total: 7,
        byReason: { KVM_EXIT_IO: 5, KVM_EXIT_MMIO: 1, KVM_EXIT_HLT: 1 },
        unclaimed: 0,
      });
      expect([...byPort]).toEqual([[0x80, 5]]);
    });

    it("on the caller's thread: the same, with the event loop served in between", async () => {
      const many = 3000;
      const { machine: m, reported } = machine((g) => {
        g.repeat(many, () => g.out(0x80, 1, 1));
        g.report(0, g.in(0x81, 4));
        g.halt();
      });
      let writes = 0;
      m.attach('port', { name: 'post', write: () => writes++ }, { address: 0x80, size: 1 });
      m.attach('port', { name: 'word', read: () => 0x1234_5678 }, { address: 0x81, size: 4 });
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const end = await m.run({ thread: 'caller' });
      clearInterval(timer);
      expect(end.kind).toBe('halted');
      expect([writes, reported(0)]).toEqual([many, [0x1234_5678n]]);
      expect(turns).toBeGreaterThan(0);
    });

    it('one thread for two vCPUs is refused, and so is an address that is taken', async () => {
      const { machine: m } = machine(counting, counting);
      await expect(m.run({ thread: 'caller' })).rejects.toThrow(RangeError);
      m.attach('port', { name: 'a' }, { address: 0x10, size: 4 });
      expect(() => m.attach('port', { name: 'b' }, { address: 0x13, size: 1 })).toThrow(
        /b: 0x13 to 0x14 .* overlaps a at 0x10/,
      );
      expect(() => m.attach('port', { name: 'c' }, { address: 0xffff, size: 2 })).toThrow(RangeError);
      expect(() => m.snapshot(5)).toThrow(RangeError);
    });
  },
  { arch: 'x64' },
);
