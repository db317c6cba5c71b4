/**
 * VMGEXIT: what an SEV-ES or SEV-SNP guest asks for by itself, through the GHCB MSR or the page that it names. Imitated are the MSR protocol and
 * of the events of the page MMIO, ports, features and termination; others end as KVM_EXIT_INTERNAL_ERROR. arch/x86/kvm/svm/sev.c,
 * sev_handle_vmgexit; GHCB Standardization (AMD 56421).
 */
import { KVM_HC, KVM_SYSTEM_EVENT } from '../../uapi/kvm-exits.ts';
import { KVM_RUN_EXIT_OFFSET, kvm_run_hypercall } from '../../uapi/kvm-run.ts';
import { EINVAL } from '../errno.ts';
import * as exits from '../kvm/x64/exits.ts';
import type { RunResult } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import { encodeAnswer } from '../x64/secure.ts';
import { ghcbEvent } from './ghcb.ts';
import { C_BIT } from './platform.ts';
import { MSR_GHCB } from './protected-cpu.ts';
import type { SevBase } from './sev-base.ts';

const INFO_MASK = 0xfffn;
const INFO = {
  sevInfoResponse: 0x001n,
  sevInfo: 0x002n,
  cpuid: 0x004n,
  cpuidResponse: 0x005n,
  preferredGpa: 0x010n,
  preferredGpaResponse: 0x011n,
  registerGpa: 0x012n,
  registerGpaResponse: 0x013n,
  pageState: 0x014n,
  pageStateResponse: 0x015n,
  features: 0x080n,
  featuresResponse: 0x081n,
  terminate: 0x100n,
} as const;
const PAGE_STATE_ERROR = (1n << 63n) | INFO.pageStateResponse;
/** SNP, and creating vCPUs from within. */
export const GHCB_FEATURES = 3n;
const GHCB_MIN = 1n;
const GFN_MASK = (1n << 52n) - 1n;
const MAP_GPA_RANGE = KVM_HC.value.KVM_HC_MAP_GPA_RANGE;
const ENCRYPTED = 0x10n;
const EAGAIN = 11n;
const EINVAL_ANSWER = 22n;

/** The GHCB pages that SNP guests registered. */
const registered = new WeakMap<Vcpu, bigint>();

export const isRegistered = (vcpu: Vcpu, gpa: bigint): boolean => registered.get(vcpu) === gpa;

/** Goes past the instruction. */
export function finish({ cpu }: Vcpu): void {
  cpu.complete(encodeAnswer({ done: true }));
}

/** The guest asked to end: SEV_TERM with what the MSR holds. */
export function terminate(vcpu: Vcpu, value: bigint): number {
  exits.writeSystemEvent(vcpu.page, KVM_SYSTEM_EVENT.value.KVM_SYSTEM_EVENT_SEV_TERM, [value]);
  return 0;
}

export function vmgexit(technology: SevBase, vcpu: Vcpu): RunResult {
  const value = vcpu.cpu.getMsr(MSR_GHCB) ?? 0n;
  finish(vcpu);
  if ((value & INFO_MASK) === 0n) return value === 0n ? undefined : ghcbEvent(technology, vcpu, value);
  const answer = (response: bigint): undefined => {
    vcpu.cpu.setMsr(MSR_GHCB, BigInt.asUintN(64, response));
  };
  const snp = technology.vm.machine.hasPrivateMemory(technology.vm.type);
  switch (value & INFO_MASK) {
    case INFO.sevInfo: {
      const versions = (BigInt(technology.ghcbVersion) << 48n) | (GHCB_MIN << 32n);
      return answer(versions | (BigInt(C_BIT) << 24n) | INFO.sevInfoResponse);
    }
    case INFO.cpuid:
      return answer((cpuidWord(vcpu, value) << 32n) | (value & 0xffff_f000n) | INFO.cpuidResponse);
    case INFO.features:
      return answer((GHCB_FEATURES << 12n) | INFO.featuresResponse);
    case INFO.preferredGpa:
      return snp ? answer((GFN_MASK << 12n) | INFO.preferredGpaResponse) : terminate(vcpu, value);
    case INFO.registerGpa:
      if (!snp) return terminate(vcpu, value);
      registered.set(vcpu, value & ~INFO_MASK);
      return answer((value & ~INFO_MASK) | INFO.registerGpaResponse);
    case INFO.pageState:
      return snp ? pageState(technology, vcpu, value, answer) : terminate(vcpu, value);
    case INFO.terminate:
      return terminate(vcpu, value);
    default:
      // Not understood: the value stays as it is.
      return undefined;
  }
}

/** Leaf in the upper half, register in bits 31:30. */
function cpuidWord({ cpu }: Vcpu, value: bigint): bigint {
  const leaf = Number(value >> 32n);
  const entry = cpu.getCpuid().find((known) => known.function >>> 0 === leaf && known.index === 0);
  const register = (['eax', 'ebx', 'ecx', 'edx'] as const)[Number((value >> 30n) & 3n)] ?? 'eax';
  return BigInt((entry?.[register] ?? 0) >>> 0);
}

/** snp_begin_psc_msr: one page, which userspace is asked to convert. */
function pageState({ vm }: SevBase, vcpu: Vcpu, value: bigint, answer: (response: bigint) => undefined): RunResult {
  const gpa = value & ((1n << 52n) - 1n) & ~INFO_MASK;
  const operation = (value >> 52n) & 0xfn;
  if (operation !== 1n && operation !== 2n) return answer(PAGE_STATE_ERROR);
  if ((vm.exitHypercalls & (1n << BigInt(MAP_GPA_RANGE))) === 0n) return answer(PAGE_STATE_ERROR);
  const args = [gpa, 1n, operation === 1n ? ENCRYPTED : 0n];
  exits.writePageState(vcpu.page, args);
  vcpu.completeWith(() => {
    const result = vcpu.page.run.getBigUint64(KVM_RUN_EXIT_OFFSET + kvm_run_hypercall.offsets.ret, true);
    if (result !== 0n && result !== EAGAIN && result !== EINVAL_ANSWER) return -EINVAL;
    return answer(result === 0n ? INFO.pageStateResponse : PAGE_STATE_ERROR);
  });
  return 0;
}
