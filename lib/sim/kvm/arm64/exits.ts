/** Exits that only arm64 has: each field of struct kvm_run that the kernel writes and no other. */
import { KVM_EXIT, KVM_INTERNAL_ERROR, KVM_SYSTEM_EVENT } from '../../../uapi/kvm-exits.ts';
import {
  KVM_RUN_EXIT_OFFSET,
  kvm_run_arm_nisv,
  kvm_run_hypercall,
  kvm_run_internal,
  kvm_run_system_event,
} from '../../../uapi/kvm-run.ts';
import type { RunPage } from '../run-page.ts';

const REASON = KVM_EXIT.value;
const AT = KVM_RUN_EXIT_OFFSET;
const EVENT = kvm_run_system_event.offsets;
const HC = kvm_run_hypercall.offsets;
const NISV = kvm_run_arm_nisv.offsets;
const INTERNAL = kvm_run_internal.offsets;
const HYPERCALL_SMC = 1n;
/** 8-byte union members: the rest of the union stays. */
const HYPERCALL_LENGTH = kvm_run_hypercall.size;

/** kvm_prepare_system_event: the whole payload is cleared first. */
export function writeSystemEvent(page: RunPage, type: number, flags: bigint): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_SYSTEM_EVENT;
  page.payload(0, kvm_run_system_event.size).fill(0);
  run.setUint32(AT + EVENT.type, type, true);
  run.setUint32(AT + EVENT.ndata, 1, true);
  run.setBigUint64(AT + EVENT.data, flags, true);
}

export function writeSuspend(page: RunPage): void {
  page.exitReason = REASON.KVM_EXIT_SYSTEM_EVENT;
  page.payload(0, kvm_run_system_event.size).fill(0);
  page.run.setUint32(AT + EVENT.type, KVM_SYSTEM_EVENT.value.KVM_SYSTEM_EVENT_SUSPEND, true);
}

/** kvm_prepare_hypercall_exit: number and flags, everything else 0. */
export function writeHypercall(page: RunPage, fn: number, smc: boolean): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_HYPERCALL;
  page.payload(0, HYPERCALL_LENGTH).fill(0);
  run.setBigUint64(AT + HC.nr, BigInt(fn), true);
  run.setBigUint64(AT + HC.flags, smc ? HYPERCALL_SMC : 0n, true);
}

/** KVM_EXIT_ARM_NISV: `write` is all that is left of the syndrome. */
export function writeUndescribed(page: RunPage, gpa: number, write: boolean): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_ARM_NISV;
  run.setBigUint64(AT + NISV.esr_iss, write ? 0x40n : 0n, true);
  run.setBigUint64(AT + NISV.fault_ipa, BigInt(gpa), true);
}

/** What the simulated processor cannot execute. Real ones execute everything: this exit does not exist on arm64. */
export function writeUnknown(page: RunPage, word: number): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_INTERNAL_ERROR;
  run.setUint32(AT + INTERNAL.suberror, KVM_INTERNAL_ERROR.value.KVM_INTERNAL_ERROR_EMULATION, true);
  run.setUint32(AT + INTERNAL.ndata, 1, true);
  run.setBigUint64(AT + INTERNAL.data, BigInt(word >>> 0), true);
}
