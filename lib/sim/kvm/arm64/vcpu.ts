/** KVM_RUN on arm64. arch/arm64/kvm/arm.c, kvm_arch_vcpu_ioctl_run; mmio.c; handle_exit.c */
import { KVM_ARM_VCPU, KVM_EXIT, KVM_MP_STATE } from '../../../uapi/index.ts';
import { kvm_regs_arm64 } from '../../../uapi/kvm-arm64-regs.ts';
import { kvm_run, kvm_run_mmio } from '../../../uapi/kvm-run.ts';
import {
  A64Cpu,
  type A64MmioStop,
  type CallStop,
  CLASS,
  getPair,
  STATUS,
  type Stop,
  setPair,
} from '../../arm64/index.ts';
import { PC } from '../../arm64/registers.ts';
import { EINTR, ENOEXEC, ENOSYS } from '../../errno.ts';
import { writeMemoryFault, writeMmio } from '../exits.ts';
import { RunPage } from '../run-page.ts';
import type { Vcpu } from '../vcpu.ts';
import * as exits from './exits.ts';
import type { Arm64Machine } from './machine.ts';
import { PSCI_0_1, PSCI_LATEST } from './psci.ts';
import { call } from './smccc.ts';
import { stateRequest } from './state-requests.ts';
import type { Arm64Vm } from './vm.ts';

const RUN = kvm_run.offsets;
const REASON = KVM_EXIT.value;
const { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED } = KVM_MP_STATE.value;
const PSCI_0_2_FEATURE = 1 << KVM_ARM_VCPU.value.KVM_ARM_VCPU_PSCI_0_2;
const AFFINITY_BITS = 0xff_00ff_ffffn;
const HVC_LENGTH = 4n;

export class Arm64Vcpu implements Vcpu {
  readonly machine: Arm64Machine;
  readonly vm: Arm64Vm;
  readonly id: number;
  readonly cpu: A64Cpu;
  readonly page = new RunPage();
  /** struct kvm_regs, for registers that the simulated processor does not have: vectors and those of AArch32. */
  readonly passive = new Uint8Array(kvm_regs_arm64.size);
  initialized = false;
  mpState: number = KVM_MP_STATE_RUNNABLE;
  /** PSCI turned the vCPU on: it is reset before it goes on. */
  owesReset: { readonly pc: bigint; readonly x0: bigint } | undefined;
  #hasRun = false;
  #running = false;
  /** WFI: nothing but a signal ends it. */
  #waits = false;
  /** An access that userspace is to finish. */
  #mmio: { readonly stop: A64MmioStop; readonly word: number } | undefined;

  constructor(machine: Arm64Machine, vm: Arm64Vm, id: number) {
    this.machine = machine;
    this.vm = vm;
    this.id = id;
    this.cpu = new A64Cpu(id, { ipaBits: machine.ipaBits(vm.type), physicalBits: machine.physicalBits });
    vm.vcpus.push(this);
  }

  get running(): boolean {
    return this.#running;
  }

  get affinity(): bigint {
    return this.cpu.state.system.mpidr & AFFINITY_BITS;
  }

  get hasPsci02(): boolean {
    return ((this.vm.features ?? 0) & PSCI_0_2_FEATURE) !== 0;
  }

  /** kvm_psci_version. */
  get psciVersion(): number {
    if (!this.hasPsci02) return PSCI_0_1;
    return this.vm.psciVersion === undefined ? PSCI_LATEST : Number(this.vm.psciVersion);
  }

  request(request: number, arg: bigint): number | undefined {
    return stateRequest(this, request, arg);
  }

  /** kvm_reset_vcpu. */
  reset(): void {
    const owed = this.owesReset;
    this.owesReset = undefined;
    this.cpu.state.reset();
    this.passive.fill(0);
    if (owed === undefined) return;
    setPair(this.cpu.state.r, PC, owed.pc);
    setPair(this.cpu.state.r, 0, owed.x0);
  }

  enter(): number | undefined {
    if (!this.initialized) return -ENOEXEC;
    if (!this.#hasRun) {
      this.#hasRun = true;
      this.vm.hasRunOnce = true;
    }
    const { run } = this.page;
    if (run.getUint32(RUN.exit_reason, true) === REASON.KVM_EXIT_MMIO) this.#finishMmio();
    if (this.page.immediateExit) return -EINTR;
    this.page.exitReason = REASON.KVM_EXIT_UNKNOWN;
    run.setUint16(RUN.flags, 0, true);
    this.#running = true;
    return undefined;
  }

