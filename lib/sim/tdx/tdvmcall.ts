/** TDG.VP.VMCALL as KVM answers it. arch/x86/kvm/vmx/tdx.c */
import { KVM_EXIT, KVM_HC, KVM_SYSTEM_EVENT } from '../../uapi/kvm-exits.ts';
import { KVM_RUN_EXIT_OFFSET, kvm_run_hypercall, kvm_run_mmio, kvm_run_tdx } from '../../uapi/kvm-run.ts';
import { EINVAL } from '../errno.ts';
import * as exits from '../kvm/x64/exits.ts';
import { hypercallResult } from '../kvm/x64/hypercall.ts';
import type { RunResult } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { HypercallStop, Regs } from '../x64/index.ts';
import { finish, unknown } from './tdcall.ts';
import type { TdxVm } from './tdx-vm.ts';

const LEAF = {
  cpuid: 10n,
  halt: 12n,
  io: 30n,
  readMsr: 31n,
  writeMsr: 32n,
  mmio: 48n,
  info: 0x10000n,
  mapGpa: 0x10001n,
  getQuote: 0x10002n,
  fatalError: 0x10003n,
  eventNotify: 0x10004n,
} as const;
export const TDVMCALL_STATUS = {
  success: 0n,
  retry: 1n,
  invalidOperand: 1n << 63n,
  alignError: (1n << 63n) | 2n,
  unsupported: (1n << 63n) | 3n,
} as const;
const STATUS = TDVMCALL_STATUS;
const MAP_GPA_RANGE = KVM_HC.value.KVM_HC_MAP_GPA_RANGE;
const MOST_AT_ONCE = 2n * 1024n * 1024n;
const ENCRYPTED = 0x10n;
const EAGAIN = 11n;
const EINVAL_ANSWER = 22n;
const LONG_MODE = 1n;
const AT = KVM_RUN_EXIT_OFFSET;

