/** Runs guest programs on one vCPU, one after the other, and collects what they report. */
import { type GuestProgram, ReportCollector } from '../guest/index.ts';
import type { Exit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Mapping } from '../memory/mapping.ts';
import { initVcpu, startProgram } from './guest-start.ts';
import { Unexpected } from './words.ts';

export interface GuestRun {
  /** The values that the program reported, by tag, in order. */
  readonly reports: ReadonlyMap<number, bigint>;
  /** Times that the guest left KVM_RUN. */
  readonly exits: number;
}

function describe(exit: Exit): string {
  switch (exit.name) {
    case 'KVM_EXIT_MMIO':
      return `MMIO ${exit.isWrite ? 'write' : 'read'} of ${exit.length} bytes at gpa 0x${exit.gpa.toString(16)}, which no memslot backs`;
    case 'KVM_EXIT_MEMORY_FAULT':
      return `memory fault (${exit.code}) on ${exit.private ? 'private' : 'shared'} gpa 0x${exit.gpa.toString(16)}, ${exit.size} bytes`;
    case 'KVM_EXIT_INTERNAL_ERROR':
      return `KVM internal error ${exit.suberrorName ?? exit.suberror}`;
    default:
      return exit.name ?? `exit reason ${exit.reason}`;
  }
}

function mismatch({ gpa, expected, actual }: { gpa: number; expected: bigint; actual: bigint }): string {
  const words = `expected 0x${expected.toString(16)}, got 0x${actual.toString(16)}`;
  return `the guest found other contents at gpa 0x${gpa.toString(16)}: ${words}`;
}

export class GuestRunner {
  readonly #vcpu: Vcpu;
  readonly #memory: Mapping;
  readonly #signal: AbortSignal;

  /** @param memory backs the guest's memory from gpa 0 on: programs and page tables go there. */
  constructor(vm: Vm, memory: Mapping, signal: AbortSignal) {
    this.#vcpu = vm.createVcpu();
    initVcpu(this.#vcpu);
    this.#memory = memory;
    this.#signal = signal;
  }

  /** Runs a program to its halt. Unexpected for any exit that is neither a report nor the halt, and for a check that fails. */
  async run(program: GuestProgram): Promise<GuestRun> {
    startProgram(this.#vcpu, this.#memory, program);
    const reports = new Map<number, bigint>();
    const collector = new ReportCollector(program.reportGpa);
    for (let exits = 1; ; exits++) {
      const exit = await this.#vcpu.run({ signal: this.#signal });
      if (exit.name === 'KVM_EXIT_HLT') return { reports, exits };
      if (exit.name === 'KVM_EXIT_INTR') continue;
      const event = exit.name === 'KVM_EXIT_MMIO' ? collector.accept(exit) : undefined;
      if (event === undefined) throw new Unexpected(`the guest stopped: ${describe(exit)}`);
      if (event === 'pending') continue;
      switch (event.kind) {
        case 'halt':
          return { reports, exits };
        case 'report':
          reports.set(event.tag, event.value);
          break;
        case 'exception':
          throw new Unexpected(
            `the guest took an exception at 0x${event.pc.toString(16)} (syndrome 0x${event.syndrome.toString(16)}, address 0x${event.address.toString(16)})`,
          );
        case 'check':
          if (!event.passed) throw new Unexpected(mismatch(event));
      }
    }
  }

  close(): void {
    this.#vcpu.close();
  }
}
