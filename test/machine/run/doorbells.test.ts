/** What the kernel keeps to itself: ioeventfd, coalesced writes, irqfd. The simulation refuses them, as a kernel without them would. */
import { expect, it } from 'vitest';
import { KernelError } from '../../../lib/kernel/errors.ts';
import { EdgeIrq, LevelIrq } from '../../../lib/machine/irq.ts';
import { describeKvm } from '../../support/kvm.ts';
import { testMachine, type Write } from '../support.ts';

const DOORBELL = 0x4000_0000;
const LOG = 0x300;
const END = 0x301;

const ringing: Write = (g) => {
  for (let i = 0; i < 3; i++) g.store(DOORBELL, i, { size: 4 });
  g.out(LOG, 1, 1);
  g.out(LOG, 2, 1);
  g.out(END, 3, 1);
  g.halt();
};

describeKvm(
  'doorbells and coalesced writes',
  ({ kvm, sys }) => {
    it('ioeventfd: no exit, and the machine hears of it', async () => {
      const { machine, close } = testMachine(kvm, [ringing]);
      let rings = 0;
      try {
        machine.doorbell({ bus: 'memory', address: DOORBELL, length: 4 }, (times) => {
          rings += times;
        });
      } catch (error) {
        expect(error).toBeInstanceOf(KernelError);
        expect(sys.kernel.backend).toBe('sim');
        return close();
      }
      expect(sys.kernel.backend).toBe('kvm');
      expect((await machine.run()).kind).toBe('halted');
      expect(rings).toBe(3);
      expect(machine.statistics.byReason).toEqual({ KVM_EXIT_IO: 3, KVM_EXIT_HLT: 1 });
      close();
    });

    it('coalesced: no exit, in order, before the exit that comes after them', async () => {
      const { machine, close } = testMachine(kvm, [ringing], { holes: 'ignore' });
      const seen: [number, number][] = [];
      machine.attach(
        'port',
        { name: 'log', write: (offset, _size, value) => seen.push([offset, value]) },
        { address: LOG, size: 2 },
      );
      try {
        machine.coalesce('port', LOG, 1);
      } catch (error) {
        expect(error).toBeInstanceOf(KernelError);
        expect(sys.kernel.backend).toBe('sim');
        return close();
      }
      expect((await machine.run()).kind).toBe('halted');
      expect(seen).toEqual([
        [0, 1],
        [0, 2],
        [1, 3],
      ]);
      expect(machine.statistics.byReason).toEqual({ KVM_EXIT_MMIO: 3, KVM_EXIT_IO: 1, KVM_EXIT_HLT: 1 });
      close();
    });

    it('interrupts need interrupt controllers', () => {
      const vm = kvm.createVm();
      expect(() => new LevelIrq(vm, 4).set(true)).toThrow(KernelError);
      expect(() => new EdgeIrq(vm, 5)).toThrow(KernelError);
      if (sys.kernel.backend === 'kvm') {
        vm.createIrqchip();
        new LevelIrq(vm, 4).pulse();
        const edge = new EdgeIrq(vm, 5);
        edge.pulse();
        edge.event.close();
        vm.createPit();
      } else expect(() => vm.createIrqchip()).toThrow(KernelError);
      vm.close();
    });
  },
  { arch: 'x64' },
);
