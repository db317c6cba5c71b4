/** A VM that runs guest programs: memory for them at gpa 0, one vCPU or more, what they report. */
import { type GuestEvent, program, ReportCollector, x64 } from '../guest/index.ts';
import type { Sys } from '../kernel/sys.ts';
import type { Exit } from '../kvm/exits.ts';
import type { CpuidEntry } from '../kvm/growing.ts';
import type { Memslot } from '../kvm/memslot.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import { Mapping } from '../memory/mapping.ts';
import { Broken, countCheck } from './check.ts';

/** Each vCPU has 64 KiB below this for its page tables, and 64 KiB above for its program. */
const PROGRAMS = 0x10_0000;
const ROOM = 0x1_0000;
const MAX_VCPUS = PROGRAMS / ROOM;
const LOW_SIZE = 2 * PROGRAMS;
/** Below the suite's own limit for a scenario, so that a guest that hangs is called by its name. */
const RUN_LIMIT_MS = 15_000;

export interface GuestOptions {
  /** Default: a VM of the type that the scenario needs. */
  readonly vm?: Vm;
  /** Slot id of the memory for programs. Default 500, so that small ids are free. */
  readonly slot?: number;
}

type Write = Parameters<typeof program<'x64'>>[1];

/** What a run gave until an exit that is no report. */
export interface GuestRun {
  /** Last value by tag. */
  readonly reports: ReadonlyMap<number, bigint>;
  /** All reports and checks in order. */
  readonly events: readonly GuestEvent[];
  readonly last: Exit;
}

export class Guest {
  readonly vm: Vm;
  /** Guest-physical 0 to 2 MiB: programs and page tables. */
  readonly low: Mapping;
  readonly lowSlot: Memslot;
  readonly #cpuid: readonly CpuidEntry[];
  readonly #signal: AbortSignal;
  readonly #vcpus: Vcpu[] = [];
  readonly #collectors: ReportCollector[] = [];

  constructor(sys: Sys, vm: Vm, cpuid: readonly CpuidEntry[], signal: AbortSignal, options: GuestOptions = {}) {
    this.vm = vm;
    this.#cpuid = cpuid;
    this.#signal = signal;
    this.low = Mapping.anonymous(sys, LOW_SIZE);
    this.lowSlot = vm.addMemslot({ slot: options.slot ?? 500, gpa: 0, size: LOW_SIZE, backing: this.low });
  }

  /** vCPU `id`, made at first use. */
  vcpu(id = 0): Vcpu {
    if (id >= MAX_VCPUS) throw new RangeError(`at most ${MAX_VCPUS} vCPUs have room here`);
    let vcpu = this.#vcpus[id];
    if (vcpu === undefined) {
      vcpu = this.vm.createVcpu(id);
      vcpu.x64.setCpuid(this.#cpuid);
      this.#vcpus[id] = vcpu;
    }
    return vcpu;
  }

  /** Puts a program in place and the vCPU at its start. */
  load(write: Write, id = 0): void {
    const vcpu = this.vcpu(id);
    const built = program({ arch: 'x64', base: PROGRAMS + id * ROOM }, write);
    const start = x64.startState(built, { pageTables: 0x1000 + id * ROOM });
    for (const { gpa, bytes } of start.memory) this.low.write(gpa, bytes);
    vcpu.x64.updateSregs(start.sregs);
    vcpu.x64.setRegs(start.regs);
    this.#collectors[id] = new ReportCollector();
  }

  /** Goes on to the next exit that is no report, on the vCPU's own thread. */
  async resume(id = 0): Promise<GuestRun> {
    const vcpu = this.vcpu(id);
    const collector = this.#collectors[id] ?? new ReportCollector();
    const reports = new Map<number, bigint>();
    const events: GuestEvent[] = [];
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(RUN_LIMIT_MS)]);
    for (;;) {
      const last = await vcpu.run({ signal });
      const event = last.name === 'KVM_EXIT_MMIO' ? collector.accept(last) : undefined;
      if (event === undefined) return { reports, events, last };
      if (event === 'pending') continue;
      events.push(event);
      if (event.kind === 'report') reports.set(event.tag, event.value);
    }
  }

  /** Loads and runs to the first exit that is no report. */
  start(write: Write, id = 0): Promise<GuestRun> {
    this.load(write, id);
    return this.resume(id);
  }

  /** Runs a program to its halt. Broken for any other end, and for a check of the program that fails. */
  async run(write: Write, id = 0): Promise<ReadonlyMap<number, bigint>> {
    return halted(await this.start(write, id));
  }

  close(): void {
    for (const vcpu of this.#vcpus) vcpu?.close();
    this.lowSlot.close();
    this.low.close();
  }
}

/** What the program reported, when it came to its halt and its checks held. */
export function halted(run: GuestRun): ReadonlyMap<number, bigint> {
  countCheck();
  if (run.last.name !== 'KVM_EXIT_HLT') throw new Broken('the guest', 'that it halts', describeExit(run.last));
  return checked(run);
}

/** What the program reported, when its checks held. */
export function checked(run: GuestRun): ReadonlyMap<number, bigint> {
  for (const event of run.events) {
    if (event.kind !== 'check') continue;
    countCheck();
    if (event.passed) continue;
    const { gpa, expected, actual } = event;
    throw new Broken(
      `guest memory at gpa 0x${gpa.toString(16)}`,
      `0x${expected.toString(16)}`,
      `0x${actual.toString(16)}`,
    );
  }
  return run.reports;
}

export function describeExit(exit: Exit): string {
  const fields = Object.entries(exit)
    .filter(([key]) => key !== 'name' && key !== 'reason')
    .map(
      ([key, value]) =>
        `${key} ${typeof value === 'number' || typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value)}`,
    );
  return [exit.name ?? `exit reason ${exit.reason}`, ...fields].join(', ');
}
