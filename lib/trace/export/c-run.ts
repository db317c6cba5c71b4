/** vCPUs as C: runs, the exits that they end with, kicks. */
import { exitPayload } from '../../kernel/trace-exit.ts';
import { KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run } from '../../uapi/index.ts';
import { kvm_run_internal, kvm_run_io, kvm_run_mmio, kvm_run_system_event } from '../../uapi/kvm-run.ts';
import { type Layout, viewOf } from '../../uapi/layout.ts';
import { leavesOf } from '../places.ts';
import type { RecordedCall } from '../recording.ts';
import { type Context, checked } from './c-context.ts';
import { emitWrites } from './c-plain.ts';
import { hex, literal } from './c-text.ts';

/** A run may take this long at least, in milliseconds, before it is interrupted. */
const LEAST_LIMIT_MS = 10_000;
const MOST_LIMIT_MS = 3_600_000;
const EINTR = 4;
const NO_VCPU = ['// nobody attached this vCPU'];

const nameOf = (context: Context, call: RecordedCall): string | undefined => context.names.vcpu(Number(call.args[0]));

export function emitAttach(context: Context, call: RecordedCall): string[] {
  if (call.result < 0) return [];
  context.helpers.add('run');
  const fd = context.names.fd(Number(call.args[0]));
  const name = context.names.newVcpu(call.result, fd);
  return [`${name}.fd = ${fd};`, `${name}.page = (void *)(${context.names.hva(call.args[1] as number | bigint)});`];
}

export function emitDetach(context: Context, call: RecordedCall): string[] {
  const name = nameOf(context, call);
  if (name === undefined || call.result < 0) return [];
  const stop = context.helpers.has('threads')
    ? [`if (${name}.running) {`, `\tkick(&${name});`, `\tfinish(&${name}, 0);`, '}']
    : [];
  return [...stop, `${name}.page = NULL;`];
}

function limitOf({ micros }: RecordedCall): number {
  return Math.min(Math.max(LEAST_LIMIT_MS, Math.ceil((micros / 1000) * 20)), MOST_LIMIT_MS);
}

/** A run, or the end of one that {@link emitStart} began. */
export function emitRun(context: Context, call: RecordedCall, threaded: boolean): string[] {
  const name = nameOf(context, call);
  if (name === undefined) return NO_VCPU;
  context.helpers.add(threaded ? 'threads' : 'run');
  const timeout = call.call === 'vcpuRun' ? Number(call.args[1]) : 0;
  const limit = timeout > 0 ? timeout : limitOf(call);
  const answer = threaded ? `finish(&${name}, ${limit})` : `run(&${name}, ${limit})`;
  const exit = / <KVM_EXIT.*$/.exec(call.text)?.[0] ?? '';
  const lines = checked(
    call,
    `ioctl(${context.names.vcpuFd(name)}, KVM_RUN, 0)${exit}`,
    answer,
    emitExit(context, call, name),
  );
  return threaded ? lines : [...emitWrites(context, call), ...lines];
}

export function emitStart(context: Context, call: RecordedCall): string[] {
  const name = nameOf(context, call);
  if (name === undefined) return NO_VCPU;
  context.helpers.add('threads');
  return [...emitWrites(context, call), `start(&${name});`];
}

/** A kick that found the run `during` under way finds it so again; one that came too late comes too late. */
export function emitKick(context: Context, call: RecordedCall, during: RecordedCall | undefined): string[] {
  const name = nameOf(context, call);
  if (name === undefined) return NO_VCPU;
  const kick = [...emitWrites(context, call), `kick(&${name});`];
  if (during === undefined) return kick;
  return during.result === -EINTR ? kick : [`finish(&${name}, ${limitOf(during)});`, ...kick];
}

const exitBytes = (name: string, path: string, offset: number, bytes: Uint8Array): string => {
  const list = [...bytes].map((byte) => hex(byte)).join(', ');
  return `exit_bytes(&${name}, "${path}", ${offset}, ${bytes.length}, (const unsigned char[]){ ${list} });`;
};

function wordAt(bytes: Uint8Array, offset: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[offset + i] ?? 0);
  return value;
}

/** What struct kvm_run must hold: the reason, what stands beside it, the payload. */
function emitExit(context: Context, { exit }: RecordedCall, name: string): string[] {
  if (exit === undefined) return [];
  const { page, data } = exit;
  const reason = viewOf(page).getUint32(kvm_run.offsets.exit_reason, true);
  const is = (path: string, offset: number, size: number, want: string): string =>
    `exit_is(&${name}, "${path}", ${offset}, ${size}, ${want});`;
  const lines = [is('exit_reason', kvm_run.offsets.exit_reason, 4, context.structs.named(BigInt(reason), KVM_EXIT))];
  for (const path of ['ready_for_interrupt_injection', 'if_flag', 'flags', 'cr8', 'apic_base'] as const) {
    const { size } = kvm_run.fields[path];
    const offset = kvm_run.offsets[path];
    lines.push(is(path, offset, size, literal(wordAt(page, offset, size))));
  }
  const layout = exitPayload(reason);
  if (layout !== undefined) lines.push(...emitPayload(context, name, layout, page, is));
  const IO_OUT = 1;
  const isOut = page[KVM_RUN_EXIT_OFFSET + kvm_run_io.offsets.direction] === IO_OUT;
  if (reason === KVM_EXIT.value.KVM_EXIT_IO && isOut && data !== undefined && data.length > 0) {
    const at = Number(wordAt(page, KVM_RUN_EXIT_OFFSET + kvm_run_io.offsets.data_offset, 8));
    lines.push(exitBytes(name, 'data', at, data));
  }
  const registers = page.subarray(kvm_run.offsets.kvm_valid_regs);
  if (registers.length > 0) lines.push(exitBytes(name, 'shared registers', kvm_run.offsets.kvm_valid_regs, registers));
  return lines;
}

function emitPayload(
  context: Context,
  name: string,
  layout: Layout,
  page: Uint8Array,
  is: (path: string, offset: number, size: number, want: string) => string,
): string[] {
  const payload = viewOf(page.subarray(KVM_RUN_EXIT_OFFSET));
  // Words of `data` beyond these are left over from before.
  const limits = new Map<Layout, number>([
    [kvm_run_internal as Layout, payload.getUint32(kvm_run_internal.offsets.ndata, true)],
    [kvm_run_system_event as Layout, payload.getUint32(kvm_run_system_event.offsets.ndata, true)],
  ]);
  const limit = limits.get(layout);
  return [...leavesOf(layout)].flatMap(({ path, offset, field }) => {
    const at = KVM_RUN_EXIT_OFFSET + offset;
    const index = Number(/^data\[(\d+)\]$/.exec(path)?.[1] ?? -1);
    if ((limit !== undefined && index >= limit) || /(^|\.)pad/.test(path)) return [];
    if (layout === (kvm_run_mmio as Layout) && path === 'data') {
      const length = Math.min(8, payload.getUint32(kvm_run_mmio.offsets.len, true));
      return length === 0 ? [] : [exitBytes(name, path, at, page.subarray(at, at + length))];
    }
    if (field.size > 8) return [exitBytes(name, path, at, page.subarray(at, at + field.size))];
    return [is(path, at, field.size, context.structs.named(wordAt(page, at, field.size), field.names))];
  });
}
