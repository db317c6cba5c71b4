/**
 * Records every call of any Kernel: as a line in strace's manner, and as data from which the call can be repeated elsewhere. What the
 * system call interface does not have (copies, views, vCPU bookkeeping) is recorded too, but marked, since strace would not see it.
 */
import { type FdKind, type Ioctl, ioctlByName } from '../uapi/registry.ts';
import { CALLS, type CallName, requestOf, showArgs, showIoctlArg } from './calls.ts';
import { errnoName, errnoText } from './errno.ts';
import { handedOver } from './handed.ts';
import type { Kernel } from './kernel.ts';
import { describeExit, type ExitBytes, exitBytes } from './trace-exit.ts';
import { TRACE_FORMAT, type TraceRecord, type TraceSink } from './trace-record.ts';
import { type HostWrite, Watches } from './trace-watch.ts';

export type { TraceRecord, TraceSink };

type AnyCall = (...args: unknown[]) => unknown;

/** Arguments that a call fills, by index. */
const FILLS: Partial<Record<CallName, readonly number[]>> = {
  ioctl: [2],
  fstat: [1],
  lseek: [3],
  readlink: [1],
  read: [1],
  pread: [1],
  cachestat: [3],
  mincore: [2],
  pipe: [1],
  getMempolicy: [0, 1],
  processVmReadv: [1],
  copyOut: [1, 2],
  copyIn: [2],
  fill: [3],
  compare: [2],
};

/** NaN for a buffer: to turn one into text would read all of it, and it may be memory that nobody can reach. */
const numberOf = (value: unknown): number => (typeof value === 'object' ? Number.NaN : Number(value));

const isPointerList = (value: unknown): value is readonly (readonly [number, Uint8Array])[] => Array.isArray(value);

const failure = (result: number): string => `-1 ${errnoName(-result)} (${errnoText(-result)})`;

/** What is known of a call when it begins. */
interface Begun {
  readonly time: bigint;
  readonly writes: readonly HostWrite[];
  /** What an ioctl was handed over as. */
  readonly handed?: Ioctl | undefined;
  /** Calls recorded by then. */
  readonly after?: number;
}

const microsSince = (time: bigint): number => Number(process.hrtime.bigint() - time) / 1000;

class Tracer {
  readonly #inner: Kernel;
  readonly #watches: Watches;
  #first: bigint | undefined;
  readonly #sink: TraceSink;
  readonly #kinds = new Map<number, FdKind>();
  readonly #vcpus = new Map<number, { readonly fd: number; readonly page: number | undefined }>();
  /** Where the buffers of views lie. */
  readonly #views = new WeakMap<ArrayBufferLike, number>();
  #count = 0;

  constructor(inner: Kernel, sink: TraceSink) {
    this.#inner = inner;
    this.#watches = new Watches(inner);
    this.#sink = sink;
  }

