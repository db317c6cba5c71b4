/** The machine's dispatcher beside the bare loop: the same guest, whose writes to a port now reach a device on a bus. */
import { Kvm, Mapping, openKernel } from 'privmem';
import { Machine } from 'privmem/machine';
import type { Contestant, Item, Ready } from '../item.ts';
import { mustBe, timedAsync } from '../item.ts';
import { openRunSync } from './vcpu.ts';

/** Of C: 1.15 of the bare loop, which may cost 1.05. */
const AIM = 1.2;
const CODE_GPA = 0x1000;
const PAGE = 4096;
const PORT = 0x10;
/** mov al, 5; out 0x10, al; jmp to the out */
const CODE = Uint8Array.of(0xb0, 0x05, 0xe6, PORT, 0xeb, 0xfa);

function openMachine(thread: 'own' | 'caller'): Ready {
  if (process.arch !== 'x64') throw new Error('the guest is x86 code');
  const sys = openKernel();
  const kvm = Kvm.open(sys);
  const memory = Mapping.anonymous(sys, PAGE);
  const close = (): void => {
    kvm.close();
    memory.close();
  };
  try {
    memory.write(0, CODE);
    const vm = kvm.createVm();
    vm.addMemslot({ slot: 0, gpa: CODE_GPA, size: PAGE, backing: memory });
    const vcpu = vm.createVcpu(0);
    const { cs } = vcpu.x64.getSregs();
    vcpu.x64.updateSregs({ cs: { ...cs, base: 0, selector: 0 } });
    vcpu.x64.setRegs({ rip: CODE_GPA, rflags: 2 });
    const machine = new Machine({ vm, vcpus: [vcpu] });
    let left = 0;
    const write = (_offset: number, _size: number, value: number): void => {
      mustBe(value, 5, 'the device');
      if (--left === 0) machine.end({ kind: 'debug-exit', value });
    };
    machine.attach('port', { name: 'counter', write }, { address: PORT, size: 1 });
    const loop = async (ops: number): Promise<void> => {
      left = ops;
      const end = await machine.run({ thread });
      if (end.kind !== 'debug-exit') throw new Error(`the machine ended with ${end.kind}`);
      mustBe(left, 0, 'writes left');
    };
    return { batch: timedAsync(loop), close };
  } catch (error) {
    close();
    throw error;
  }
}

const contestant = (name: string, thread: 'own' | 'caller', aim?: number): Contestant => ({
  name,
  ...(aim === undefined ? {} : { aim }),
  open: () => openMachine(thread),
});

export const machineItems = (): Item[] => [
  {
    id: 'machine-run',
    title: 'KVM_RUN to an I/O exit, through bus and device',
    reference: ['run', 0],
    contestants: [
      // The bare loop once more, in the same rounds: what the dispatcher is measured by.
      { name: 'Vcpu.runSync, bare loop', open: openRunSync },
      contestant("Machine.run, caller's thread", 'caller', AIM),
      contestant('Machine.run, threads', 'own'),
    ],
  },
];
