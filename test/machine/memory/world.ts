/** A VM with guest memory and one vCPU, on a kernel of which calls can be made to fail. */
import { program, ReportCollector, x64 } from '../../../lib/guest/index.ts';
import { type Kernel, Kvm, type SimulateOptions, Sys, simulate, type Vcpu, type Vm } from '../../../lib/index.ts';
import { GuestMemory, type GuestRange, type Side } from '../../../lib/machine/index.ts';
import { KVM_SET_MEMORY_ATTRIBUTES, KVM_VM_TYPE } from '../../../lib/uapi/index.ts';

export const PAGE = 4096;
/** Data goes here; programs and page tables lie below. */
export const RAM = 0x10_0000;
const LOW_SIZE = 0x8_0000;
const BASE = 0x4_0000;
const ENOMEM = 12;
const SET_MEMORY_ATTRIBUTES2 = 0xc080_aed2;

/** Decides, by the number of a call since `arm`, whether it fails. Only calls that a conversion makes are counted. */
export interface Faults {
  /** Calls from now on are counted from 1; those for which `fails` says so are refused with ENOMEM and do nothing. */
  arm(fails: (call: number) => boolean): void;
  readonly count: number;
}

const COUNTED: ReadonlySet<unknown> = new Set([KVM_SET_MEMORY_ATTRIBUTES.request, SET_MEMORY_ATTRIBUTES2]);

export function failing(kernel: Kernel): { readonly kernel: Kernel; readonly faults: Faults } {
  let count = 0;
  let fails = (_call: number): boolean => false;
  const faults: Faults = {
    arm(decide) {
      count = 0;
      fails = decide;
    },
    get count() {
      return count;
    },
  };
  const counted = (call: string | symbol, args: readonly unknown[]): boolean =>
    call === 'fallocate' || call === 'madvise' || (call === 'ioctl' && COUNTED.has(args[1]));
  const wrapped = new Proxy(kernel, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name, target);
      if (typeof method !== 'function') return method;
      return (...args: unknown[]): unknown => {
        if (counted(name, args)) {
          count++;
          if (fails(count)) return -ENOMEM;
        }
        return Reflect.apply(method, target, args);
      };
    },
  });
  return { kernel: wrapped, faults };
}

export class World {
  readonly faults: Faults;
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly memory: GuestMemory;
  readonly vcpu: Vcpu;

  constructor(options: SimulateOptions = {}, type: number = KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM) {
    const { kernel, faults } = failing(simulate(options));
    this.faults = faults;
    this.kvm = Kvm.open(new Sys(kernel));
    this.vm = this.kvm.createVm(type);
    this.memory = new GuestMemory(this.vm);
    this.memory.addRam({ name: 'low', gpa: 0, size: LOW_SIZE, shared: 'memfd' });
    this.vcpu = this.vm.createVcpu();
    this.vcpu.x64.setCpuid(this.kvm.supportedCpuid());
  }

  /** Runs a program to its halt; what it reported, by tag. */
  guest(write: Parameters<typeof program<'x64'>>[1]): ReadonlyMap<number, bigint> {
    const start = x64.startState(program({ arch: 'x64', base: BASE }, write));
    for (const { gpa, bytes } of start.memory) this.memory.write(gpa, bytes);
    this.vcpu.x64.updateSregs(start.sregs);
    this.vcpu.x64.setRegs(start.regs);
    const collector = new ReportCollector();
    const reports = new Map<number, bigint>();
    for (;;) {
      const exit = this.vcpu.runSync({ timeoutMs: 10_000 });
      if (exit.name === 'KVM_EXIT_HLT') return reports;
      const event = exit.name === 'KVM_EXIT_MMIO' ? collector.accept(exit) : undefined;
      if (event === undefined) throw new Error(`the guest ended with ${exit.name ?? exit.reason}`);
      if (event !== 'pending' && event.kind === 'report') reports.set(event.tag, event.value);
    }
  }

  /** The first word of each page, as the guest sees it. */
  guestWords(pages: readonly number[]): bigint[] {
    const reports = this.guest((g) => {
      for (const [tag, gpa] of pages.entries()) g.report(tag, g.load(gpa));
    });
    return pages.map((_, tag) => reports.get(tag) ?? -1n);
  }

  guestStores(words: ReadonlyMap<number, bigint>): void {
    if (words.size === 0) return;
    this.guest((g) => {
      for (const [gpa, value] of words) g.store(gpa, value);
    });
  }

  close(): void {
    this.memory.close();
    this.kvm.close();
  }
}

export const pagesOf = ({ gpa, size }: GuestRange): number[] =>
  Array.from({ length: size / PAGE }, (_, i) => gpa + i * PAGE);

export const sideOf = (isPrivate: boolean): Side => (isPrivate ? 'private' : 'shared');
