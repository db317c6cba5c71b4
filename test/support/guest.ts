/** A VM with memory at gpa 0 that runs guest programs, for tests on the real kernel. */
import { type GuestEvent, type GuestProgram, program, ReportCollector, x64 } from '../../lib/guest/index.ts';
import type { Exit } from '../../lib/kvm/exits.ts';
import type { Kvm } from '../../lib/kvm/kvm.ts';
import type { Vcpu } from '../../lib/kvm/vcpu.ts';
import type { Vm } from '../../lib/kvm/vm.ts';
import { Mapping } from '../../lib/memory/mapping.ts';

/** Programs, their frames and page tables go below; data of tests goes from here on. */
export const DATA = 0x10_0000;
const DEFAULT_SIZE = 0x20_0000;
/** Emulated guests are slow, but none of these runs longer than this. */
const LIMIT_MS = 10_000;

export interface GuestResult {
  readonly reports: ReadonlyMap<number, bigint>;
  readonly events: readonly GuestEvent[];
  readonly last: Exit;
}

type Write = Parameters<typeof program<'x64'>>[1];

export class Guest {
  readonly vm: Vm;
  readonly memory: Mapping;
  readonly #kvm: Kvm;
  readonly #vcpus: Vcpu[] = [];

  constructor(kvm: Kvm, size = DEFAULT_SIZE) {
    this.#kvm = kvm;
    this.vm = kvm.createVm();
    this.memory = Mapping.anonymous(kvm.sys, size);
    this.vm.addMemslot({ slot: 0, gpa: 0, size, backing: this.memory });
  }

  /** vCPU `id`, made at first use. */
  vcpu(id = 0): Vcpu {
    const known = this.#vcpus[id];
    if (known !== undefined) return known;
    const vcpu = this.vm.createVcpu(id);
    // A vCPU that knows no processor has no long mode where guests run on a real one.
    vcpu.x64.setCpuid(this.#kvm.supportedCpuid());
    this.#vcpus[id] = vcpu;
    return vcpu;
  }

  /** Puts a program in place, at a base of its own for each vCPU, and the vCPU at its start. */
  load(write: Write, id = 0): GuestProgram {
    const built = program({ arch: 'x64', base: 0x1_0000 + id * 0x1_0000 }, write);
    this.start(built, id);
    return built;
  }

  start(built: GuestProgram, id = 0): void {
    const start = x64.startState(built, { pageTables: 0x1000 + id * 0x4000 });
    for (const { gpa, bytes } of start.memory) this.memory.write(gpa, bytes);
    const { x64: state } = this.vcpu(id);
    state.updateSregs(start.sregs);
    state.setRegs(start.regs);
  }

  /** Runs to the first exit that is no report. */
  finish(id = 0): GuestResult {
    const reports = new Map<number, bigint>();
    const events: GuestEvent[] = [];
    const collector = new ReportCollector();
    const deadline = Date.now() + LIMIT_MS;
    for (;;) {
      const last = this.vcpu(id).runSync({ timeoutMs: Math.max(1, deadline - Date.now()) });
      const event = last.name === 'KVM_EXIT_MMIO' ? collector.accept(last) : undefined;
      if (event === undefined) return { reports, events, last };
      if (event === 'pending') continue;
      events.push(event);
      if (event.kind === 'report') reports.set(event.tag, event.value);
    }
  }

  /** Loads and runs to the halt; throws for any other end. */
  run(write: Write): GuestResult {
    this.load(write);
    const result = this.finish();
    if (result.last.name !== 'KVM_EXIT_HLT') throw new Error(`the guest ended with ${JSON.stringify(result.last)}`);
    return result;
  }

  /** What one program reports under tag 0. */
  value(write: (...args: Parameters<Write>) => void): bigint | undefined {
    return this.run(write).reports.get(0);
  }

  close(): void {
    this.vm.close();
    this.memory.close();
  }
}