  /** kvm_handle_mmio_return: the load gets its bytes, and either way the instruction is over. */
  #finishMmio(): void {
    if (this.#mmio === undefined) return;
    const { stop, word } = this.#mmio;
    this.#mmio = undefined;
    if (!stop.isWrite) this.cpu.finishLoad(word, this.page.payload(kvm_run_mmio.offsets.data, stop.length));
    this.cpu.skip();
  }

  slice(instructions: number): number | undefined {
    const end = this.cpu.executed + instructions;
    while (this.cpu.executed < end) {
      // Stopped, suspended or waiting, the vCPU sleeps until a signal comes or somebody wakes it.
      if (this.mpState !== KVM_MP_STATE_RUNNABLE || this.#waits) return undefined;
      if (this.owesReset !== undefined) this.reset();
      const result = this.#handle(this.cpu.run(this.vm.memory, end - this.cpu.executed));
      if (result !== undefined) return this.#leave(result);
    }
    return undefined;
  }

  interrupt(): number {
    this.page.exitReason = REASON.KVM_EXIT_INTR;
    if (this.#waits) {
      this.#waits = false;
      if (this.#skipsWait) this.cpu.skip();
    }
    return this.#leave(-EINTR);
  }
  /** WFI itself has not been gone past yet; a PSCI call that waits has. */
  #skipsWait = false;

  #leave(result: number): number {
    this.#running = false;
    return result;
  }

  #handle(stop: Stop): number | undefined {
    const { page } = this;
    switch (stop.kind) {
      case 'budget':
        return undefined;
      case 'mmio':
        return this.#mmioExit(stop);
      case 'memory-fault':
        writeMemoryFault(page, stop.gpa, stop.private);
        return -stop.errno;
      case 'unreachable':
        return -stop.errno;
      case 'wfi':
        this.#waits = true;
        this.#skipsWait = true;
        return undefined;
      case 'call':
        return this.#call(stop);
      case 'unknown':
        exits.writeUnknown(page, stop.word);
        return 0;
    }
  }

  /** io_mem_abort. */
  #mmioExit(stop: A64MmioStop): number | undefined {
    if (!stop.described) {
      if (this.machine.isProtected(this.vm.type)) {
        this.#injectExternalAbort(BigInt(stop.gpa));
        return undefined;
      }
      if (!this.vm.tellsUndescribed) return -ENOSYS;
      exits.writeUndescribed(this.page, stop.gpa, stop.isWrite);
      return 0;
    }
    this.#mmio = { stop, word: this.cpu.stoppedAt };
    writeMmio(this.page, stop);
    return 0;
  }

  /** kvm_inject_sea_dabt. */
  #injectExternalAbort(address: bigint): void {
    this.cpu.take({ class: CLASS.dataAbort, syndrome: STATUS.external, address });
  }

  #call({ conduit, immediate }: CallStop): number | undefined {
    const { r } = this.cpu.state;
    // What SMC leaves for other conventions than this one is refused.
    if (conduit === 'smc' && immediate !== 0) {
      setPair(r, 0, -1n);
      return undefined;
    }
    const fn = Number(getPair(r, 0) & 0xffff_ffffn);
    const outcome = call(this, fn, [getPair(r, 2), getPair(r, 4), getPair(r, 6)], conduit === 'hvc');
    switch (outcome.kind) {
      case 'answered':
        for (let i = 0; i < 4; i++) setPair(r, 2 * i, outcome.values[i] ?? 0n);
        if (outcome.waits) {
          this.#waits = true;
          this.#skipsWait = false;
        }
        return undefined;
      case 'event':
        for (const vcpu of this.vm.vcpus) vcpu.mpState = KVM_MP_STATE_STOPPED;
        for (let i = 0; i < 4; i++) setPair(r, 2 * i, i === 0 ? outcome.x0 : 0n);
        exits.writeSystemEvent(this.page, outcome.event, outcome.flags);
        return 0;
      case 'suspend':
        exits.writeSuspend(this.page);
        return 0;
      case 'forward':
        exits.writeHypercall(this.page, fn, conduit === 'smc');
        return 0;
      case 'missing':
        return this.#bringIn(outcome.gpa);
    }
  }

  /** The page that the guest wants to share is fetched as if it had written there, and the call is made again. */
  #bringIn(gpa: bigint): number | undefined {
    const { r } = this.cpu.state;
    setPair(r, PC, getPair(r, PC) - HVC_LENGTH);
    const gfn = Number(gpa >> 12n);
    const found = this.vm.memory.page(gfn, 'write');
    if (found instanceof Uint8Array) return undefined;
    if (found.kind === 'unreachable' || found.kind === 'memory-fault') return -found.errno;
    this.#injectExternalAbort(0n);
    return undefined;
  }
}
