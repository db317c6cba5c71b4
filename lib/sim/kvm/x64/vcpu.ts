/**
 * KVM_RUN on x86-64: enters the guest in slices and turns why it stopped into an exit. arch/x86/kvm/x86.c, kvm_arch_vcpu_ioctl_run and vcpu_run.
 * A run is under way from `enter` until a slice, an interruption or `enter` itself has given its result.
 */
import { KVM_EXIT } from '../../../uapi/kvm-exits.ts';
import { KVM_RUN_EXIT_OFFSET, kvm_run, kvm_run_hypercall, kvm_run_mmio } from '../../../uapi/kvm-run.ts';
import { EINTR, EINVAL, ENOSPC, EPERM } from '../../errno.ts';
import { writeMemoryError } from '../../patches/memfile-binding.ts';
import type { Regs, Sregs } from '../../x64/index.ts';
import { type GuestBus, X64Cpu } from '../../x64/index.ts';
import type { HypercallStop, Stop } from '../../x64/stop.ts';
import { RunPage } from '../run-page.ts';
import type { Vcpu } from '../vcpu.ts';
import * as exits from './exits.ts';
import { hypercallResult } from './hypercall.ts';
import type { X64Machine } from './machine.ts';
import { Root } from './root.ts';
import { stateRequest } from './state-requests.ts';
import type { RunResult } from './technology.ts';
import type { X64Vm } from './vm.ts';

const RUN = kvm_run.offsets;
const REASON = KVM_EXIT.value;
const CR8_RESERVED = ~15n;
const TRAP = 0x100n;

/** Reads the answer that the last exit waits for. */
type Pending = () => Uint8Array;

export class X64Vcpu implements Vcpu {
  readonly machine: X64Machine;
  readonly vm: X64Vm;
  readonly id: number;
  readonly cpu: X64Cpu;
  readonly page = new RunPage();
  /** KVM_SET_CPUID2 is refused from the first entry on. */
  hasRun = false;
  #pending: Pending | undefined;
  /** What the next run does first, in place of an answer to an instruction: complete_userspace_io. */
  #completion: (() => RunResult) | undefined;
  readonly #bus: GuestBus;
  #running = false;
  readonly root: Root;

  constructor(machine: X64Machine, vm: X64Vm, id: number) {
    this.machine = machine;
    this.vm = vm;
    this.cpu = new X64Cpu(machine.cpuOptions);
    this.root = new Root(machine.profile.preFaultReloads);
    this.id = id;
    vm.vcpus.push(this);
    vm.technology?.vcpuCreated(this);
    this.#bus = vm.technology?.bus(this) ?? vm.memory;
  }

  /** Registers are the guest's alone. */
  get isHidden(): boolean {
    return this.vm.technology?.hidesState(this) === true;
  }

  /** The next run begins with `completion`; a result ends it. */
  completeWith(completion: () => RunResult): void {
    this.#completion = completion;
  }

  request(request: number, arg: bigint): number | undefined {
    return stateRequest(this, request, arg);
  }

  get running(): boolean {
    return this.#running;
  }

  /** An answer for an instruction that is left is dropped. */
  setRegs(regs: Regs): void {
    if (regs.rip !== this.cpu.getRegs().rip) this.#pending = undefined;
    this.cpu.setRegs(regs);
  }

  setSregs(sregs: Sregs): boolean {
    const { cr0, cr3, cr4, efer } = this.cpu.getSregs();
    if (sregs.cr0 !== cr0 || sregs.cr3 !== cr3 || sregs.cr4 !== cr4 || sregs.efer !== efer) this.root.drop();
    return this.cpu.setSregs(sregs);
  }

  /** Begins a run. A result when it ended at once: what was asked for is wrong, or userspace wants it back. */
  enter(): number | undefined {
    const { run, immediateExit } = this.page;
    run.setUint16(RUN.flags, 0, true);
    // Registers cannot be shared through the page: KVM_CAP_SYNC_REGS is 0.
    if (run.getBigUint64(RUN.kvm_valid_regs, true) !== 0n || run.getBigUint64(RUN.kvm_dirty_regs, true) !== 0n) {
      return this.#leave(-EINVAL);
    }
    const cr8 = run.getBigUint64(RUN.cr8, true);
    if ((cr8 & CR8_RESERVED) !== 0n) return this.#leave(-EINVAL);
    this.#setCr8(cr8);
    this.#running = true;
    const unfinished = this.#finishLast(immediateExit);
    if (unfinished !== undefined) return this.#leave(unfinished);
    if (immediateExit) return this.#leave(-EINTR);
    const { technology } = this.vm;
    const refused = technology?.mayRun(this) ?? 0;
    if (refused !== 0) return this.#leave(refused);
    this.page.exitReason = REASON.KVM_EXIT_UNKNOWN;
    const failure = technology?.entryFailure(this);
    if (failure !== undefined) {
      exits.writeFailEntry(this.page, failure);
      return this.#leave(0);
    }
    // Shadow paging has as many pages as the slots make room for: mmu_alloc_shadow_roots.
    if (!this.machine.twoDimensionalPaging && !this.vm.hadSlots) return this.#leave(-ENOSPC);
    this.hasRun = true;
    this.root.reload();
    return undefined;
  }

