/** The requests of a vCPU's descriptor, and its pages. virt/kvm/kvm_main.c, kvm_vcpu_ioctl and kvm_vcpu_fault */
import { KVM_RUN } from '../../uapi/index.ts';
import { EINVAL, EIO } from '../errno.ts';
import type { Fault } from '../file.ts';
import type { PageStore } from '../page-store.ts';
import { KvmFile } from './kvm-file.ts';
import type { Runner } from './runner.ts';
import type { Vcpu } from './vcpu.ts';

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
    return filePage < this.vcpu.vm.machine.limits.runPages ? this.pages.page(filePage, write) : 'SIGBUS';
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
    return vcpu.request(request, arg) ?? -EINVAL;
  }
}
