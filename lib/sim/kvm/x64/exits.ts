/** Exits that only x86-64 has: each field of struct kvm_run that the kernel writes and no other. */
import { KVM_EXIT, KVM_HC, KVM_INTERNAL_ERROR } from '../../../uapi/kvm-exits.ts';
import {
  KVM_RUN_EXIT_OFFSET,
  kvm_run_emulation_failure,
  kvm_run_fail_entry,
  kvm_run_hypercall,
  kvm_run_internal,
  kvm_run_io,
  kvm_run_system_event,
} from '../../../uapi/kvm-run.ts';
import type { DeliveryStop, EmulationStop, HypercallStop, IoStop } from '../../x64/stop.ts';
import { PIO_OFFSET, type RunPage } from '../run-page.ts';

const REASON = KVM_EXIT.value;
const AT = KVM_RUN_EXIT_OFFSET;
const IO = kvm_run_io.offsets;
const HC = kvm_run_hypercall.offsets;
const INTERNAL = kvm_run_internal.offsets;
const EMULATION = kvm_run_emulation_failure.offsets;

export { writeMemoryFault, writeMmio } from '../exits.ts';

export function writeIo(page: RunPage, stop: IoStop): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_IO;
  run.setUint8(AT + IO.direction, stop.direction === 'out' ? 1 : 0);
  run.setUint8(AT + IO.size, stop.size);
  run.setUint16(AT + IO.port, stop.port, true);
  run.setUint32(AT + IO.count, stop.count, true);
  run.setBigUint64(AT + IO.data_offset, BigInt(PIO_OFFSET), true);
  // emulator_pio_in_out: an input begins with zeros.
  if (stop.data === undefined) page.pio.fill(0, 0, stop.size * stop.count);
  else page.pio.set(stop.data);
}

/** What KVM itself answered stands there too, although userspace is not asked. */
export const writeHypercallResult = ({ run }: RunPage, result: bigint): void =>
  run.setBigUint64(AT + HC.ret, BigInt.asUintN(64, result), true);

/** KVM_HC_MAP_GPA_RANGE: three arguments, the rest stays. */
export function writeHypercall(page: RunPage, stop: HypercallStop, presetResult: boolean): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_HYPERCALL;
  run.setBigUint64(AT + HC.nr, stop.nr, true);
  for (let i = 0; i < 3; i++) run.setBigUint64(AT + HC.args + 8 * i, stop.args[i] ?? 0n, true);
  if (presetResult) writeHypercallResult(page, 0n);
  run.setBigUint64(AT + HC.flags, stop.longMode ? 1n : 0n, true);
}

/** KVM_HC_MAP_GPA_RANGE on behalf of a guest that asked in its technology's way: `flags` is written for TDX only. */
export function writePageState(page: RunPage, args: readonly bigint[], flags?: bigint): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_HYPERCALL;
  run.setBigUint64(AT + HC.nr, BigInt(KVM_HC.value.KVM_HC_MAP_GPA_RANGE), true);
  run.setBigUint64(AT + HC.ret, 0n, true);
  args.forEach((word, i) => {
    run.setBigUint64(AT + HC.args + 8 * i, word, true);
  });
  if (flags !== undefined) run.setBigUint64(AT + HC.flags, flags, true);
}

/** KVM_EXIT_FAIL_ENTRY: the hardware refused to enter the guest. */
export function writeFailEntry(page: RunPage, reason: bigint): void {
  const at = kvm_run_fail_entry.offsets;
  page.exitReason = REASON.KVM_EXIT_FAIL_ENTRY;
  page.run.setBigUint64(AT + at.hardware_entry_failure_reason, reason, true);
  page.run.setUint32(AT + at.cpu, 0, true);
}

/** KVM_EXIT_SYSTEM_EVENT. */
export function writeSystemEvent(page: RunPage, type: number, data: readonly bigint[]): void {
  const at = kvm_run_system_event.offsets;
  page.exitReason = REASON.KVM_EXIT_SYSTEM_EVENT;
  page.run.setUint32(AT + at.type, type, true);
  page.run.setUint32(AT + at.ndata, data.length, true);
  data.forEach((word, i) => {
    page.run.setBigUint64(AT + at.data + 8 * i, BigInt.asUintN(64, word), true);
  });
}

/** What get_exit_info tells of the processor; there is none here. */
const EXIT_INFO_WORDS = 5;
const NOP = 0x90;
const INSTRUCTION_BYTES = 1n;
const MOST_BYTES = 15;

/** prepare_emulation_failure_exit: flags, the instruction's bytes if there are any, the processor's words. */
export function writeEmulationFailure(page: RunPage, { bytes }: EmulationStop): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_INTERNAL_ERROR;
  run.setUint32(AT + EMULATION.suberror, KVM_INTERNAL_ERROR.value.KVM_INTERNAL_ERROR_EMULATION, true);
  const known = bytes.subarray(0, MOST_BYTES);
  let words = 1;
  run.setBigUint64(AT + EMULATION.flags, known.length > 0 ? INSTRUCTION_BYTES : 0n, true);
  if (known.length > 0) {
    run.setUint8(AT + EMULATION.insn_size, known.length);
    const place = page.payload(EMULATION.insn_bytes, MOST_BYTES);
    place.fill(NOP);
    place.set(known);
    words += 2;
  }
  for (let i = 0; i < EXIT_INFO_WORDS; i++) run.setBigUint64(AT + INTERNAL.data + 8 * (words + i), 0n, true);
  run.setUint32(AT + EMULATION.ndata, words + EXIT_INFO_WORDS, true);
}

const VALID_HARDWARE_EXCEPTION = 0x8000_0300n;

/** kvm_prepare_event_vectoring_exit: what was being delivered, three words of the processor, the gpa, the processor's number. */
export function writeDeliveryFailure(page: RunPage, { vector, gpa }: DeliveryStop): void {
  const { run } = page;
  page.exitReason = REASON.KVM_EXIT_INTERNAL_ERROR;
  run.setUint32(AT + INTERNAL.suberror, KVM_INTERNAL_ERROR.value.KVM_INTERNAL_ERROR_DELIVERY_EV, true);
  const words = [VALID_HARDWARE_EXCEPTION | BigInt(vector), 0n, 0n, BigInt(gpa), 0n];
  words.forEach((word, i) => {
    run.setBigUint64(AT + INTERNAL.data + 8 * i, word, true);
  });
  run.setUint32(AT + INTERNAL.ndata, words.length, true);
}
