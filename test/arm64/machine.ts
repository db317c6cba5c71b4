/** A VM with memory at gpa 0 and vCPUs for A64 code, as the scenarios use them. */
import { type Exit, Mapping, type Vcpu, type Vm } from 'privmem';
import { a64, type Builders, type GuestProgram, program, ReportCollector } from 'privmem/guest';
import { exitFact, type Fact, hex, type Scene } from './recording.ts';

export const RAM = 0x10_0000;
export const CODE = 0x1_0000;
export const DATA = 0x8_0000;
/** No memslot is there. */
export const NOWHERE = 0x4000_0000;
export const PSCI_0_2 = 4;
/** Emulated processors are slow; nothing here runs long. */
const LIMIT_MS = 60_000;

export class Machine {
  readonly vm: Vm;
  readonly memory: Mapping;
  readonly vcpu: Vcpu;
  readonly #scene: Scene;

  /** @param made a type of VM, or what the scenario made itself and closes. */
  constructor(scene: Scene, made: number | { readonly vm: Vm; readonly memory: Mapping; readonly vcpu: Vcpu } = 0) {
    this.#scene = scene;
    if (typeof made !== 'number') {
      this.vm = made.vm;
      this.memory = made.memory;
      this.vcpu = made.vcpu;
      return;
    }
    this.vm = scene.use(scene.kvm.createVm(made));
    this.memory = scene.use(Mapping.anonymous(scene.sys, RAM));
    this.vm.addMemslot({ slot: 0, gpa: 0, size: RAM, backing: this.memory });
    this.vcpu = this.addVcpu(0);
  }

  addVcpu(id: number, features = PSCI_0_2): Vcpu {
    const vcpu = this.#scene.use(this.vm.createVcpu(id));
    vcpu.arm64.init(undefined, [features]);
    return vcpu;
  }

  /** An access that nobody finished would move the pc of whatever comes next. */
  #finish(): void {
    if (this.vcpu.lastExit?.name === 'KVM_EXIT_MMIO') this.vcpu.completeIo();
  }

  /** Code at CODE, the pc there. */
  load(write: (a: a64.Assembler) => unknown, at = CODE): void {
    this.#finish();
    const a = new a64.Assembler(at);
    write(a);
    this.memory.write(at, a.bytes());
    this.vcpu.arm64.setCore({ pc: BigInt(at) });
  }

  /** The next exit; a run that ends without one says why. */
  run(timeoutMs = LIMIT_MS): Exit | string {
    const result = this.vcpu.raw.runSync({ timeoutMs });
    return result.ok ? result.value : result.code;
  }

  runFact(timeoutMs = LIMIT_MS): Fact {
    const end = this.run(timeoutMs);
    return typeof end === 'string' ? end : exitFact(end);
  }

  pc(): string {
    return hex(this.vcpu.arm64.getCore().pc);
  }

  x(index: number): string {
    return hex(this.vcpu.arm64.getCore().x[index] ?? 0n);
  }

  /** A program to its end: everything that it told. */
  play(write: (g: Builders['arm64']) => void): Fact {
    return this.playProgram(program({ arch: 'arm64', base: CODE }, write));
  }

  playProgram(built: GuestProgram): Fact {
    this.#finish();
    const start = a64.startState(built);
    for (const { gpa, bytes } of start.memory) this.memory.write(gpa, bytes);
    this.vcpu.arm64.setCore(start.core);
    const collector = new ReportCollector();
    const told: Fact[] = [];
    for (;;) {
      const end = this.run();
      if (typeof end === 'string') return [...told, end];
      const event = end.name === 'KVM_EXIT_MMIO' ? collector.accept(end) : undefined;
      if (event === undefined) return [...told, exitFact(end)];
      if (event === 'pending') continue;
      if (event.kind === 'halt') return told;
      told.push(eventFact(event));
    }
  }
}

function eventFact(event: Exclude<ReturnType<ReportCollector['accept']>, 'pending' | undefined>): Fact {
  const facts = Object.entries(event).map(([name, value]) => [name, typeof value === 'bigint' ? hex(value) : value]);
  return Object.fromEntries(facts) as Fact;
}
