/** The exit that a KVM_RUN ended with, in one phrase for a trace line. */

import { showNamed } from '../uapi/fields.ts';
import { KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run } from '../uapi/index.ts';
import {
  kvm_run_fail_entry,
  kvm_run_hypercall,
  kvm_run_internal,
  kvm_run_io,
  kvm_run_memory_fault,
  kvm_run_mmio,
  kvm_run_snp_req_certs,
  kvm_run_system_event,
  kvm_run_tdx,
} from '../uapi/kvm-run.ts';
import type { Layout } from '../uapi/layout.ts';
import { viewOf } from '../uapi/layout.ts';

/** Bytes of struct kvm_run that hold the reason and every payload. */
export const EXIT_BYTES = kvm_run.offsets.kvm_valid_regs;

const { value: R } = KVM_EXIT;

const PAYLOADS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  [R.KVM_EXIT_IO, kvm_run_io],
  [R.KVM_EXIT_HYPERCALL, kvm_run_hypercall],
  [R.KVM_EXIT_MMIO, kvm_run_mmio],
  [R.KVM_EXIT_FAIL_ENTRY, kvm_run_fail_entry],
  [R.KVM_EXIT_INTERNAL_ERROR, kvm_run_internal],
  [R.KVM_EXIT_SYSTEM_EVENT, kvm_run_system_event],
  [R.KVM_EXIT_MEMORY_FAULT, kvm_run_memory_fault],
  [R.KVM_EXIT_TDX, kvm_run_tdx],
  [R.KVM_EXIT_SNP_REQ_CERTS, kvm_run_snp_req_certs],
]);

/** EFAULT, EHWPOISON and ENOMEM: with any other errno the vCPU was not entered, and the page holds what an earlier run left. */
const FAULT_RESULTS: ReadonlySet<number> = new Set([-14, -133, -12]);

/** What a run page held after a KVM_RUN that ended with an exit. */
export interface ExitBytes {
  /** The first {@link EXIT_BYTES}; up to the end of struct kvm_run when registers are shared in it (kvm_valid_regs). */
  readonly page: Uint8Array;
  /** Of KVM_EXIT_IO: the bytes at its data_offset. */
  readonly data?: Uint8Array;
}

/** What KVM itself puts behind the page: one page of port I/O data. */
const MOST_DATA = 4096;

/** Reads what belongs to the exit, through `read(offset, into)`, which returns bytes done. Undefined when the page may hold what an earlier run left. */
export function exitBytes(result: number, read: (offset: number, into: Uint8Array) => number): ExitBytes | undefined {
  const head = new Uint8Array(EXIT_BYTES + 8);
  read(0, head);
  if (!hasExit(head, result)) return undefined;
  const sharesRegisters = viewOf(head).getBigUint64(EXIT_BYTES, true) !== 0n;
  const page = new Uint8Array(sharesRegisters ? kvm_run.size : EXIT_BYTES);
  read(0, page);
  if (viewOf(page).getUint32(kvm_run.offsets.exit_reason, true) !== R.KVM_EXIT_IO) return { page };
  const view = new DataView(page.buffer, KVM_RUN_EXIT_OFFSET);
  const { size, count, data_offset } = kvm_run_io.offsets;
  const length = view.getUint8(size) * view.getUint32(count, true);
  const data = new Uint8Array(Math.min(length, MOST_DATA));
  read(Number(view.getBigUint64(data_offset, true) & 0xffffffn), data);
  return { page, data };
}

function hasExit(page: Uint8Array, result: number): boolean {
  const reason = viewOf(page).getUint32(kvm_run.offsets.exit_reason, true);
  return result >= 0 || (reason === R.KVM_EXIT_MEMORY_FAULT && FAULT_RESULTS.has(result));
}

/** The payload that a reason comes with; undefined for those whose reason says it all, or that have no layout. */
export const exitPayload = (reason: number): Layout | undefined => PAYLOADS.get(reason);

/** Undefined when the page may hold what an earlier run left: a failed KVM_RUN carries an exit only for a memory fault. */
export function describeExit(page: Uint8Array, result: number): string | undefined {
  const reason = viewOf(page).getUint32(kvm_run.offsets.exit_reason, true);
  if (!hasExit(page, result)) return undefined;
  const name = showNamed(BigInt(reason), KVM_EXIT);
  const payload = PAYLOADS.get(reason);
  return payload === undefined ? name : `${name} ${payload.format(page, KVM_RUN_EXIT_OFFSET)}`;
}
