/** A software-protected VM on the simulated kernel: ordinary memory for programs at gpa 0, and a slot with both sides at DATA. */
import { program, ReportCollector, x64 } from '../../../../lib/guest/index.ts';
import { Sys } from '../../../../lib/kernel/sys.ts';
import type { Exit } from '../../../../lib/kvm/exits.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { Mapping } from '../../../../lib/memory/mapping.ts';
import { type SimulateOptions, simulate } from '../../../../lib/sim/simulate.ts';

export const PAGE = 4096;
export const DATA = 0x20_0000;
export const DATA_PAGES = 16;
const LOW_SIZE = 0x20_0000;
const SW_PROTECTED = 1;

type Write = Parameters<typeof program<'x64'>>[1];

export function protectedGuest(options: SimulateOptions = {}) {
  const sys = new Sys(simulate(options));
  const kvm = Kvm.open(sys);
  const vm = kvm.createVm(SW_PROTECTED);
  const low = Mapping.anonymous(sys, LOW_SIZE);
  vm.addMemslot({ slot: 0, gpa: 0, size: LOW_SIZE, backing: low });
  const shared = Mapping.anonymous(sys, DATA_PAGES * PAGE);
  const file = vm.createGuestMemfd(DATA_PAGES * PAGE);
  const slot = vm.addMemslot({ slot: 1, gpa: DATA, size: DATA_PAGES * PAGE, backing: shared, guestMemfd: file });
  const vcpu = vm.createVcpu();
  const collector = new ReportCollector();
  const reports = new Map<number, bigint>();

  const load = (write: Write): void => {
    const start = x64.startState(program({ arch: 'x64' }, write));
    for (const { gpa, bytes } of start.memory) low.write(gpa, bytes);
    vcpu.x64.updateSregs(start.sregs);
    vcpu.x64.setRegs(start.regs);
  };
  /** Runs on to the next exit that is no report. */
  const go = (): Exit => {
    for (;;) {
      const exit = vcpu.runSync({ timeoutMs: 10_000 });
      const event = exit.name === 'KVM_EXIT_MMIO' ? collector.accept(exit) : undefined;
      if (event === undefined) return exit;
      if (event !== 'pending' && event.kind === 'report') reports.set(event.tag, event.value);
    }
  };
  const run = (write: Write): Exit => {
    load(write);
    return go();
  };
  return { sys, kvm, vm, vcpu, low, shared, file, slot, reports, load, go, run };
}