  /** Whether each instruction is followed by a debug exception (TF). */
  get #traps(): boolean {
    return (this.cpu.getRegs().rflags & TRAP) !== 0n;
  }

  /**
   * An `out` that a processor has told of ends where that said, whatever stands at rip by then, if rip is where it was: x86.c,
   * complete_fast_pio_out; svm.c, svm_skip_emulated_instruction.
   */
  #skipTo(end: bigint): () => undefined {
    const place = (): bigint => this.cpu.getSregs().cs.base + this.cpu.getRegs().rip;
    const from = place();
    return () => {
      if (place() === from) this.cpu.setRegs({ ...this.cpu.getRegs(), rip: end });
    };
  }

  #setCr8(cr8: bigint): void {
    const sregs = this.cpu.getSregs();
    if (sregs.cr8 !== cr8) this.cpu.setSregs({ ...sregs, cr8 });
  }

  /**
   * Gives the last exit its answer. With `only`, the instruction is also carried through, and what it still asks for is a result: userspace
   * wants the registers of a finished instruction.
   */
  #finishLast(only: boolean): number | undefined {
    const completion = this.#completion;
    this.#completion = undefined;
    const completed = completion?.();
    if (typeof completed === 'number') return completed;
    const pending = this.#pending;
    const completes = pending !== undefined || this.cpu.hasMoreWrites;
    this.#pending = undefined;
    if (pending !== undefined) this.cpu.complete(pending());
    const result = only && completes ? this.#handle(this.cpu.run(this.#bus, 1)) : undefined;
    return result === 'wait' ? undefined : result;
  }

  /** Runs some instructions: the result of KVM_RUN, or undefined when the guest would go on. */
  slice(instructions: number): number | undefined {
    const end = this.cpu.executed + instructions;
    let result: RunResult;
    while (result === undefined && this.cpu.executed < end) {
      const stop = this.cpu.run(this.#bus, end - this.cpu.executed);
      // Whoever looks at the clock decides how long.
      if (stop.kind === 'retry') break;
      result = this.#handle(stop);
    }
    if (typeof result === 'number') return this.#leave(result);
    this.vm.technology?.leaveGuest();
    return undefined;
  }

  /** A signal ends the run. */
  interrupt(): number {
    this.page.exitReason = REASON.KVM_EXIT_INTR;
    return this.#leave(-EINTR);
  }

  #address(gpa: number): number {
    return this.vm.technology?.address(gpa) ?? gpa;
  }

  #handle(stop: Stop): RunResult {
    const { page } = this;
    switch (stop.kind) {
      case 'budget':
      case 'retry':
        return undefined;
      case 'io':
        exits.writeIo(page, stop);
        if (stop.waits && stop.end !== undefined && !this.#traps) this.completeWith(this.#skipTo(stop.end));
        else if (stop.waits) this.#pending = () => page.pio.slice(0, stop.size * stop.count);
        return 0;
      case 'mmio':
        exits.writeMmio(page, { ...stop, gpa: this.#address(stop.gpa) });
        if (!stop.isWrite) this.#pending = () => page.payload(kvm_run_mmio.offsets.data, stop.length).slice();
        return 0;
      case 'hypercall':
        return this.#hypercall(stop);
      case 'memory-fault':
        return this.#memoryFault(this.#address(stop.gpa), stop);
      case 'unreachable':
        return -stop.errno;
      case 'emulation':
        exits.writeEmulationFailure(page, stop);
        return 0;
      case 'delivery':
        exits.writeDeliveryFailure(page, stop);
        return 0;
      case 'hlt':
        page.exitReason = REASON.KVM_EXIT_HLT;
        return 0;
      case 'shutdown':
        if (this.machine.resetsOnShutdown) this.cpu.init();
        page.exitReason = REASON.KVM_EXIT_SHUTDOWN;
        return 0;
      case 'secure':
        return this.vm.technology?.secure(this, stop);
    }
  }

  #memoryFault(gpa: number, stop: { readonly private: boolean; readonly errno: number }): number {
    if (!this.machine.hasMemfiles) {
      exits.writeMemoryFault(this.page, gpa, stop.private);
      return -stop.errno;
    }
    writeMemoryError(this, gpa, stop.private);
    // The fault handler of 2022 answers -1, which is the result of KVM_RUN.
    return -EPERM;
  }

  #hypercall(stop: HypercallStop): number | undefined {
    const { page, vm } = this;
    const result = hypercallResult(stop, vm.exitHypercalls);
    if (result !== undefined) {
      if (this.machine.presetsHypercallResult) exits.writeHypercallResult(page, result);
      this.cpu.complete(resultBytes(result, stop.longMode));
      return undefined;
    }
    exits.writeHypercall(page, stop, this.machine.presetsHypercallResult);
    if (stop.numberCut === true && !this.machine.profile.hypercallNumberCut) {
      this.cpu.complete(resultBytes(0n, stop.longMode));
      return undefined;
    }
    const at = KVM_RUN_EXIT_OFFSET + kvm_run_hypercall.offsets.ret;
    this.#pending = () => resultBytes(page.run.getBigUint64(at, true), stop.longMode);
    return 0;
  }

  /** post_kvm_run_save. */
  #leave(result: number): number {
    this.#running = false;
    this.vm.technology?.leaveGuest();
    const { run } = this.page;
    const { cr8, apic_base } = this.cpu.getSregs();
    const interruptible = this.cpu.interruptible ? 1 : 0;
    run.setUint8(RUN.if_flag, interruptible);
    run.setUint8(RUN.ready_for_interrupt_injection, interruptible);
    run.setBigUint64(RUN.cr8, cr8, true);
    run.setBigUint64(RUN.apic_base, apic_base, true);
    return result;
  }
}

/** rax after a hypercall: outside 64-bit mode its lower half. */
function resultBytes(result: bigint, longMode: boolean): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(longMode ? 64 : 32, result), true);
  return bytes;
}
