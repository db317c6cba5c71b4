/** Runs guest programs (`privmem/guest`) on a machine: puts them in place, takes what they report. */
import {
  a64,
  END_PORT,
  type GuestEvent,
  type GuestProgram,
  REPORT_GPA,
  REPORT_WINDOW_SIZE,
  ReportCollector,
  x64,
} from '../guest/index.ts';
import type { Exit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Machine, MachineRunOptions } from './machine.ts';
import type { MachineEnd } from './words.ts';

export interface ProgramPlace {
  /** x86-64: gpa of this vCPU's page tables, in bytes. Default: 64 KiB for each vCPU, from 4 KiB on. */
  readonly pageTables?: number;
}

const TABLES = 0x1000;
const TABLES_ROOM = 0x1_0000;
/** How programs end that cannot execute HLT: arm64 ones, and those of TDX. */
const ENDED = 'the program';

/** A program did not come to its halt, or one of its checks failed. */
export class ProgramError extends Error {
  readonly end: MachineEnd;

  constructor(message: string, end: MachineEnd) {
    super(message);
    this.name = 'ProgramError';
    this.end = end;
  }
}

/** What one vCPU's program gave. */
export interface ProgramResult {
  /** Last value by tag. */
  readonly reports: ReadonlyMap<number, bigint>;
  /** Everything, in order. */
  readonly events: readonly GuestEvent[];
}

export class GuestPrograms {
  readonly machine: Machine;
  readonly #events = new Map<number, GuestEvent[]>();
  readonly #collectors = new Map<number, ReportCollector>();
  readonly #detach: () => void;

  /** RangeError when something else of the machine lies in the report window (`REPORT_GPA`). */
  constructor(machine: Machine) {
    this.machine = machine;
    // The exits themselves are read; the device makes the window a place that the machine knows.
    const window = { address: REPORT_GPA, size: REPORT_WINDOW_SIZE };
    const detach = machine.attach('memory', { name: 'reports', write: () => {} }, window);
    const end = { name: 'end of the program', write: () => machine.end({ kind: 'powered-off', by: ENDED }) };
    const detachEnd = machine.attach('port', end, { address: END_PORT, size: 1 });
    const listen = (vcpu: number, exit: Exit): void => {
      if (exit.name !== 'KVM_EXIT_MMIO') return;
      const event = this.#collectors.get(vcpu)?.accept(exit);
      if (event === undefined || event === 'pending') return;
      if (event.kind === 'halt') machine.end({ kind: 'powered-off', by: ENDED });
      else this.#events.get(vcpu)?.push(event);
    };
    machine.on('exit', listen);
    this.#detach = () => {
      machine.off('exit', listen);
      detach();
      detachEnd();
    };
  }

  /**
   * Writes a program into guest memory, which must be shared there, and puts the vCPU at its start. For plain and software-protected guests:
   * where the launch measures the guest, the program is part of that.
   */
  load(program: GuestProgram, id = 0, { pageTables = TABLES + id * TABLES_ROOM }: ProgramPlace = {}): void {
    const { memory } = this.machine;
    if (memory === undefined) throw new TypeError('the machine has no memory to put a program into');
    const vcpu = this.#vcpu(id);
    if (program.arch === 'arm64') {
      // The pc moves over the instruction of the last MMIO exit when that is finished, wherever the pc stands by then.
      if (vcpu.lastExit?.name === 'KVM_EXIT_MMIO') vcpu.completeIo();
      const start = a64.startState(program);
      for (const { gpa, bytes } of start.memory) memory.write(gpa, bytes);
      vcpu.arm64.setCore(start.core);
    } else {
      const start = x64.startState(program, { pageTables });
      for (const { gpa, bytes } of start.memory) memory.write(gpa, bytes);
      vcpu.x64.updateSregs(start.sregs);
      vcpu.x64.setRegs(start.regs);
    }
    this.expect(program, id);
  }

  /** Takes the reports of a program that is in place already: launched with the guest. */
  expect(program: GuestProgram, id = 0): void {
    this.#collectors.set(id, new ReportCollector(program.reportGpa));
    this.#events.set(id, []);
  }

  /** What vCPU `id` has given since its program was loaded. */
  result(id = 0): ProgramResult {
    const events = this.#events.get(id) ?? [];
    const reports = new Map<number, bigint>();
    for (const event of events) if (event.kind === 'report') reports.set(event.tag, event.value);
    return { reports, events };
  }

  /** Runs the machine until every vCPU halted. ProgramError for any other end, and for a check that failed. Reports of vCPU 0. */
  async run(options: MachineRunOptions = {}): Promise<ReadonlyMap<number, bigint>> {
    const end = await this.machine.run(options);
    const ended = end.kind === 'halted' || (end.kind === 'powered-off' && end.by === ENDED);
    if (!ended) throw new ProgramError(`the guest did not halt: ${end.kind}`, end);
    for (const id of this.#events.keys()) {
      for (const event of this.result(id).events) {
        if (event.kind !== 'check' || event.passed) continue;
        const { gpa, expected, actual } = event;
        throw new ProgramError(
          `vCPU ${id} found 0x${actual.toString(16)} at gpa 0x${gpa.toString(16)}, expected 0x${expected.toString(16)}`,
          end,
        );
      }
    }
    return this.result().reports;
  }

  /** Leaves the machine. */
  close(): void {
    this.#detach();
  }

  #vcpu(id: number): Vcpu {
    const found = this.machine.vcpus.find((vcpu) => vcpu.id === id);
    if (found === undefined) throw new RangeError(`the machine has no vCPU ${id}`);
    return found;
  }
}
