/** A small machine with guest programs: RAM at 0, a report window, one program for each vCPU. */
import { type GuestEvent, program, REPORT_GPA, x64 } from '../../lib/guest/index.ts';
import type { Kvm } from '../../lib/kvm/kvm.ts';
import { REPORT, reportDevice } from '../../lib/machine/devices/report.ts';
import { Machine } from '../../lib/machine/machine.ts';
import type { MachineOptions } from '../../lib/machine/machine-words.ts';
import { GuestMemory } from '../../lib/machine/memory/index.ts';

export const PAGE = 4096;
/** Programs, their frames and tables are below. */
export const DATA = 0x10_0000;
export const RAM = 0x20_0000;

export type Write = Parameters<typeof program<'x64'>>[1];

export interface TestMachine {
  readonly machine: Machine;
  readonly memory: GuestMemory;
  readonly events: readonly GuestEvent[];
  /** What was reported under a tag, in order. */
  reported(tag: number): bigint[];
  close(): void;
}

export interface TestMachineOptions extends Partial<Omit<MachineOptions, 'vm' | 'vcpus'>> {
  readonly type?: number;
  /** A VM and its memory that are there already; `memory` is what the machine converts. */
  readonly vm?: Machine['vm'];
  readonly guestMemory?: GuestMemory;
  readonly prepare?: (parts: { readonly vm: Machine['vm']; readonly memory: GuestMemory }) => void;
}

/** `programs`: one for each vCPU. */
export function testMachine(
  kvm: Kvm,
  programs: readonly Write[],
  {
    type = 0,
    prepare,
    vm = kvm.createVm(type),
    guestMemory = new GuestMemory(vm),
    ...options
  }: TestMachineOptions = {},
): TestMachine {
  const memory = guestMemory;
  memory.addRam({ name: 'ram', gpa: 0, size: RAM, shared: 'memfd' });
  prepare?.({ vm, memory });
  const vcpus = programs.map((write, id) => {
    const built = program({ arch: 'x64', base: 0x1_0000 + id * 0x1_0000, reportGpa: REPORT_GPA + id * PAGE }, write);
    const start = x64.startState(built, { pageTables: 0x1000 + id * 0x4000 });
    for (const { gpa, bytes } of start.memory) memory.write(gpa, bytes);
    const vcpu = vm.createVcpu(id);
    vcpu.x64.setCpuid(kvm.supportedCpuid());
    vcpu.x64.updateSregs(start.sregs);
    vcpu.x64.setRegs(start.regs);
    return vcpu;
  });
  const machine = new Machine({ vm, vcpus, memory, ...options });
  const events: GuestEvent[] = [];
  vcpus.forEach((_, id) => {
    const gpa = REPORT_GPA + id * PAGE;
    machine.attach(
      'memory',
      reportDevice((event) => events.push(event), gpa),
      { ...REPORT, address: gpa },
    );
  });
  return {
    machine,
    memory,
    events,
    reported: (tag) => events.flatMap((event) => (event.kind === 'report' && event.tag === tag ? [event.value] : [])),
    close: () => {
      memory.close();
      vm.close();
    },
  };
}
