/**
 * Why KVM_RUN came back, decoded from struct kvm_run. Read by hand at the layouts' offsets, because this runs once per exit; every
 * payload is copied, so that an exit stays what it was when the next one overwrites the page.
 */
import { KVM_EXIT, KVM_INTERNAL_ERROR, KVM_RUN_EXIT_OFFSET, KVM_SYSTEM_EVENT, kvm_run } from '../uapi/index.ts';
import {
  kvm_run_eoi,
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

/** A port access (x86). For `in`, answer with `count * size` bytes. */
export interface IoExit {
  readonly name: 'KVM_EXIT_IO';
  readonly reason: number;
  readonly direction: 'in' | 'out';
  /** Bytes per access: 1, 2 or 4. */
  readonly size: number;
  readonly port: number;
  /** Accesses in one instruction (string I/O). */
  readonly count: number;
  /** What the guest wrote; zeros for `in`. */
  readonly data: Uint8Array;
}

/** An access to guest-physical memory without a slot, or a write to a read-only one. For a read, answer with `length` bytes. */
export interface MmioExit {
  readonly name: 'KVM_EXIT_MMIO';
  readonly reason: number;
  /** Guest-physical address in bytes. */
  readonly gpa: number;
  readonly length: number;
  readonly isWrite: boolean;
  /** What the guest wrote, `length` bytes; zeros for a read. */
  readonly data: Uint8Array;
}

/** A hypercall that KVM hands out (KVM_CAP_EXIT_HYPERCALL). Answer with its return value; KVM presets 0, which means done. */
export interface HypercallExit {
  readonly name: 'KVM_EXIT_HYPERCALL';
  readonly reason: number;
  readonly nr: number;
  readonly args: readonly bigint[];
  /** x86: bit 0 when the guest was in 64-bit mode. */
  readonly flags: bigint;
}

/**
 * The guest touched memory whose private or shared state or whose backing must change first (Linux 6.8). A result, not an error: KVM_RUN
 * fails with `code` and the instruction was not executed. Running again without a change repeats it.
 */
export interface MemoryFaultExit {
  readonly name: 'KVM_EXIT_MEMORY_FAULT';
  readonly reason: number;
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  /** KVM_MEMORY_EXIT_FLAG bits. */
  readonly flags: bigint;
  /** Whether the access was to private memory. */
  readonly private: boolean;
  /** The errno of KVM_RUN: EFAULT, EHWPOISON or ENOMEM. */
  readonly code: string;
}

/** KVM could not go on: for suberror KVM_INTERNAL_ERROR_EMULATION it met an instruction that it does not emulate. */
export interface InternalErrorExit {
  readonly name: 'KVM_EXIT_INTERNAL_ERROR';
  readonly reason: number;
  readonly suberror: number;
  readonly suberrorName: string | undefined;
  readonly data: readonly bigint[];
}

export interface SystemEventExit {
  readonly name: 'KVM_EXIT_SYSTEM_EVENT';
  readonly reason: number;
  readonly type: number;
  readonly typeName: string | undefined;
  readonly data: readonly bigint[];
}

export interface FailEntryExit {
  readonly name: 'KVM_EXIT_FAIL_ENTRY';
  readonly reason: number;
  readonly hardwareReason: bigint;
  readonly cpu: number;
}

/** A TDX guest's request to userspace. Answer with its return value. */
export interface TdxExit {
  readonly name: 'KVM_EXIT_TDX';
  readonly reason: number;
  readonly nr: bigint;
  /** The call's own words, as struct kvm_run's tdx union has them after `ret`. */
  readonly data: readonly bigint[];
}

/** An SNP guest asks for certificates. Answer with 0, ENOSPC, EAGAIN or EIO. */
export interface SnpReqCertsExit {
  readonly name: 'KVM_EXIT_SNP_REQ_CERTS';
  readonly reason: number;
  readonly gpa: number;
  readonly pages: bigint;
}

/** The guest ended an interrupt that a split interrupt controller had routed as a level: the IOAPIC's pins with that vector may signal again. */
export interface IoapicEoiExit {
  readonly name: 'KVM_EXIT_IOAPIC_EOI';
  readonly reason: number;
  readonly vector: number;
}

/** The run was interrupted: by a kick, a time limit or a signal. No exit of the guest is lost: run again. */
export interface IntrExit {
  readonly name: 'KVM_EXIT_INTR';
  readonly reason: number;
}

/** Every other exit: the number survives, and the name if there is one. Its payload is in `vcpu.runPage`. */
export interface OtherExit {
  readonly name: OtherExitName | undefined;
  readonly reason: number;
  readonly other: true;
}

export type DecodedExit =
  | IoExit
  | MmioExit
  | HypercallExit
  | MemoryFaultExit
  | InternalErrorExit
  | SystemEventExit
  | FailEntryExit
  | TdxExit
  | SnpReqCertsExit
  | IoapicEoiExit
  | IntrExit;
export type OtherExitName = Exclude<keyof typeof KVM_EXIT.value, DecodedExit['name']>;
/** Tell them apart by `name`. */
export type Exit = DecodedExit | OtherExit;

const R = KVM_EXIT.value;
const AT = KVM_RUN_EXIT_OFFSET;
const IO = kvm_run_io.offsets;
const MMIO = kvm_run_mmio.offsets;
const HC = kvm_run_hypercall.offsets;
const FAULT = kvm_run_memory_fault.offsets;
const INTERNAL = kvm_run_internal.offsets;
const EVENT = kvm_run_system_event.offsets;
const ENTRY = kvm_run_fail_entry.offsets;
const TDX = kvm_run_tdx.offsets;
const EOI = kvm_run_eoi.offsets;
const CERTS = kvm_run_snp_req_certs.offsets;
const IO_OUT = 1;
const MOST_WORDS = 16;
/** Up to here copying by hand takes less time than making a second array to copy from. */
const FEW_BYTES = 16;

const namesByReason = new Map(Object.entries(R).map(([name, reason]) => [Number(reason), name as OtherExitName]));

function nameIn(set: { readonly entries: ReadonlyMap<string, bigint> }, value: number): string | undefined {
  for (const [name, entry] of set.entries) if (entry === BigInt(value)) return name;
  return undefined;
}

const words = (page: DataView, offset: number, count: number): bigint[] =>
  Array.from({ length: count }, (_, i) => page.getBigUint64(offset + 8 * i, true));

function copy(page: DataView, offset: number, length: number): Uint8Array {
  const room = Math.max(0, Math.min(length, page.byteLength - offset));
  if (room > FEW_BYTES) return new Uint8Array(page.buffer, page.byteOffset + offset, room).slice();
  const data = new Uint8Array(room);
  for (let i = 0; i < room; i++) data[i] = page.getUint8(offset + i);
  return data;
}

/** Rounds above 2^53 just as Number(bigint) does, without making one. */
const u64 = (page: DataView, offset: number): number =>
  page.getUint32(AT + offset, true) + page.getUint32(AT + offset + 4, true) * 2 ** 32;

/** Which bytes of the page answer the last exit, if it takes an answer. */
export interface AnswerPlace {
  readonly offset: number;
  readonly length: number;
}

/** Decodes the exit that the page holds. Only to be called after KVM_RUN returned 0: anything else may be left over. */
export function decodeExit(page: DataView): Exit {
  const reason = page.getUint32(kvm_run.offsets.exit_reason, true);
  switch (reason) {
    case R.KVM_EXIT_IO: {
      const size = page.getUint8(AT + IO.size);
      const count = page.getUint32(AT + IO.count, true);
      const out = page.getUint8(AT + IO.direction) === IO_OUT;
      const data = out ? copy(page, u64(page, IO.data_offset), size * count) : new Uint8Array(size * count);
      const port = page.getUint16(AT + IO.port, true);
      return { name: 'KVM_EXIT_IO', reason, direction: out ? 'out' : 'in', size, port, count, data };
    }
    case R.KVM_EXIT_MMIO: {
      const length = page.getUint32(AT + MMIO.len, true);
      const isWrite = page.getUint8(AT + MMIO.is_write) !== 0;
      const data = isWrite ? copy(page, AT + MMIO.data, Math.min(length, 8)) : new Uint8Array(Math.min(length, 8));
      return { name: 'KVM_EXIT_MMIO', reason, gpa: u64(page, MMIO.phys_addr), length, isWrite, data };
    }
    case R.KVM_EXIT_HYPERCALL:
      return {
        name: 'KVM_EXIT_HYPERCALL',
        reason,
        nr: u64(page, HC.nr),
        args: words(page, AT + HC.args, 6),
        flags: page.getBigUint64(AT + HC.flags, true),
      };
    case R.KVM_EXIT_INTERNAL_ERROR: {
      const suberror = page.getUint32(AT + INTERNAL.suberror, true);
      const count = Math.min(page.getUint32(AT + INTERNAL.ndata, true), MOST_WORDS);
      const suberrorName = nameIn(KVM_INTERNAL_ERROR, suberror);
      return {
        name: 'KVM_EXIT_INTERNAL_ERROR',
        reason,
        suberror,
        suberrorName,
        data: words(page, AT + INTERNAL.data, count),
      };
    }
    case R.KVM_EXIT_SYSTEM_EVENT: {
      const type = page.getUint32(AT + EVENT.type, true);
      const count = Math.min(page.getUint32(AT + EVENT.ndata, true), MOST_WORDS);
      const typeName = nameIn(KVM_SYSTEM_EVENT, type);
      return { name: 'KVM_EXIT_SYSTEM_EVENT', reason, type, typeName, data: words(page, AT + EVENT.data, count) };
    }
    case R.KVM_EXIT_FAIL_ENTRY:
      return {
        name: 'KVM_EXIT_FAIL_ENTRY',
        reason,
        hardwareReason: page.getBigUint64(AT + ENTRY.hardware_entry_failure_reason, true),
        cpu: page.getUint32(AT + ENTRY.cpu, true),
      };
    case R.KVM_EXIT_TDX:
      return {
        name: 'KVM_EXIT_TDX',
        reason,
        nr: page.getBigUint64(AT + TDX.nr, true),
        data: words(page, AT + TDX.data, 5),
      };
    case R.KVM_EXIT_SNP_REQ_CERTS:
      return {
        name: 'KVM_EXIT_SNP_REQ_CERTS',
        reason,
        gpa: u64(page, CERTS.gpa),
        pages: page.getBigUint64(AT + CERTS.npages, true),
      };
    case R.KVM_EXIT_IOAPIC_EOI:
      return { name: 'KVM_EXIT_IOAPIC_EOI', reason, vector: page.getUint8(AT + EOI.vector) };
    case R.KVM_EXIT_INTR:
      return interrupted();
    default:
      return { name: namesByReason.get(reason), reason, other: true };
  }
}

export const interrupted = (): IntrExit => ({ name: 'KVM_EXIT_INTR', reason: R.KVM_EXIT_INTR });

/** The memory fault behind a failed KVM_RUN; undefined when the page does not hold one. `code` is the errno by name. */
export function decodeMemoryFault(page: DataView, code: string): MemoryFaultExit | undefined {
  if (page.getUint32(kvm_run.offsets.exit_reason, true) !== R.KVM_EXIT_MEMORY_FAULT) return undefined;
  const flags = page.getBigUint64(AT + FAULT.flags, true);
  return {
    name: 'KVM_EXIT_MEMORY_FAULT',
    reason: R.KVM_EXIT_MEMORY_FAULT,
    gpa: u64(page, FAULT.gpa),
    size: u64(page, FAULT.size),
    flags,
    private: (flags & 8n) !== 0n,
    code,
  };
}

/** Where an answer to `exit` goes in the page; undefined when it takes none. */
export function answerPlace(page: DataView, exit: Exit): AnswerPlace | undefined {
  switch (exit.name) {
    case 'KVM_EXIT_IO':
      return exit.direction === 'in' ? { offset: u64(page, IO.data_offset), length: exit.data.length } : undefined;
    case 'KVM_EXIT_MMIO':
      return exit.isWrite ? undefined : { offset: AT + MMIO.data, length: exit.data.length };
    case 'KVM_EXIT_HYPERCALL':
      return { offset: AT + HC.ret, length: 8 };
    case 'KVM_EXIT_TDX':
      return { offset: AT + TDX.ret, length: 8 };
    case 'KVM_EXIT_SNP_REQ_CERTS':
      return { offset: AT + CERTS.ret, length: 8 };
    default:
      return undefined;
  }
}