  #begin(): bigint {
    this.#watches.before();
    const time = process.hrtime.bigint();
    this.#first ??= time;
    return time;
  }

  /** The host address of a buffer that aliases memory. */
  #hvaOf(value: unknown): number | undefined {
    if (!ArrayBuffer.isView(value)) return undefined;
    const hva = this.#views.get(value.buffer);
    return hva === undefined ? undefined : hva + value.byteOffset;
  }

  /** A copy of a buffer. One that aliases memory is copied as memory is: a private page in it must not end the process. */
  #bytesOf(value: unknown): Uint8Array | undefined {
    if (!ArrayBuffer.isView(value)) return undefined;
    const hva = this.#hvaOf(value);
    if (hva === undefined) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
    const bytes = new Uint8Array(value.byteLength);
    this.#inner.copyOut(hva, bytes);
    return bytes;
  }

  #freeze(value: unknown): unknown {
    if (typeof value === 'function') return undefined;
    if (isPointerList(value)) return value.map(([offset, view]) => [offset, this.#bytesOf(view)]);
    return this.#bytesOf(value) ?? value;
  }

  /** The addresses of arguments that alias memory, by index. */
  #mapped(args: readonly unknown[]): Readonly<Record<number, number>> | undefined {
    const found = args.flatMap((value, i) => {
      const hva = this.#hvaOf(value);
      return hva === undefined ? [] : [[i, hva] as const];
    });
    return found.length === 0 ? undefined : Object.fromEntries(found);
  }

  call(call: CallName, args: unknown[]): unknown {
    if (call === 'vcpuStart') return this.#start(args);
    const handed = call === 'ioctl' ? handedOver() : undefined;
    const before = args.map((value) => this.#freeze(value));
    const method = this.#inner[call] as AnyCall;
    const time = this.#begin();
    const value = method.apply(this.#inner, args);
    const micros = microsSince(time);
    const result = typeof value === 'number' ? value : 0;
    if (value instanceof ArrayBuffer) this.#views.set(value, Number(args[0]));
    const watched = typeof value === 'number' || this.#watches.add(Number(args[0]), Number(args[1]));
    this.#follow(call, args, result);
    this.#record(call, before, args, result, micros, { time, writes: this.#watches.take(), handed }, watched);
    this.#watches.after();
    return value;
  }

  /** Recorded when it is done, as strace does with a call that takes time. */
  #start(args: unknown[]): unknown {
    const [vcpu, done] = args as [number, (result: number) => void];
    const begun: Begun = { time: this.#begin(), writes: this.#watches.take(), after: this.#count };
    const record = (result: number): void => {
      const micros = microsSince(begun.time);
      this.#record('vcpuStart', [vcpu], args, result, micros, begun);
      this.#watches.after();
    };
    const ended = (result: number): void => {
      this.#watches.runEnds(vcpu, result);
      record(result);
      done(result);
    };
    let started: number;
    try {
      started = this.#inner.vcpuStart(vcpu, ended);
    } catch (error) {
      this.#watches.giveBack(begun.writes);
      throw error;
    }
    // Refused at once: no end will come.
    if (started < 0) record(started);
    else this.#watches.runStarts(vcpu);
    return started;
  }

  /** What a call means for the memory that is watched. */
  #follow(call: CallName, args: readonly unknown[], result: number): void {
    const [first, second] = [numberOf(args[0]), numberOf(args[1])];
    if (call === 'vcpuRun') this.#watches.runEnds(first, result);
    if (result < 0) return;
    if (call === 'munmap') this.#watches.drop(first, second);
    else if (call === 'mmap') this.#watches.drop(result, second);
    else if (call === 'vcpuAttach') this.#watches.attach(result, second);
    else if (call === 'vcpuDetach') this.#watches.detach(first);
    else if (call === 'vcpuKick') this.#watches.kick(first);
  }

  #record(
    call: CallName,
    before: readonly unknown[],
    after: readonly unknown[],
    result: number,
    micros: number,
    begun: Begun,
    watched = true,
  ): void {
    const on = typeof before[0] === 'number' ? this.#kinds.get(before[0]) : undefined;
    const ioctl = call === 'ioctl' ? shownAs(before, on, begun.handed) : undefined;
    const out: Record<number, Uint8Array> = {};
    for (const index of FILLS[call] ?? []) {
      const bytes = this.#bytesOf(after[index]);
      if (bytes !== undefined) out[index] = bytes;
    }
    const isRun = call === 'vcpuRun' || call === 'vcpuStart';
    const exit = isRun ? this.#exit(Number(before[0]), result) : undefined;
    const text = isRun
      ? this.#runText(Number(before[0]), result, exit)
      : this.#text(call, ioctl, before, out[2], result);
    const pointed = call === 'ioctl' && isPointerList(after[4]) ? after[4].map(([, view]) => this.#bytesOf(view)) : [];
    if (result >= 0) this.#learn(call, ioctl, before, result);
    this.#count++;
    const mapped = this.#mapped(after);
    const { backend, arch, release } = this.#inner;
    this.#sink({
      ...(this.#count === 1 ? { format: TRACE_FORMAT, kernel: { backend, arch, release } } : {}),
      n: this.#count,
      call,
      syscall: CALLS[call].syscall ?? null,
      ...(isRun ? { request: 'KVM_RUN' } : ioctl === undefined ? {} : { request: ioctl.name }),
      args: before,
      result,
      ...(result < 0 ? { errno: errnoName(-result) } : {}),
      ...(Object.keys(out).length === 0 ? {} : { out }),
      ...(pointed.length === 0 ? {} : { pointed: pointed.filter((bytes) => bytes !== undefined) }),
      ...(mapped === undefined ? {} : { mapped }),
      ...(begun.writes.length === 0 ? {} : { writes: begun.writes }),
      ...(exit === undefined ? {} : { exit }),
      ...(begun.after === undefined ? {} : { startedAfter: begun.after }),
      ...(watched ? {} : { unwatched: true }),
      at: Number(begun.time - (this.#first ?? begun.time)) / 1000,
      micros,
      text,
    });
  }

  #text(
    call: CallName,
    ioctl: Ioctl | undefined,
    before: readonly unknown[],
    filled: Uint8Array | undefined,
    result: number,
  ): string {
    const shown = showArgs(call, before, ioctl);
    CALLS[call].args.forEach((kind, i) => {
      const fdKind = kind === 'fd' ? this.#kinds.get(Number(before[i])) : undefined;
      if (fdKind !== undefined) shown[i] = `${String(before[i])}<${fdKind}>`;
    });
    if (ioctl !== undefined && filled !== undefined && ioctl.travels !== 'in' && result >= 0) {
      const decoded = showIoctlArg(ioctl, filled);
      shown[2] = ioctl.travels === 'out' ? decoded : `${shown[2]} => ${decoded}`;
    }
    const name = CALLS[call].syscall ?? `[${call}]`;
    return `${name}(${shown.join(', ')}) = ${this.#shownResult(call, ioctl, before, result)}`;
  }

  #shownResult(call: CallName, ioctl: Ioctl | undefined, args: readonly unknown[], result: number): string {
    if (result < 0) return failure(result);
    if (call === 'mmap') return `0x${result.toString(16)}`;
    const made = madeKind(call, ioctl, args);
    return made === undefined ? String(result) : `${result}<${made}>`;
  }

  #exit(vcpu: number, result: number): ExitBytes | undefined {
    const page = this.#vcpus.get(vcpu)?.page;
    if (page === undefined) return undefined;
    return exitBytes(result, (offset, into) => this.#inner.copyOut(page + offset, into));
  }

  #runText(vcpu: number, result: number, exit: ExitBytes | undefined): string {
    const place = this.#vcpus.get(vcpu);
    const line = `ioctl(${place?.fd ?? '?'}<vcpu>, KVM_RUN, 0) = ${result < 0 ? failure(result) : result}`;
    return exit === undefined ? line : `${line} <${describeExit(exit.page, result) ?? ''}>`;
  }

  /** The end of a run may be recorded after the detach that caused it: the descriptor is still shown, the page is not looked at. */
  #forgetPage(vcpu: number): void {
    const known = this.#vcpus.get(vcpu);
    if (known !== undefined) this.#vcpus.set(vcpu, { fd: known.fd, page: undefined });
  }

  /** Which descriptor is what, and which vCPU has which page: from the calls that made them. */
  #learn(call: CallName, ioctl: Ioctl | undefined, args: readonly unknown[], result: number): void {
    const made = madeKind(call, ioctl, args);
    if (made !== undefined) this.#kinds.set(result, made);
    else if (call === 'close') this.#kinds.delete(Number(args[0]));
    else if (call === 'vcpuAttach') this.#vcpus.set(result, { fd: Number(args[0]), page: Number(args[1]) });
    else if (call === 'vcpuDetach') this.#forgetPage(Number(args[0]));
  }
}

