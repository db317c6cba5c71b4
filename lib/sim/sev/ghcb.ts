/** The page by which a sealed guest talks to the hypervisor: struct ghcb of arch/x86/include/asm/svm.h, non-automatic exit events. */
import { kvm_run_mmio } from '../../uapi/kvm-run.ts';
import * as exits from '../kvm/x64/exits.ts';
import type { RunResult } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { SevBase } from './sev-base.ts';
import { GHCB_FEATURES, isRegistered, terminate } from './vmgexit.ts';

export const GHCB_AT = {
  rax: 0x1f8,
  exitCode: 0x390,
  exitInfo1: 0x398,
  exitInfo2: 0x3a0,
  scratch: 0x3a8,
  validBitmap: 0x3f0,
  sharedBuffer: 0x800,
  sharedBufferEnd: 0xff0,
  usage: 0xffc,
} as const;
const EVENT = {
  io: 0x7bn,
  mmioRead: 0x8000_0001n,
  mmioWrite: 0x8000_0002n,
  pageState: 0x8000_0010n,
  guestRequest: 0x8000_0011n,
  extendedGuestRequest: 0x8000_0012n,
  createVcpu: 0x8000_0013n,
  features: 0x8000_fffdn,
  terminate: 0x8000_fffen,
} as const;
/** Events that exist, but not here. */
const KNOWN: ReadonlySet<bigint> = new Set([
  ...[0x27n, 0x37n, 0x6en, 0x6fn, 0x72n, 0x76n, 0x7cn, 0x81n, 0x87n, 0x89n, 0x8an, 0x8bn],
  ...[0x8000_0003n, 0x8000_0004n, 0x8000_0005n, EVENT.pageState, EVENT.guestRequest],
  ...[EVENT.extendedGuestRequest, EVENT.createVcpu],
]);
const SNP_ONLY: ReadonlySet<bigint> = new Set([
  ...[EVENT.pageState, EVENT.guestRequest, EVENT.extendedGuestRequest, EVENT.createVcpu],
]);
const MALFORMED = 2n;
const ERROR = { notRegistered: 1n, usage: 2n, scratch: 3n, missing: 4n, input: 5n, event: 6n } as const;
const IO = { in: 1n, string: 4n, sizeShift: 4n, sizeMask: 7n, portShift: 16n } as const;
const MOST_BYTES = 8n;

class Ghcb {
  readonly #view: DataView;
  readonly #gpa: bigint;
  readonly #valid: readonly [low: bigint, high: bigint];

  constructor(page: Uint8Array, gpa: bigint) {
    this.#view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    this.#gpa = gpa;
    const at = GHCB_AT.validBitmap;
    this.#valid = [this.#view.getBigUint64(at, true), this.#view.getBigUint64(at + 8, true)];
    // What the guest gave is taken: the next event starts with nothing.
    page.fill(0, at, at + 16);
  }

  /** The field, when the guest said that it is there. */
  field(offset: number): bigint | undefined {
    const bit = offset / 8;
    const word = this.#valid[bit < 64 ? 0 : 1];
    return ((word >> BigInt(bit % 64)) & 1n) === 0n ? undefined : this.#view.getBigUint64(offset, true);
  }

  set(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, BigInt.asUintN(64, value), true);
    const bit = offset / 8;
    const at = GHCB_AT.validBitmap + 8 * Math.floor(bit / 64);
    this.#view.setBigUint64(at, this.#view.getBigUint64(at, true) | (1n << BigInt(bit % 64)), true);
  }

  answer(first: bigint, second: bigint): undefined {
    this.set(GHCB_AT.exitInfo1, first);
    this.set(GHCB_AT.exitInfo2, second);
  }

  get usage(): number {
    return this.#view.getUint32(GHCB_AT.usage, true);
  }

  /** Bytes of the shared buffer that the scratch field names; undefined where it leads elsewhere. */
  scratch(length: number): Uint8Array | undefined {
    const address = this.field(GHCB_AT.scratch) ?? 0n;
    const offset = Number(address - this.#gpa);
    if (offset < GHCB_AT.sharedBuffer || offset + length > GHCB_AT.sharedBufferEnd) return undefined;
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + offset, length);
  }
}

