/** Writes the exits of every architecture into struct kvm_run, each field that the kernel writes and no other: what is left of earlier exits stays. */
import { KVM_EXIT } from '../../uapi/kvm-exits.ts';
import { KVM_RUN_EXIT_OFFSET, kvm_run_memory_fault, kvm_run_mmio } from '../../uapi/kvm-run.ts';
import { PAGE_SIZE } from '../page.ts';
import type { MmioStop } from '../vcpu/stop.ts';
import type { RunPage } from './run-page.ts';

const REASON = KVM_EXIT.value;
const AT = KVM_RUN_EXIT_OFFSET;
const MMIO = kvm_run_mmio.offsets;
const FAULT = kvm_run_memory_fault.offsets;
const PRIVATE = 8n;

export function writeMmio(page: RunPage, stop: MmioStop): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_MMIO;
  run.setBigUint64(AT + MMIO.phys_addr, BigInt(stop.gpa), true);
  run.setUint32(AT + MMIO.len, stop.length, true);
  run.setUint8(AT + MMIO.is_write, stop.isWrite ? 1 : 0);
  if (stop.data !== undefined) page.payload(MMIO.data, stop.data.length).set(stop.data);
}

/** kvm_prepare_memory_fault_exit. */
export function writeMemoryFault(page: RunPage, gpa: number, isPrivate: boolean): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_MEMORY_FAULT;
  run.setBigUint64(AT + FAULT.flags, isPrivate ? PRIVATE : 0n, true);
  run.setBigUint64(AT + FAULT.gpa, BigInt(gpa), true);
  run.setBigUint64(AT + FAULT.size, BigInt(PAGE_SIZE), true);
}
