/** The state of an x86-64 vCPU, by the requests that get and set it. */
import { type Raw, rawOf } from '../kernel/raw.ts';
import {
  KVM_GET_LAPIC,
  KVM_GET_MP_STATE,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_SET_CPUID2,
  KVM_SET_LAPIC,
  KVM_SET_MP_STATE,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  kvm_cpuid2,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_msrs,
  kvm_regs,
  kvm_sregs,
} from '../uapi/index.ts';
import type { CpuidEntry } from './growing.ts';
import type { Vcpu } from './vcpu.ts';

export type X64Regs = ReturnType<typeof kvm_regs.decode>;
export type X64RegsInput = Parameters<typeof kvm_regs.encode>[0] & object;
export type X64Sregs = ReturnType<typeof kvm_sregs.decode>;
export type X64SregsInput = Parameters<typeof kvm_sregs.encode>[0] & object;

export interface Msr {
  readonly index: number;
  readonly data: number | bigint;
}

export class X64State {
  readonly #vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** The same requests, returning `{ok, errno, value}` where these throw a KernelError. */
  get raw(): Raw<X64State> {
    return rawOf<X64State>(this);
  }

  /** KVM_GET_REGS. EINVAL once the state is protected (SEV-ES, SNP, TDX). */
  getRegs(): X64Regs {
    const bytes = kvm_regs.encode();
    this.#vcpu.ioctl(KVM_GET_REGS, bytes);
    return kvm_regs.decode(bytes);
  }

  /** KVM_SET_REGS: registers left out become 0 (rflags too; bit 1 is always set in hardware). */
  setRegs(regs: X64RegsInput): void {
    this.#vcpu.ioctl(KVM_SET_REGS, kvm_regs.encode(regs));
  }

  /** Changes the registers that are given and keeps the rest. */
  updateRegs(regs: X64RegsInput): void {
    this.setRegs({ ...this.getRegs(), ...regs });
  }

  /** KVM_GET_SREGS: segments, control registers, EFER, APIC base. */
  getSregs(): X64Sregs {
    const bytes = kvm_sregs.encode();
    this.#vcpu.ioctl(KVM_GET_SREGS, bytes);
    return kvm_sregs.decode(bytes);
  }

  /** KVM_SET_SREGS: fields left out become 0. EINVAL for a combination that the processor could not have. */
  setSregs(sregs: X64SregsInput): void {
    this.#vcpu.ioctl(KVM_SET_SREGS, kvm_sregs.encode(sregs));
  }

  /** Changes the fields that are given and keeps the rest: how a vCPU enters protected or long mode. */
  updateSregs(sregs: X64SregsInput): void {
    this.setSregs({ ...this.getSregs(), ...sregs });
  }

  /** KVM_SET_CPUID2, before the first run. E2BIG above 256 entries, EINVAL for what KVM refuses. */
  setCpuid(entries: readonly CpuidEntry[]): void {
    this.#vcpu.ioctl(KVM_SET_CPUID2, kvm_cpuid2.encode({}, entries));
  }

  /** KVM_GET_MSRS: values by index. The kernel stops at the first MSR that it does not know, and so does the map. */
  getMsrs(indices: readonly number[]): Map<number, bigint> {
    const bytes = kvm_msrs.encode(
      {},
      indices.map((index) => ({ index })),
    );
    const done = this.#vcpu.ioctl(KVM_GET_MSRS, bytes);
    const entries = kvm_msrs.decodeElements(bytes, done) as { index: number; data: bigint }[];
    return new Map(entries.map(({ index, data }) => [index, data]));
  }

  /** KVM_SET_MSRS: how many were set; fewer than given when the kernel refuses one. */
  setMsrs(msrs: readonly Msr[]): number {
    return this.#vcpu.ioctl(KVM_SET_MSRS, kvm_msrs.encode({}, msrs));
  }

  /** KVM_GET_MP_STATE. */
  getMpState(): number {
    const bytes = kvm_mp_state.encode();
    this.#vcpu.ioctl(KVM_GET_MP_STATE, bytes);
    return kvm_mp_state.get(bytes, 'mp_state');
  }

  /** KVM_SET_MP_STATE. EINVAL for states that need an in-kernel interrupt controller. */
  setMpState(state: number): void {
    this.#vcpu.ioctl(KVM_SET_MP_STATE, kvm_mp_state.encode({ mp_state: state }));
  }

  /** KVM_GET_LAPIC: the registers of the local APIC, 1024 bytes as in its memory page. EINVAL without an in-kernel one. */
  getLapic(): Uint8Array {
    const bytes = kvm_lapic_state.encode();
    this.#vcpu.ioctl(KVM_GET_LAPIC, bytes);
    return bytes;
  }

  /** KVM_SET_LAPIC. */
  setLapic(registers: Uint8Array): void {
    this.#vcpu.ioctl(KVM_SET_LAPIC, registers);
  }
}
