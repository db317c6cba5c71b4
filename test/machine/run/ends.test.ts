/** How a machine ends: each kind, with the state of the vCPU that brought it about. */
import { afterEach, expect, it } from 'vitest';
import { describeEnd } from '../../../lib/machine/describe.ts';
import {
  acpiPm,
  DEBUG_EXIT,
  debugExit,
  I8042_COMMAND,
  i8042,
  PM1A_CONTROL,
} from '../../../lib/machine/devices/power.ts';
import type { Device } from '../../../lib/machine/words.ts';
import { describeKvm } from '../../support/kvm.ts';
import { DATA, type TestMachine, testMachine } from '../support.ts';

const HOLE = 0x4000_0000;
/** Far outside of what the page tables map. */
const UNMAPPED = 0x7f00_0000_0000;

describeKvm(
  'ends of a machine',
  ({ kvm }) => {
    let open: TestMachine | undefined;
    const machine = (
      ...args: Parameters<typeof testMachine> extends [unknown, ...infer R] ? R : never
    ): TestMachine => {
      open = testMachine(kvm, ...args);
      return open;
    };
    afterEach(() => open?.close());

    it('halted: every vCPU, and the state of the last', async () => {
      const { machine: m, reported } = machine([
        (g) => g.halt(),
        (g) => {
          g.report(0, 7);
          g.halt();
        },
      ]);
      const end = await m.run();
      expect(end).toMatchObject({ kind: 'halted', state: { missing: [] } });
      expect(end.kind === 'halted' && end.state?.regs?.rip).toBeGreaterThan(0x1_0000n);
      expect(reported(0)).toEqual([7n]);
      expect(m.statistics.byReason).toMatchObject({ KVM_EXIT_HLT: 2, KVM_EXIT_MMIO: 1 });
      expect(describeEnd(end)[0]).toBe('every vCPU halted, and nothing can wake one');
    });

    it('debug exit, reset, power off: said by devices', async () => {
      const attach = ({ machine: m }: TestMachine): void => {
        m.attach('port', debugExit(m), { address: DEBUG_EXIT.port, size: DEBUG_EXIT.size });
        m.attach('port', i8042(m).command, { address: I8042_COMMAND.port, size: I8042_COMMAND.size });
        m.attach('port', acpiPm(m).control, { address: PM1A_CONTROL.port, size: PM1A_CONTROL.size });
      };
      const ways = [
        [DEBUG_EXIT.port, 0x31, 4, { kind: 'debug-exit', value: 0x31 }],
        [I8042_COMMAND.port, 0xfe, 1, { kind: 'reset', by: 'i8042' }],
        [PM1A_CONTROL.port, 0x3400, 2, { kind: 'powered-off', by: 'ACPI S5' }],
      ] as const;
      for (const [port, value, size, end] of ways) {
        const one = machine([
          (g) => {
            g.out(port, value, size);
            g.report(0, 1);
            g.halt();
          },
        ]);
        attach(one);
        expect(await one.machine.run()).toEqual(end);
        // Nothing of the guest runs behind it.
        expect(one.reported(0)).toEqual([]);
        one.close();
      }
    });

    it('a read from a hole and a write to one; with holes ignored, ones', async () => {
      for (const isWrite of [false, true]) {
        const one = machine([
          (g) => {
            if (isWrite) g.store(HOLE, 5);
            else g.report(0, g.load(HOLE));
            g.halt();
          },
        ]);
        const end = await one.machine.run();
        expect(end).toMatchObject({ kind: 'hole', bus: 'memory', address: HOLE, size: 8, isWrite, vcpu: 0 });
        expect('state' in end && end.state?.regs).toBeDefined();
        one.close();
      }
      const { machine: m, reported } = machine(
        [
          (g) => {
            g.report(0, g.load(HOLE));
            g.halt();
          },
        ],
        { holes: 'ignore' },
      );
      expect((await m.run()).kind).toBe('halted');
      expect(reported(0)).toEqual([2n ** 64n - 1n]);
      expect(m.statistics.unclaimed).toBe(1);
    });

    it('a port without a device: ones, or the end', async () => {
      const one = machine([
        (g) => {
          g.report(0, g.in(0x99, 2));
          g.out(0x99, 1);
          g.halt();
        },
      ]);
      expect((await one.machine.run()).kind).toBe('halted');
      expect(one.reported(0)).toEqual([0xffffn]);
      one.close();
      const { machine: m } = machine(
        [
          (g) => {
            g.out(0x99, 1, 2);
            g.halt();
          },
        ],
        { unclaimedPorts: 'end' },
      );
      expect(await m.run()).toMatchObject({ kind: 'hole', bus: 'port', address: 0x99, size: 2, isWrite: true });
    });

    it('a triple fault, with registers', async () => {
      const { machine: m } = machine([
        (g) => {
          g.touch(DATA, 8);
          g.load(g.value(UNMAPPED));
          g.halt();
        },
      ]);
      const end = await m.run();
      expect(end).toMatchObject({ kind: 'triple-fault', vcpu: 0 });
      expect(describeEnd(end).join('\n')).toMatch(/triple fault.*rip 0x.*cr3 0x/s);
    });

    it('a device that throws', async () => {
      const broken: Device = {
        name: 'broken serial',
        write: () => {
          throw new Error('out of paper');
        },
      };
      const { machine: m } = machine([
        (g) => {
          g.out(0x3f8, 0x41, 1);
          g.halt();
        },
      ]);
      m.attach('port', broken, { address: 0x3f8, size: 8 });
      const end = await m.run();
      expect(end).toMatchObject({ kind: 'device-error', vcpu: 0, device: 'broken serial' });
      expect(end.kind === 'device-error' && (end.error as Error).message).toBe('out of paper');
      expect(describeEnd(end)[0]).toBe('the device broken serial failed: out of paper');
    });

    it('aborted: by a signal and by stop; a guest that never exits does not matter', async () => {
      const { machine: m } = machine([(g) => g.loopForever(() => {})]);
      const reason = new Error('enough');
      const controller = new AbortController();
      setTimeout(() => controller.abort(reason), 30);
      expect(await m.run({ signal: controller.signal })).toEqual({ kind: 'aborted', reason });
      setTimeout(() => m.stop('by hand'), 30);
      expect(await m.run()).toEqual({ kind: 'aborted', reason: 'by hand' });
      expect(await m.run({ signal: AbortSignal.abort(reason) })).toEqual({ kind: 'aborted', reason });
    });

    it('one vCPU ends it for all', async () => {
      const { machine: m } = machine([
        (g) => g.loopForever(() => {}),
        (g) => {
          g.store(HOLE, 1);
          g.halt();
        },
      ]);
      expect(await m.run()).toMatchObject({ kind: 'hole', vcpu: 1 });
      expect(m.vcpus.map((vcpu) => vcpu.running)).toEqual([false, false]);
    });
  },
  { arch: 'x64' },
);
