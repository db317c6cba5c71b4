/** What a replay does not do, because a file may come from anybody: every rule says its reason. */
import { statSync } from 'node:fs';
import os from 'node:os';
import type { Kernel } from '../kernel/kernel.ts';
import { KVM_RUN, KVM_SET_SIGNAL_MASK } from '../uapi/index.ts';
import { describeRequest } from '../uapi/ioctl.ts';
import { viewOf } from '../uapi/layout.ts';
import { O } from '../uapi/mman.ts';
import type { Ioctl } from '../uapi/registry.ts';
import { TRACED } from './calls.ts';
import { type FdKinds, isInMemory, reopened } from './kinds.ts';
import type { RecordedCall } from './recording.ts';

export interface GuardOptions {
  /** Paths that may be opened besides /dev/kvm. Regular files only for reading. */
  readonly open?: readonly string[] | undefined;
  /** Memory that one call may bring into being, in bytes. Default: half of what is free. */
  readonly memoryLimit?: number | undefined;
  /** Makes requests that no declaration describes, with their bytes as recorded. Default false. */
  readonly undeclared?: boolean | undefined;
}

const ALWAYS = ['/dev/kvm', '/dev/null', '/dev/zero'];
const { O_CREAT, O_TRUNC, O_WRONLY, O_RDWR } = O.value;

/** Requests whose argument holds addresses that no layout describes: in a union, or in what it points to. */
const UNDESCRIBED: ReadonlySet<string> = new Set([
  'KVM_MEMORY_ENCRYPT_OP',
  'KVM_XEN_HVM_SET_ATTR',
  'KVM_XEN_VCPU_SET_ATTR',
]);

/** KVM refuses larger slots before it does anything: 2^31 pages. */
const NO_SUCH_SLOT = 2 ** 43;

/**
 * Memory that a request takes, in bytes for each byte of a field: KVM keeps 8 bytes for each page of a slot, and as much for attributes.
 * From `end` on it refuses.
 */
const REQUEST_GROWS: Readonly<Record<string, readonly [field: string, share: number, end?: number]>> = {
  KVM_SET_USER_MEMORY_REGION: ['memory_size', 1 / 512, NO_SUCH_SLOT],
  KVM_SET_USER_MEMORY_REGION2: ['memory_size', 1 / 512, NO_SUCH_SLOT],
  KVM_SET_MEMORY_ATTRIBUTES: ['size', 1 / 512],
  KVM_SET_MEMORY_ATTRIBUTES2: ['size', 1 / 512],
  KVM_PRE_FAULT_MEMORY: ['size', 1],
};

/** Beyond this, in bytes, the kernel refuses every length, and nothing grows. */
const NO_SUCH_LENGTH = 2n ** 62n;

export class Guard {
  readonly #kernel: Kernel;
  readonly #options: GuardOptions;
  readonly #limit: number;

  constructor(kernel: Kernel, options: GuardOptions) {
    this.#kernel = kernel;
    this.#options = options;
    const LEAST = 2 ** 28;
    this.#limit = options.memoryLimit ?? Math.max(LEAST, os.freemem() / 2);
  }

  /** Why the call is not made; undefined when it may be. */
  objection(call: RecordedCall, ioctl: Ioctl | undefined, kinds: FdKinds): string | undefined {
    if (TRACED[call.call] === undefined) return `this version does not know the call ${call.call}`;
    if (call.call === 'open') {
      const again = reopened(call);
      if (again !== undefined && isInMemory(kinds.of(again))) return undefined;
      return this.#toOpen(String(call.args[0]), Number(call.args[1]));
    }
    return this.#toGrow(call, ioctl) ?? (call.call === 'ioctl' ? this.#toRequest(call, ioctl) : undefined);
  }

