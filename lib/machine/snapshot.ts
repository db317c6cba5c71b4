/** The state of a vCPU at rest, as far as its kernel gives it. */
import { KernelError } from '../kernel/errors.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { X64Regs, X64Sregs } from '../kvm/x64-state.ts';

export interface VcpuSnapshot {
  readonly vcpu: number;
  /** Absent once a technology protects it (SEV-ES, SNP, TDX). */
  readonly regs?: X64Regs;
  readonly sregs?: X64Sregs;
  /** KVM_MP_STATE; absent where the kernel refuses to say. */
  readonly mpState?: number;
  /** Why something is absent: `KVM_GET_REGS: EINVAL`. */
  readonly missing: readonly string[];
}

/** StateError while the vCPU runs. */
export function takeSnapshot(vcpu: Vcpu): VcpuSnapshot {
  const missing: string[] = [];
  const ask = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      missing.push(`${error.request ?? error.syscall}: ${error.code}`);
      return undefined;
    }
  };
  const regs = ask(() => vcpu.x64.getRegs());
  const sregs = ask(() => vcpu.x64.getSregs());
  const mpState = ask(() => vcpu.x64.getMpState());
  return {
    vcpu: vcpu.id,
    ...(regs === undefined ? {} : { regs }),
    ...(sregs === undefined ? {} : { sregs }),
    ...(mpState === undefined ? {} : { mpState }),
    missing,
  };
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** The lines that a person wants to see first. */
export function describeSnapshot({ vcpu, regs, sregs, missing }: VcpuSnapshot): string[] {
  const lines: string[] = [];
  if (regs !== undefined) {
    const pick = (names: readonly (keyof X64Regs)[]): string =>
      names.map((name) => `${name} ${hex(regs[name])}`).join('  ');
    lines.push(`vCPU ${vcpu}: ${pick(['rip', 'rsp', 'rflags'])}`);
    lines.push(`  ${pick(['rax', 'rbx', 'rcx', 'rdx'])}`, `  ${pick(['rsi', 'rdi', 'rbp', 'r8'])}`);
  }
  if (sregs !== undefined) {
    const { cr0, cr2, cr3, cr4, efer, cs } = sregs;
    lines.push(`  cr0 ${hex(cr0)}  cr2 ${hex(cr2)}  cr3 ${hex(cr3)}  cr4 ${hex(cr4)}  efer ${hex(efer)}`);
    lines.push(
      `  cs ${hex(cs.selector)} base ${hex(cs.base)}${cs.l === 1 ? ', 64-bit' : cs.db === 1 ? ', 32-bit' : ''}`,
    );
  }
  for (const text of missing) lines.push(`  not known: ${text}`);
  return lines;
}