/** A request that is declared is found by its number; one that is not, because it was handed over. */
function shownAs(args: readonly unknown[], on: FdKind | undefined, handed: Ioctl | undefined): Ioctl | undefined {
  const unlisted = handed !== undefined && handed.request === args[1] && ioctlByName(handed.name) === undefined;
  return requestOf(args, on, unlisted ? handed : undefined);
}

export function madeKind(call: CallName, ioctl: Ioctl | undefined, args: readonly unknown[]): FdKind | undefined {
  switch (call) {
    case 'open':
      return args[0] === '/dev/kvm' ? 'kvm' : 'file';
    case 'memfdCreate':
      return 'memfd';
    case 'memfdSecret':
    case 'eventfd':
      return 'file';
    case 'ioctl':
      return ioctl?.makesField === undefined ? ioctl?.makes : undefined;
    default:
      return undefined;
  }
}

/** The same kernel, with every call going to `sink` after it was made. */
export function traceKernel(inner: Kernel, sink: TraceSink): Kernel {
  const tracer = new Tracer(inner, sink);
  const methods: Partial<Record<CallName, AnyCall>> = {};
  for (const call of Object.keys(CALLS) as CallName[]) methods[call] = (...args) => tracer.call(call, args);
  const { backend, arch, release } = inner;
  return { backend, arch, release, ...methods } as unknown as Kernel;
}
