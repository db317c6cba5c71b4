/**
 * TDCALL, what a guest asks of the TDX module: accepting pages, and through TDG.VP.VMCALL everything of the hypervisor. Intel TDX Module ABI
 * (348551); Guest-Host Communication Interface (348552); arch/x86/kvm/vmx/tdx.c, handle_tdvmcall. Leaves that are not here end as
 * KVM_EXIT_INTERNAL_ERROR.
 */
import { writeEmulationFailure, writeMemoryFault } from '../kvm/x64/exits.ts';
import type { RunResult } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import { isAligned, PAGE_SIZE, pageOf } from '../page.ts';
import { encodeAnswer, type Regs } from '../x64/index.ts';
import { tdvmcall } from './tdvmcall.ts';
import type { TdxVm } from './tdx-vm.ts';

const LEAF = { vmcall: 0n, info: 1n, acceptPage: 6n } as const;
const STATUS = {
  success: 0n,
  operandInvalid: 0xc000_0100_0000_0000n,
  alreadyAccepted: 0x0000_0b0a_0000_0000n,
  sizeMismatch: 0xc000_0b0b_0000_0000n,
} as const;
const RCX_OPERAND = 1n;
const LEVEL_MASK = 7n;

/** Goes past the instruction with these registers. */
export function finish({ cpu }: Vcpu, changes: Partial<Regs>): undefined {
  cpu.setRegs({ ...cpu.getRegs(), ...changes });
  cpu.complete(encodeAnswer({ done: true }));
}

/** For what a domain can ask and the simulation does not know. */
export function unknown(vcpu: Vcpu): number {
  writeEmulationFailure(vcpu.page, { kind: 'emulation', bytes: Uint8Array.of(0x66, 0x0f, 0x01, 0xcc) });
  return 0;
}

export function tdcall(domain: TdxVm, vcpu: Vcpu): RunResult {
  const { rax } = vcpu.cpu.getRegs();
  // Bits 23:16 are the version of the leaf.
  switch (rax & 0xffffn) {
    case LEAF.vmcall:
      return tdvmcall(domain, vcpu);
    case LEAF.info:
      return finish(vcpu, {
        ...{ rax: STATUS.success, rcx: BigInt(domain.width), rdx: domain.attributes },
        ...{
          r8: (BigInt(domain.vm.maxVcpus) << 32n) | BigInt(domain.ready.size),
          r9: BigInt(vcpu.id),
          r10: 0n,
          r11: 0n,
        },
      });
    case LEAF.acceptPage:
      return acceptPage(domain, vcpu);
    default:
      return unknown(vcpu);
  }
}

function acceptPage(domain: TdxVm, vcpu: Vcpu): RunResult {
  const { rcx } = vcpu.cpu.getRegs();
  const level = rcx & LEVEL_MASK;
  const gpa = rcx & ~LEVEL_MASK;
  const gfn = pageOf(gpa);
  if (!isAligned(gpa) || level > 1n || domain.isAlias(gfn)) {
    return finish(vcpu, { rax: STATUS.operandInvalid | RCX_OPERAND });
  }
  const found = domain.faultIn(gfn);
  if ('kind' in found) {
    // The page has to come first: KVM is asked, and the instruction runs again.
    if (found.kind !== 'memory-fault') return 'wait';
    writeMemoryFault(vcpu.page, gfn * PAGE_SIZE, found.private);
    return -found.errno;
  }
  if (level === 1n) return finish(vcpu, { rax: STATUS.sizeMismatch });
  if (found.entry.state === 'mapped') return finish(vcpu, { rax: STATUS.alreadyAccepted });
  found.page.fill(0);
  found.entry.state = 'mapped';
  return finish(vcpu, { rax: STATUS.success });
}
