/**
 * KVM_RUN: enters the guest in slices and turns why it stopped into an exit. arch/x86/kvm/x86.c, kvm_arch_vcpu_ioctl_run and vcpu_run.
 * A run is under way from `enter` until a slice, an interruption or `enter` itself has given its result.
 */
import { KVM_EXIT } from '../../uapi/kvm-exits.ts';
import { KVM_RUN_EXIT_OFFSET, kvm_run, kvm_run_hypercall, kvm_run_mmio } from '../../uapi/kvm-run.ts';
import { EINTR, EINVAL, ENOSPC } from '../errno.ts';
import type { Regs, Sregs } from '../x64/index.ts';
import { X64Cpu } from '../x64/index.ts';
import type { HypercallStop, Stop } from '../x64/stop.ts';
import * as exits from './exits.ts';
import { hypercallResult } from './hypercall.ts';
import { RunPage } from './run-page.ts';
import type { Vm } from './vm.ts';

const RUN = kvm_run.offsets;
const REASON = KVM_EXIT.value;
const CR8_RESERVED = ~15n;

/** Reads the answer that the last exit waits for. */
type Pending = () => Uint8Array;

export class Vcpu {
  readonly vm: Vm;
  readonly id: number;
  readonly cpu: X64Cpu;
  readonly page = new RunPage();
  /** KVM_SET_CPUID2 is refused from the first entry on. */
  hasRun = false;
  #pending: Pending | undefined;
  #running = false;

  constructor(vm: Vm, id: number) {
    this.vm = vm;
    this.cpu = new X64Cpu(vm.machine.cpuOptions);
    this.id = id;
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
    this.page.exitReason = REASON.KVM_EXIT_UNKNOWN;
    // Shadow paging has as many pages as the slots make room for: mmu_alloc_shadow_roots.
    if (!this.vm.machine.twoDimensionalPaging && !this.vm.hadSlots) return this.#leave(-ENOSPC);
    this.hasRun = true;
    return undefined;
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
    const pending = this.#pending;
    const completes = pending !== undefined || this.cpu.hasMoreWrites;
    this.#pending = undefined;
    if (pending !== undefined) this.cpu.complete(pending());
    return only && completes ? this.#handle(this.cpu.run(this.vm.memory, 1)) : undefined;
  }

  /** Runs some instructions: the result of KVM_RUN, or undefined when the guest would go on. */
  slice(instructions: number): number | undefined {
    const end = this.cpu.executed + instructions;
    while (this.cpu.executed < end) {
      const result = this.#handle(this.cpu.run(this.vm.memory, end - this.cpu.executed));
      if (result !== undefined) return this.#leave(result);
    }
    return undefined;
  }

  /** A signal ends the run. */
  interrupt(): number {
    this.page.exitReason = REASON.KVM_EXIT_INTR;
    return this.#leave(-EINTR);
  }

  #handle(stop: Stop): number | undefined {
    const { page } = this;
    switch (stop.kind) {
      case 'budget':
        return undefined;
      case 'io':
        exits.writeIo(page, stop);
        if (stop.waits) this.#pending = () => page.pio.slice(0, stop.size * stop.count);
        return 0;
      case 'mmio':
        exits.writeMmio(page, stop);
        if (!stop.isWrite) this.#pending = () => page.payload(kvm_run_mmio.offsets.data, stop.length).slice();
        return 0;
      case 'hypercall':
        return this.#hypercall(stop);
      case 'memory-fault':
        exits.writeMemoryFault(page, stop.gpa, stop.private);
        return -stop.errno;
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
        if (this.vm.machine.resetsOnShutdown) this.cpu.init();
        page.exitReason = REASON.KVM_EXIT_SHUTDOWN;
        return 0;
    }
  }

  #hypercall(stop: HypercallStop): number | undefined {
    const { page, vm } = this;
    const result = hypercallResult(stop, vm.exitHypercalls);
    if (result !== undefined) {
      if (vm.machine.presetsHypercallResult) exits.writeHypercallResult(page, result);
      this.cpu.complete(resultBytes(result, stop.longMode));
      return undefined;
    }
    exits.writeHypercall(page, stop, vm.machine.presetsHypercallResult);
    const at = KVM_RUN_EXIT_OFFSET + kvm_run_hypercall.offsets.ret;
    this.#pending = () => resultBytes(page.run.getBigUint64(at, true), stop.longMode);
    return 0;
  }

  /** post_kvm_run_save. */
  #leave(result: number): number {
    this.#running = false;
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
