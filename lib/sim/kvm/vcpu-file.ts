/** The requests of a vCPU's descriptor, and its pages. virt/kvm/kvm_main.c, kvm_vcpu_ioctl and kvm_vcpu_fault */
import {
  KVM_GET_CPUID2,
  KVM_GET_MP_STATE,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_PRE_FAULT_MEMORY,
  KVM_RUN,
  KVM_SET_CPUID2,
  KVM_SET_MP_STATE,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
} from '../../uapi/index.ts';
import { EINVAL, EIO, ENOTTY } from '../errno.ts';
import type { Fault } from '../file.ts';
import type { PageStore } from '../page-store.ts';
import { KvmFile } from './kvm-file.ts';
import { VCPU_PAGES } from './limits.ts';
import { preFault } from './pre-fault.ts';
import type { Runner } from './runner.ts';
import type { Vcpu } from './vcpu.ts';
import * as state from './x64-requests.ts';

type Handler = (vcpu: Vcpu, arg: bigint) => number;

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [KVM_GET_REGS.request, state.getRegs],
  [KVM_SET_REGS.request, state.setRegs],
  [KVM_GET_SREGS.request, state.getSregs],
  [KVM_SET_SREGS.request, state.setSregs],
  [KVM_GET_MP_STATE.request, state.getMpState],
  [KVM_SET_MP_STATE.request, state.setMpState],
  [KVM_GET_MSRS.request, state.getMsrs],
  [KVM_SET_MSRS.request, state.setMsrs],
  [KVM_GET_CPUID2.request, state.getCpuid],
  [KVM_SET_CPUID2.request, state.setCpuid],
]);

/** Only TDX has commands for vCPUs; the vendor module that has it refuses them on other VMs with EINVAL. */
function vcpuCommand(vcpu: Vcpu, arg: bigint): number {
  const { machine, technology } = vcpu.vm;
  if (technology !== undefined) return technology.vcpuCommand(vcpu, arg);
  return machine.technologies.has('tdx') ? -EINVAL : -ENOTTY;
}

export class VcpuFile extends KvmFile {
  readonly vcpu: Vcpu;
  readonly #runner: Runner;
  override readonly pages: PageStore;

  constructor(vcpu: Vcpu, ino: bigint, runner: Runner) {
    super(ino);
    this.vcpu = vcpu;
    this.#runner = runner;
    this.pages = vcpu.page.store;
    vcpu.vm.retain();
  }

  protected override release(): void {
    this.vcpu.vm.drop();
  }

  override linkName(): string {
    return `anon_inode:kvm-vcpu:${this.vcpu.id}`;
  }

  override get mappable(): boolean {
    return true;
  }

  /** Any length can be mapped; what lies behind the last page cannot be touched. */
  override mmap(): number {
    return 0;
  }

  override fault(filePage: number, write: boolean): Fault {
    return filePage < VCPU_PAGES ? this.pages.page(filePage, write) : 'SIGBUS';
  }

  /** The pages belong to the vCPU, not to a page cache. */
  override cached(): number {
    return 0;
  }

  override ioctl(request: number, arg: bigint): number {
    const { vcpu } = this;
    if (vcpu.vm.dead) return -EIO;
    // Every request waits for the vCPU's mutex.
    this.#runner.settle(vcpu);
    if (request === KVM_RUN.request) return arg === 0n ? this.#runner.run(vcpu) : -EINVAL;
    if (request === KVM_PRE_FAULT_MEMORY.request && vcpu.vm.machine.profile.preFault) return preFault(vcpu, arg);
    if (request === KVM_MEMORY_ENCRYPT_OP.request) return vcpuCommand(vcpu, arg);
    return HANDLERS.get(request)?.(vcpu, arg) ?? -EINVAL;
  }
}
