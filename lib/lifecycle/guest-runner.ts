/** Runs guest programs on one vCPU, one after the other, serves what they ask for, and collects what they report. */
import { type GuestProgram, ReportCollector } from '../guest/index.ts';
import type { Exit, HypercallExit } from '../kvm/exits.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Mapping } from '../memory/mapping.ts';
import { initVcpu, startProgram } from './guest-start.ts';
import { GuestFault, Unexpected } from './words.ts';

export interface GuestRun {
  /** The values that the program reported, by tag, in order. */
  readonly reports: ReadonlyMap<number, bigint>;
  /** Times that the guest left KVM_RUN. */
  readonly exits: number;
  /** Conversions that the guest asked for. */
  readonly conversions: number;
}

/** What the guest asks for by KVM_HC_MAP_GPA_RANGE. */
export interface ConversionRequest {
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  readonly to: 'private' | 'shared';
}

const MAP_GPA_RANGE = 12;
const PAGE = 4096n;
const ENCRYPTED = 0x10n;

function describe(exit: Exit): string {
  switch (exit.name) {
    case 'KVM_EXIT_MMIO':
      return `MMIO ${exit.isWrite ? 'write' : 'read'} of ${exit.length} bytes at gpa 0x${exit.gpa.toString(16)}, which no memslot backs`;
    case 'KVM_EXIT_INTERNAL_ERROR':
      return `KVM internal error ${exit.suberrorName ?? exit.suberror}`;
    default:
      return exit.name ?? `exit reason ${exit.reason}`;
  }
}

function requestOf({ nr, args }: HypercallExit): ConversionRequest {
  const [gpa = 0n, pages = 0n, attributes = 0n] = args;
  if (nr !== MAP_GPA_RANGE) throw new Unexpected(`the guest made hypercall ${nr}, which nobody serves`);
  return { gpa: Number(gpa), size: Number(pages * PAGE), to: (attributes & ENCRYPTED) === 0n ? 'shared' : 'private' };
}

function mismatch({ gpa, expected, actual }: { gpa: number; expected: bigint; actual: bigint }): string {
  const words = `expected 0x${expected.toString(16)}, got 0x${actual.toString(16)}`;
  return `the guest found other contents at gpa 0x${gpa.toString(16)}: ${words}`;
}

export class GuestRunner {
  readonly #vcpu: Vcpu;
  readonly #memory: Mapping;
  readonly #signal: AbortSignal;
  readonly #convert: (request: ConversionRequest) => void;

  /**
   * The vCPU gets all that KVM supports: without CPUID it has no long mode (KVM checks EFER against it).
   *
   * @param memory backs the guest's memory from gpa 0 on: programs and page tables go there.
   * @param convert carries out what the guest asks for; what it throws ends the run.
   */
  constructor(kvm: Kvm, vm: Vm, memory: Mapping, signal: AbortSignal, convert: (request: ConversionRequest) => void) {
    this.#vcpu = vm.createVcpu();
    initVcpu(kvm, this.#vcpu);
    this.#memory = memory;
    this.#signal = signal;
    this.#convert = convert;
  }

  get vcpu(): Vcpu {
    return this.#vcpu;
  }

  /**
   * Runs a program to its halt. GuestFault when it touches memory that has no backing; Unexpected for any other exit that is neither a
   * report nor a conversion, and for a check that fails.
   */
  async run(program: GuestProgram): Promise<GuestRun> {
    startProgram(this.#vcpu, this.#memory, program);
    const reports = new Map<number, bigint>();
    const collector = new ReportCollector(program.reportGpa);
    for (let exits = 1, conversions = 0; ; exits++) {
      const exit = await this.#vcpu.run({ signal: this.#signal });
      if (exit.name === 'KVM_EXIT_HLT') return { reports, exits, conversions };
      if (exit.name === 'KVM_EXIT_INTR') continue;
      if (exit.name === 'KVM_EXIT_MEMORY_FAULT') throw new GuestFault(exit);
      if (exit.name === 'KVM_EXIT_HYPERCALL') {
        this.#convert(requestOf(exit));
        this.#vcpu.answer(0);
        conversions++;
        continue;
      }
      const event = exit.name === 'KVM_EXIT_MMIO' ? collector.accept(exit) : undefined;
      if (event === undefined) throw new Unexpected(`the guest stopped: ${describe(exit)}`);
      if (event === 'pending') continue;
      switch (event.kind) {
        case 'halt':
          return { reports, exits, conversions };
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