  #toOpen(path: string, flags: number): string | undefined {
    // A simulated kernel has no files but its own.
    if (this.#kernel.backend === 'sim') return undefined;
    if ((flags & (O_CREAT | O_TRUNC)) !== 0) return `${path} would be created or truncated`;
    if (ALWAYS.includes(path)) return undefined;
    if (!(this.#options.open ?? []).includes(path)) {
      return `a replay opens ${ALWAYS.join(', ')}; --open ${JSON.stringify(path)} allows this one`;
    }
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isFIFO() || stat?.isSocket()) return `${path} is no file: to open it may wait for ever`;
    if ((flags & (O_WRONLY | O_RDWR)) !== 0 && stat?.isFile()) return `${path} would be opened for writing`;
    return undefined;
  }

  #toGrow(call: RecordedCall, ioctl: Ioctl | undefined): string | undefined {
    const bytes = growth(call, ioctl);
    if (bytes <= this.#limit) return undefined;
    const mib = (size: number): string => `${Math.ceil(size / 2 ** 20)} MiB`;
    return `it may take ${mib(bytes)} of memory, more than the limit of ${mib(this.#limit)} (--memory)`;
  }

  #toRequest({ args }: RecordedCall, ioctl: Ioctl | undefined): string | undefined {
    const request = Number(args[1]);
    const arg = args[2];
    if (request === KVM_RUN.request) return 'KVM_RUN as a plain ioctl could not be interrupted';
    if (ioctl === undefined) {
      if (this.#options.undeclared || this.#kernel.backend === 'sim' || !(arg instanceof Uint8Array)) return undefined;
      return `${describeRequest(request)} is not declared, so nobody knows what is an address in it; --undeclared makes it`;
    }
    if (!(arg instanceof Uint8Array)) return undefined;
    if (UNDESCRIBED.has(ioctl.name) && !this.#options.undeclared && this.#kernel.backend === 'kvm') {
      return `${ioctl.name} can hold addresses of memory where no table says it; --undeclared makes it`;
    }
    const needs = realLength(ioctl, arg);
    if (needs > arg.length) return `${ioctl.name} would touch ${needs} bytes, the recorded buffer has ${arg.length}`;
    if (ioctl === KVM_SET_SIGNAL_MASK && blocksRealTime(arg)) return 'it would block the signal that ends a run';
    return undefined;
  }
}

function realLength(ioctl: Ioctl, bytes: Uint8Array): number {
  if (ioctl.realLength === undefined) return 0;
  try {
    return ioctl.realLength(bytes);
  } catch {
    // A count that no number holds.
    return Number.POSITIVE_INFINITY;
  }
}

/** Memory that a call may bring into being, in bytes. */
function growth({ call, args }: RecordedCall, ioctl: Ioctl | undefined): number {
  const grows = TRACED[call]?.grows;
  if (grows !== undefined && (grows.when === undefined || grows.when(args))) return sizeOf(args[grows.length]);
  const [field, share, end = Number.POSITIVE_INFINITY] = REQUEST_GROWS[ioctl?.name ?? ''] ?? [];
  if (field === undefined || share === undefined || ioctl?.arg.kind !== 'struct') return 0;
  const bytes = args[2];
  const { layout } = ioctl.arg;
  if (!(bytes instanceof Uint8Array) || bytes.length < layout.size) return 0;
  const size = sizeOf(viewOf(bytes).getBigUint64(layout.offsets[field] ?? 0, true));
  return size < end ? size * share : 0;
}

function sizeOf(value: unknown): number {
  const size = typeof value === 'bigint' || typeof value === 'number' ? BigInt(value) : 0n;
  return size < 0n || size >= NO_SUCH_LENGTH ? 0 : Number(size);
}

/** Signals from 32 on are the real-time ones; one of them is the kick. */
function blocksRealTime(mask: Uint8Array): boolean {
  const FIRST = 4 + 3; // struct kvm_signal_mask: the length, then 31 signals below
  return mask.subarray(FIRST).some((byte, i) => (i === 0 ? byte & 0x80 : byte) !== 0);
}