const littleEndian = (value: bigint, size: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
const number = (bytes: Uint8Array, size: number): bigint =>
  bytes.subarray(0, size).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

/** The call is over: rax says that the module did its part, r10 what the hypervisor answers. */
const done = (vcpu: Vcpu, r10: bigint, changes: Partial<Regs> = {}): undefined =>
  finish(vcpu, { rax: 0n, r10, ...changes });

export function tdvmcall(domain: TdxVm, vcpu: Vcpu): RunResult {
  const regs = vcpu.cpu.getRegs();
  if (regs.r10 !== 0n) return vendorCall(domain, vcpu, regs);
  switch (regs.r11) {
    case LEAF.cpuid: {
      const leaf = Number(regs.r12 & 0xffff_ffffn);
      const found = vcpu.cpu.getCpuid().find((entry) => entry.function >>> 0 === leaf);
      const word = (value: number | undefined): bigint => BigInt((value ?? 0) >>> 0);
      const [r12, r13, r14, r15] = [word(found?.eax), word(found?.ebx), word(found?.ecx), word(found?.edx)];
      return done(vcpu, STATUS.success, { r12, r13, r14, r15 });
    }
    case LEAF.halt:
      // The local APIC is the kernel's: the vCPU sleeps there until somebody interrupts it, and there is nobody.
      return 'wait';
    case LEAF.io:
      return io(vcpu, regs);
    case LEAF.mmio:
      return mmio(domain, vcpu, regs);
    case LEAF.mapGpa:
      return mapGpa(domain, vcpu, regs);
    case LEAF.info:
      return callInfo(vcpu, regs);
    case LEAF.getQuote:
      if (!domain.isAlias(Number(regs.r12 >> 12n))) return done(vcpu, STATUS.invalidOperand);
      return userCall(vcpu, LEAF.getQuote, [BigInt(domain.address(Number(regs.r12))), regs.r13]);
    case LEAF.eventNotify:
      if (regs.r12 < 32n || regs.r12 > 255n) return done(vcpu, STATUS.invalidOperand);
      return userCall(vcpu, LEAF.eventNotify, [regs.r12]);
    case LEAF.fatalError:
      return fatalError(vcpu, regs);
    case LEAF.readMsr:
    case LEAF.writeMsr:
      return unknown(vcpu);
    default:
      return done(vcpu, STATUS.unsupported);
  }
}

/** Hypercalls of KVM's own, by r10. */
function vendorCall({ vm }: TdxVm, vcpu: Vcpu, regs: Regs): RunResult {
  const args = [regs.r11, regs.r12, regs.r13, regs.r14];
  const stop: HypercallStop = { kind: 'hypercall', nr: regs.r10, args, longMode: true, cpl: 0 };
  const result = hypercallResult(stop, vm.exitHypercalls);
  if (result !== undefined) return done(vcpu, BigInt.asUintN(64, result));
  exits.writeHypercall(vcpu.page, stop, vm.machine.presetsHypercallResult);
  vcpu.completeWith(() => done(vcpu, hypercallAnswer(vcpu)));
  return 0;
}

const hypercallAnswer = ({ page }: Vcpu): bigint => page.run.getBigUint64(AT + kvm_run_hypercall.offsets.ret, true);

function io(vcpu: Vcpu, { r12, r13, r14, r15 }: Regs): RunResult {
  const size = Number(r12);
  if (r13 > 1n || (size !== 1 && size !== 2 && size !== 4)) return done(vcpu, STATUS.invalidOperand);
  const port = Number(r14 & 0xffffn);
  if (r13 === 1n) {
    exits.writeIo(vcpu.page, {
      kind: 'io',
      direction: 'out',
      size,
      port,
      count: 1,
      data: littleEndian(r15, size),
      waits: false,
    });
    vcpu.completeWith(() => done(vcpu, STATUS.success));
  } else {
    exits.writeIo(vcpu.page, { kind: 'io', direction: 'in', size, port, count: 1, waits: true });
    vcpu.completeWith(() => done(vcpu, STATUS.success, { r11: number(vcpu.page.pio, size) }));
  }
  return 0;
}

function mmio(domain: TdxVm, vcpu: Vcpu, { r12, r13, r14, r15 }: Regs): RunResult {
  const size = Number(r12);
  const last = r14 + r12 - 1n;
  const shared = domain.isAlias(Number(r14 >> 12n)) && domain.isAlias(Number(last >> 12n));
  if (![1, 2, 4, 8].includes(size) || r13 > 1n || !shared) return done(vcpu, STATUS.invalidOperand);
  const gpa = domain.address(Number(r14));
  if (r13 === 1n) {
    exits.writeMmio(vcpu.page, {
      kind: 'mmio',
      gpa,
      length: size,
      isWrite: true,
      data: littleEndian(r15, size),
    });
    vcpu.completeWith(() => done(vcpu, STATUS.success));
  } else {
    exits.writeMmio(vcpu.page, { kind: 'mmio', gpa, length: size, isWrite: false });
    vcpu.completeWith(() =>
      done(vcpu, STATUS.success, { r11: number(vcpu.page.payload(kvm_run_mmio.offsets.data, 8), size) }),
    );
  }
  return 0;
}

/** tdx_map_gpa: at most 2 MiB for one exit. */
function mapGpa(domain: TdxVm, vcpu: Vcpu, { r12: gpa, r13: size }: Regs): RunResult {
  const { vm } = domain;
  const refuse = (status: bigint): undefined => done(vcpu, status, { r11: gpa });
  if ((vm.exitHypercalls & (1n << BigInt(MAP_GPA_RANGE))) === 0n) return refuse(STATUS.unsupported);
  const end = BigInt.asUintN(64, gpa + size);
  const limit = 1n << BigInt(domain.width);
  const isShared = (at: bigint): boolean => domain.isAlias(Number(at >> 12n));
  if (end <= gpa || gpa >= limit || end - 1n >= limit || isShared(gpa) !== isShared(end - 1n)) {
    return refuse(STATUS.invalidOperand);
  }
  if (((gpa | size) & 4095n) !== 0n) return refuse(STATUS.alignError);
  const ask = (next: bigint): number => {
    const piece = end - next < MOST_AT_ONCE ? end - next : MOST_AT_ONCE;
    const side = isShared(gpa) ? 0n : ENCRYPTED;
    exits.writePageState(vcpu.page, [BigInt(domain.address(Number(next))), piece >> 12n, side], LONG_MODE);
    vcpu.completeWith(() => {
      const answer = hypercallAnswer(vcpu);
      if (answer === EAGAIN) return done(vcpu, STATUS.retry, { r11: next });
      if (answer === EINVAL_ANSWER) return done(vcpu, STATUS.invalidOperand, { r11: next });
      if (answer !== 0n) return -EINVAL;
      return next + MOST_AT_ONCE >= end ? done(vcpu, STATUS.success) : ask(next + MOST_AT_ONCE);
    });
    return 0;
  };
  return ask(gpa);
}

function callInfo(vcpu: Vcpu, { r12 }: Regs): RunResult {
  if (r12 === 0n) return done(vcpu, STATUS.success, { r11: 0n, r12: 0n, r13: 0n, r14: 0n });
  if (r12 !== 1n) return done(vcpu, STATUS.invalidOperand);
  const { page } = vcpu;
  // leaf, then the registers that userspace may fill.
  writeTdx(vcpu, LEAF.info, STATUS.success, [1n, 0n, 0n, 0n, 0n]);
  const at = AT + kvm_run_tdx.offsets.data;
  vcpu.completeWith(() => {
    const [r11, r12, r13, r14] = [1, 2, 3, 4].map((i) => page.run.getBigUint64(at + 8 * i, true));
    return done(vcpu, tdxAnswer(vcpu), { r11: r11 ?? 0n, r12: r12 ?? 0n, r13: r13 ?? 0n, r14: r14 ?? 0n });
  });
  return 0;
}

/** KVM_EXIT_TDX that userspace answers with a status; unsupported if it writes none. */
function userCall(vcpu: Vcpu, nr: bigint, data: readonly bigint[]): RunResult {
  writeTdx(vcpu, nr, STATUS.unsupported, data);
  vcpu.completeWith(() => done(vcpu, tdxAnswer(vcpu)));
  return 0;
}

function writeTdx({ page }: Vcpu, nr: bigint, ret: bigint, data: readonly bigint[]): void {
  const { flags, nr: nrAt, ret: retAt, data: dataAt } = kvm_run_tdx.offsets;
  page.exitReason = KVM_EXIT.value.KVM_EXIT_TDX;
  page.run.setBigUint64(AT + flags, 0n, true);
  page.run.setBigUint64(AT + nrAt, nr, true);
  page.run.setBigUint64(AT + retAt, ret, true);
  data.forEach((word, i) => {
    page.run.setBigUint64(AT + dataAt + 8 * i, word, true);
  });
}

const tdxAnswer = ({ page }: Vcpu): bigint => page.run.getBigUint64(AT + kvm_run_tdx.offsets.ret, true);

/** ReportFatalError: sixteen registers in the order of their numbers; those that are not handed over are zero. */
function fatalError(vcpu: Vcpu, { rcx, rdx, rbx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 }: Regs): RunResult {
  const words = [0n, rcx, rdx, rbx, 0n, 0n, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
  exits.writeSystemEvent(vcpu.page, KVM_SYSTEM_EVENT.value.KVM_SYSTEM_EVENT_TDX_FATAL, words);
  finish(vcpu, { rax: 0n });
  return 0;
}
