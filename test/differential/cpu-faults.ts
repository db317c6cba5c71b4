/** Mistakes that the simulated vCPU could have. */
import { Memory } from '../../lib/sim/x64/memory.ts';
import { Mmu } from '../../lib/sim/x64/mmu.ts';
import { Msrs } from '../../lib/sim/x64/msrs.ts';
import { State } from '../../lib/sim/x64/state.ts';
import type { Host } from './pair.ts';
import { method, type PlantedFault } from './planting.ts';

type Planted = Omit<PlantedFault, 'suite'>;

const byEmulator = ({ kvm }: Host): boolean => kvm?.hardware === false;

export const IN_CPU: readonly Planted[] = [
  {
    name: 'what is read to be written faults as a read',
    needs: byEmulator,
    plant: () =>
      method(
        Memory.prototype,
        'loadThenProbe',
        () =>
          function (this: Memory, low, high, size) {
            return this.load(low, high, size);
          },
      ),
  },
  {
    name: 'the segment is judged before the read',
    needs: byEmulator,
    plant: () =>
      method(
        Memory.prototype,
        'loadThenProbe',
        (load) =>
          function (this: Memory, low, high, size, judge) {
            judge?.();
            return load.call(this, low, high, size);
          },
      ),
  },
  {
    name: 'page tables that were written are not walked anew',
    needs: byEmulator,
    plant: () => method(Mmu.prototype, 'written', () => () => undefined),
  },
  {
    name: 'bytes behind a page border are lost',
    plant: () =>
      method(
        Memory.prototype,
        'store',
        (store) =>
          function (this: Memory, low, high, size, value, upper) {
            store.call(this, low, high, (low & 4095) + size > 4096 ? 1 : size, value, upper);
          },
      ),
  },
  {
    name: 'exceptions have no error code',
    plant: () =>
      method(
        State.prototype,
        'exception',
        (exception) =>
          function (this: State, vector, errorCode) {
            return exception.call(this, vector, errorCode === undefined ? undefined : 0);
          },
      ),
  },
  {
    name: 'MSRs take addresses that are not canonical',
    plant: () =>
      method(
        Msrs.prototype,
        'set',
        (set) =>
          function (this: Msrs, index, value, host) {
            return set.call(this, index, value, host) || index === 0xc000_0100;
          },
      ),
  },
];