/** One event. The instruction is over already; a result is what KVM_RUN comes back with. */
export function ghcbEvent(technology: SevBase, vcpu: Vcpu, gpa: bigint): RunResult {
  const { vm } = technology;
  const page = vm.memory.hostPage(Number(gpa >> 12n), true);
  // Without the page the guest just goes on.
  if (page === undefined) return undefined;
  const snp = vm.machine.hasPrivateMemory(vm.type);
  const ghcb = new Ghcb(page, gpa);
  const code = ghcb.field(GHCB_AT.exitCode);
  const info1 = ghcb.field(GHCB_AT.exitInfo1);
  const info2 = ghcb.field(GHCB_AT.exitInfo2);
  if (snp && !isRegistered(vcpu, gpa)) return ghcb.answer(MALFORMED, ERROR.notRegistered);
  if (ghcb.usage !== 0) return ghcb.answer(MALFORMED, ERROR.usage);
  if (code !== undefined && SNP_ONLY.has(code) && !snp) return ghcb.answer(MALFORMED, ERROR.event);
  if (code === undefined || info1 === undefined || info2 === undefined) return ghcb.answer(MALFORMED, ERROR.missing);
  switch (code) {
    case EVENT.mmioRead:
    case EVENT.mmioWrite:
      return mmio(technology, vcpu, ghcb, code === EVENT.mmioWrite, info1, info2);
    case EVENT.io:
      return io(vcpu, ghcb, info1);
    case EVENT.features:
      return ghcb.answer(0n, GHCB_FEATURES);
    case EVENT.terminate:
      return terminate(vcpu, gpa);
    default:
      if (!KNOWN.has(code)) return ghcb.answer(MALFORMED, ERROR.event);
      exits.writeEmulationFailure(vcpu.page, { kind: 'emulation', bytes: new Uint8Array() });
      return 0;
  }
}

function mmio(
  { ghcbVersion }: SevBase,
  vcpu: Vcpu,
  ghcb: Ghcb,
  isWrite: boolean,
  gpa: bigint,
  length: bigint,
): RunResult {
  if (ghcb.field(GHCB_AT.scratch) === undefined) return ghcb.answer(MALFORMED, ERROR.missing);
  ghcb.answer(0n, 0n);
  if (length === 0n) return undefined;
  if (length > MOST_BYTES) {
    if (ghcbVersion >= 2) return ghcb.answer(MALFORMED, ERROR.input);
    exits.writeEmulationFailure(vcpu.page, { kind: 'emulation', bytes: new Uint8Array() });
    return 0;
  }
  const buffer = ghcb.scratch(Number(length));
  if (buffer === undefined) return ghcb.answer(MALFORMED, ERROR.scratch);
  const stop = { kind: 'mmio', gpa: Number(gpa), length: buffer.length, isWrite } as const;
  exits.writeMmio(vcpu.page, isWrite ? { ...stop, data: buffer.slice() } : stop);
  if (!isWrite) {
    vcpu.completeWith(() => {
      buffer.set(vcpu.page.payload(kvm_run_mmio.offsets.data, buffer.length));
      return undefined;
    });
  }
  return 0;
}

function io(vcpu: Vcpu, ghcb: Ghcb, info: bigint): RunResult {
  const size = Number((info >> IO.sizeShift) & IO.sizeMask);
  const isIn = (info & IO.in) !== 0n;
  if (!isIn && ghcb.field(GHCB_AT.rax) === undefined) return ghcb.answer(MALFORMED, ERROR.missing);
  ghcb.answer(0n, 0n);
  if (size === 0) return undefined;
  if ((info & IO.string) !== 0n || (size !== 1 && size !== 2 && size !== 4)) {
    exits.writeEmulationFailure(vcpu.page, { kind: 'emulation', bytes: new Uint8Array() });
    return 0;
  }
  const port = Number((info >> IO.portShift) & 0xffffn);
  const rax = ghcb.field(GHCB_AT.rax) ?? 0n;
  if (!isIn) {
    const data = Uint8Array.from({ length: size }, (_, i) => Number((rax >> BigInt(8 * i)) & 0xffn));
    exits.writeIo(vcpu.page, { kind: 'io', direction: 'out', size, port, count: 1, data, waits: false });
    return 0;
  }
  exits.writeIo(vcpu.page, { kind: 'io', direction: 'in', size, port, count: 1, waits: true });
  vcpu.completeWith(() => {
    let value = 0n;
    for (let i = 0; i < size; i++) value |= BigInt(vcpu.page.pio[i] ?? 0) << BigInt(8 * i);
    ghcb.set(GHCB_AT.rax, value);
    return undefined;
  });
  return 0;
}
