/** Mistakes that the simulated vCPU could have. */
import { COMPILERS } from '../../lib/sim/x64/compile.ts';
import { Cpuid } from '../../lib/sim/x64/cpuid.ts';
import { Memory } from '../../lib/sim/x64/memory.ts';
import { Mmu } from '../../lib/sim/x64/mmu.ts';
import { Msrs } from '../../lib/sim/x64/msrs.ts';
import * as registers from '../../lib/sim/x64/registers.ts';
import { State } from '../../lib/sim/x64/state.ts';
import type { Host } from './pair.ts';
import { getter, method, type PlantedFault } from './planting.ts';

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
    name: 'a far call is a far jump',
    needs: byEmulator,
    plant: () => method(COMPILERS, 'call-far', () => COMPILERS['jmp-far']),
  },
  {
    name: 'a far return leaves on the stack what it should release',
    needs: byEmulator,
    plant: () =>
      method(
        COMPILERS,
        'ret-far',
        (compile) => (site) => compile({ ...site, instruction: { ...site.instruction, operands: [] } }),
      ),
  },
  {
    name: 'a far jump goes by 16 bits of its offset',
    needs: byEmulator,
    plant: () =>
      method(COMPILERS, 'jmp-far', (compile) => (site) => {
        const jump = compile(site);
        const { r } = site.machine;
        return () => {
          jump();
          r[registers.RIP_LOW] = registers.at(r, registers.RIP_LOW) & 0x1fff;
        };
      }),
  },
  {
    name: 'an interrupt return keeps the flags',
    needs: byEmulator,
    plant: () =>
      method(COMPILERS, 'iret', (compile) => (site) => {
        const run = compile(site);
        const { r } = site.machine;
        return () => {
          const flags = registers.getFlags(r);
          run();
          registers.setFlags(r, flags);
        };
      }),
  },
  {
    name: 'page-table entries take addresses of 52 bits',
    needs: byEmulator,
    plant: () => getter(Cpuid.prototype, 'paging', { physicalBits: 52, reservesGlobal: false }),
  },
  {
    name: 'code is zeros where no memory is',
    needs: byEmulator,
    plant: () =>
      method(
        Mmu.prototype,
        'resolve',
        (resolve) =>
          function (this: Mmu, low, high, access) {
            const found = resolve.call(this, low, high, access);
            return access === 'fetch' && typeof found === 'number' ? new DataView(new ArrayBuffer(4096)) : found;
          },
      ),
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
