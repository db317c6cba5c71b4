/** What the architectures need before a vCPU runs a program. */
import type { Kvm } from '../kvm/kvm.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { KVM_ARM_VCPU } from '../uapi/index.ts';

/**
 * Right after its creation. x86-64: all that KVM supports, since without CPUID there is no long mode (KVM checks EFER against it). arm64: PSCI is
 * how a program could turn the machine off.
 */
export function initVcpu(kvm: Kvm | undefined, vcpu: Vcpu): Vcpu {
  if (kvm !== undefined && vcpu.sys.kernel.arch === 'x64') vcpu.x64.setCpuid(kvm.supportedCpuid());
  if (vcpu.sys.kernel.arch === 'arm64') vcpu.arm64.init(undefined, [1 << KVM_ARM_VCPU.value.KVM_ARM_VCPU_PSCI_0_2]);
  return vcpu;
}
