/**
 * The launch commands of a trust domain: on its VM and on its vCPUs. Refusals are KernelErrors whose hint names the command and the code of the
 * TDX module. Documentation/virt/kvm/x86/intel-tdx.rst
 */
import { KernelError } from '../kernel/errors.ts';
import {
  KVM_MEMORY_ENCRYPT_OP,
  KVM_TDX,
  type kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_tdx_capabilities,
  kvm_tdx_cmd,
  kvm_tdx_init_mem_region,
  kvm_tdx_init_vm,
} from '../uapi/index.ts';
import { tdxHint } from './tdx-hints.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

const ID = KVM_TDX.value;
const DATA = kvm_tdx_cmd.offsets.data;
const MEASURE = 1;
const FEW_LEAVES = 64;
const IRQCHIP_PINS = 24;
type Entry = NonNullable<Parameters<typeof kvm_cpuid_entry2.encode>[0]>;

export interface MemRegion {
  /** Where the bytes are in this process. */
  readonly source_addr: number;
  readonly gpa: number;
  readonly nr_pages: number;
}

export class Tdx {
  readonly vm: Vm;

  constructor(vm: Vm) {
    this.vm = vm;
  }

  /** KVM_MEMORY_ENCRYPT_OP on the VM or on a vCPU. `data` is the command's struct, or a bare value. */
  command(id: number, data: Uint8Array | bigint, on: Vm | Vcpu = this.vm, flags = 0): void {
    const isValue = typeof data === 'bigint';
    const bytes = kvm_tdx_cmd.encode({ id, flags, data: isValue ? data : 0n });
    try {
      on.ioctl(KVM_MEMORY_ENCRYPT_OP, bytes, isValue ? undefined : [[DATA, data]]);
    } catch (error) {
      throw error instanceof KernelError ? explained(error, id, kvm_tdx_cmd.get(bytes, 'hw_error')) : error;
    }
  }

  /** KVM_TDX_CAPABILITIES. E2BIG when there are more CPUID leaves than `room`. */
  capabilities(room = FEW_LEAVES): ReturnType<typeof kvm_tdx_capabilities.decode> {
    const bytes = kvm_tdx_capabilities.encode({ cpuid: { nent: room } }, room);
    this.command(ID.KVM_TDX_CAPABILITIES, bytes);
    return kvm_tdx_capabilities.decode(bytes);
  }

  /** KVM_CAP_SPLIT_IRQCHIP, without which a trust domain has no vCPUs. */
  splitIrqchip(): void {
    this.vm.createSplitIrqchip(IRQCHIP_PINS);
  }

  /** KVM_TDX_INIT_VM, before the first vCPU. CPUID leaves: those that are configured; 0x80000008 says the guest's address width. */
  initVm(
    fields: Partial<Parameters<typeof kvm_tdx_init_vm.encode>[0]> = {},
    leaves: readonly Entry[] = [{ function: 0x8000_0008, eax: 48 << 16 }],
  ): void {
    this.command(ID.KVM_TDX_INIT_VM, kvm_tdx_init_vm.encode({ ...fields, cpuid: { nent: leaves.length } }, leaves));
  }

  /** KVM_TDX_GET_CPUID: what the module gives the vCPU. */
  cpuid(vcpu: Vcpu): ReturnType<typeof kvm_cpuid2.decodeElements> {
    const bytes = kvm_cpuid2.encode({ nent: FEW_LEAVES }, FEW_LEAVES);
    this.command(ID.KVM_TDX_GET_CPUID, bytes, vcpu);
    return kvm_cpuid2.decodeElements(bytes);
  }

  /** KVM_TDX_INIT_VCPU; `rcx` is what the guest finds in RCX. */
  initVcpu(vcpu: Vcpu, rcx = 0n): void {
    this.command(ID.KVM_TDX_INIT_VCPU, rcx, vcpu);
  }

  /** One KVM_TDX_INIT_MEM_REGION; answers what is left, and on a refusal throws with `region` as it was. Without `measure` MRTD does not know the contents. */
  initMemRegion(vcpu: Vcpu, region: MemRegion, measure = true): MemRegion {
    const bytes = kvm_tdx_init_mem_region.encode({ ...region });
    this.command(ID.KVM_TDX_INIT_MEM_REGION, bytes, vcpu, measure ? MEASURE : 0);
    return kvm_tdx_init_mem_region.decode(bytes);
  }

  /** KVM_TDX_FINALIZE_VM. EBUSY: again. */
  finalize(): void {
    this.command(ID.KVM_TDX_FINALIZE_VM, 0n);
  }
}

function explained(error: KernelError, id: number, module: bigint): KernelError {
  const command = [...KVM_TDX.entries].find(([, entry]) => entry === BigInt(id))?.[0] ?? String(id);
  const said = module === 0n ? '' : `the TDX module says 0x${module.toString(16)}; `;
  const { errno, syscall, args } = error;
  const hint = `${said}${tdxHint(command, error.code) ?? error.hint ?? ''}`;
  return new KernelError({ errno, syscall, args, request: `${error.request ?? syscall}(${command})`, hint });
}
