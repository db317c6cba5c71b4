/** KVM_RUN until a guest's write to a port: into the guest, out of it, and what happened. */
import { Kvm, Mapping, openKernel, type Vcpu, type Vm } from 'privmem';
import { KVM_EXIT, kvm_run, MAP, PROT } from 'privmem/uapi';
import { type Contestant, type Item, mustBe, type Ready, timed, timedAsync } from '../item.ts';

const AIM = 1.05;
const CODE_GPA = 0x1000;
const PAGE = 4096;
/** mov al, 5; out 0x10, al; jmp to the out */
const CODE = Uint8Array.of(0xb0, 0x05, 0xe6, 0x10, 0xeb, 0xfa);
const EXIT_IO = KVM_EXIT.value.KVM_EXIT_IO;

interface Guest {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  close(): void;
}

/** A VM whose vCPU 0 stands before the code, in real mode. */
function openGuest(): Guest {
  if (process.arch !== 'x64') throw new Error('the guest is x86 code');
  const sys = openKernel();
  const kvm = Kvm.open(sys);
  try {
    const memory = Mapping.anonymous(sys, PAGE);
    memory.write(0, CODE);
    const vm = kvm.createVm();
    vm.addMemslot({ slot: 0, gpa: CODE_GPA, size: PAGE, backing: memory });
    const vcpu = vm.createVcpu(0);
    const { cs } = vcpu.x64.getSregs();
    vcpu.x64.updateSregs({ cs: { ...cs, base: 0, selector: 0 } });
    vcpu.x64.setRegs({ rip: CODE_GPA, rflags: 2 });
    const close = (): void => {
      kvm.close();
      memory.close();
    };
    return { kvm, vm, vcpu, close };
  } catch (error) {
    kvm.close();
    throw error;
  }
}

/** The waist's own calls, on a second mapping of the same vCPU: a run page serves one attachment. */
function openAddon(): Ready {
  const guest = openGuest();
  const { kernel } = guest.kvm.sys;
  const length = guest.kvm.vcpuMmapSize();
  const { PROT_READ, PROT_WRITE } = PROT.value;
  const page = guest.kvm.sys.mmap(0, length, PROT_READ | PROT_WRITE, MAP.value.MAP_SHARED, guest.vcpu.fd, 0);
  const handle = guest.kvm.sys.vcpuAttach(guest.vcpu.fd, page);
  const reasons = new Uint32Array(guest.kvm.sys.view(page, PAGE));
  const at = kvm_run.offsets.exit_reason / reasons.BYTES_PER_ELEMENT;
  const loop = (ops: number): void => {
    for (let i = 0; i < ops; i++) {
      const result = kernel.vcpuRun(handle, 0);
      if (result !== 0 || reasons[at] !== EXIT_IO) throw new Error(`KVM_RUN gave ${result}, exit ${reasons[at]}`);
    }
  };
  const close = (): void => {
    kernel.vcpuDetach(handle);
    kernel.munmap(page, length);
    guest.close();
  };
  return { batch: timed(loop), close };
}

export function openRunSync(): Ready {
  const guest = openGuest();
  const { vcpu } = guest;
  const loop = (ops: number): void => {
    let exits = 0;
    for (let i = 0; i < ops; i++) if (vcpu.runSync().name === 'KVM_EXIT_IO') exits++;
    mustBe(exits, ops, 'KVM_EXIT_IO after runSync');
  };
  return { batch: timed(loop), close: guest.close };
}

function openRun(): Ready {
  const guest = openGuest();
  const { vcpu } = guest;
  const loop = async (ops: number): Promise<void> => {
    let exits = 0;
    for (let i = 0; i < ops; i++) if ((await vcpu.run()).name === 'KVM_EXIT_IO') exits++;
    mustBe(exits, ops, 'KVM_EXIT_IO after run');
  };
  return { batch: timedAsync(loop), close: guest.close };
}

const run: Contestant = { name: 'await Vcpu.run', open: openRun };

export const vcpuItems = (): Item[] => [
  {
    id: 'run',
    title: 'KVM_RUN to an I/O exit',
    reference: ['run', 0],
    contestants: [
      { name: 'addon', aim: AIM, open: openAddon },
      { name: 'Vcpu.runSync', aim: AIM, open: openRunSync },
    ],
  },
  // C hands the run to a thread as well here, by a condition variable: what an own thread costs in any language.
  { id: 'run-thread', title: 'the same, on a thread of its own', reference: ['run-thread', 0], contestants: [run] },
];
