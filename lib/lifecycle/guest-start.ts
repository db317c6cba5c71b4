/** What the architectures need before a vCPU runs a program. */
import { a64, type GuestProgram, x64 } from '../guest/index.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Mapping } from '../memory/mapping.ts';
import { KVM_ARM_VCPU } from '../uapi/index.ts';

/**
 * Right after its creation. x86-64: all that KVM supports, since without CPUID there is no long mode (KVM checks EFER against it). arm64: PSCI is
 * how a program could turn the machine off.
 */
export function initVcpu(kvm: Kvm, vcpu: Vcpu): void {
  if (vcpu.sys.kernel.arch === 'x64') vcpu.x64.setCpuid(kvm.supportedCpuid());
  if (vcpu.sys.kernel.arch === 'arm64') vcpu.arm64.init(undefined, [1 << KVM_ARM_VCPU.value.KVM_ARM_VCPU_PSCI_0_2]);
}

/** Puts a program into memory, which backs the guest from gpa 0 on, and the vCPU at its beginning. */
export function startProgram(vcpu: Vcpu, memory: Mapping, program: GuestProgram): void {
  if (program.arch === 'arm64') {
    // The pc moves over the instruction of the last MMIO exit when that is finished, wherever the pc stands by then.
    if (vcpu.lastExit?.name === 'KVM_EXIT_MMIO') vcpu.completeIo();
    const start = a64.startState(program);
    for (const { gpa, bytes } of start.memory) memory.write(gpa, bytes);
    vcpu.arm64.setCore(start.core);
    return;
  }
  const start = x64.startState(program);
  for (const { gpa, bytes } of start.memory) memory.write(gpa, bytes);
  vcpu.x64.updateSregs(start.sregs);
  vcpu.x64.setRegs(start.regs);
}
