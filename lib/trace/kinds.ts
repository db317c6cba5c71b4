/** What each descriptor of a recording is, from the calls that made it: two requests may share a number, and then this decides. */
import { madeKind } from '../kernel/trace.ts';
import { declareMemoryAttributes2, privateMemoryRegion } from '../uapi/index.ts';
import { type Arch, viewOf } from '../uapi/layout.ts';
import { type FdKind, findIoctl, type Ioctl } from '../uapi/registry.ts';
import { TRACED } from './calls.ts';
import { placesOf } from './places.ts';
import type { RecordedCall, Recording } from './recording.ts';

const F_DUPFD_CLOEXEC = 1030;

/** Requests that are not merged: the recording's name tells them, since a kernel may have given the number to something else. */
const PROPOSED: Readonly<Record<string, () => Ioctl>> = {
  KVM_SET_MEMORY_ATTRIBUTES2: declareMemoryAttributes2,
  [privateMemoryRegion.name]: () => privateMemoryRegion,
};

export class FdKinds {
  readonly #arch: Arch;
  readonly #kinds = new Map<number, FdKind>();

  constructor({ kernel }: Recording) {
    this.#arch = kernel.arch === 'x64' ? 'x86' : 'arm64';
  }

  of(fd: number): FdKind | undefined {
    return this.#kinds.get(fd);
  }

  /** The declaration of the request of an ioctl; undefined for other calls, and for a request that is not declared. */
  ioctl(call: RecordedCall): Ioctl | undefined {
    if (call.call !== 'ioctl') return undefined;
    const proposed = PROPOSED[call.request ?? '']?.();
    if (proposed !== undefined && proposed.request === Number(call.args[1])) return proposed;
    return findIoctl(Number(call.args[1]), this.of(Number(call.args[0])), this.#arch, call.args[2]);
  }

  /** Learns from a call, in order. */
  follow(call: RecordedCall): void {
    if (call.result < 0) return;
    const [first, second] = call.args;
    if (call.call === 'close') this.#kinds.delete(Number(first));
    else if (call.call === 'open' && reopened(call) !== undefined)
      this.#learn(call.result, this.of(reopened(call) ?? -1));
    else if (call.call === 'fcntl' && second === F_DUPFD_CLOEXEC) this.#learn(call.result, this.of(Number(first)));
    else this.#learn(call.result, madeKind(call.call as 'open', this.ioctl(call), call.args));
    const made = madeInField(this.ioctl(call), call.out.get(2));
    if (made !== undefined) this.#learn(made, 'device');
  }

  #learn(fd: number, kind: FdKind | undefined): void {
    if (kind !== undefined) this.#kinds.set(fd, kind);
  }
}

/** The descriptor that a path names: to open /proc/self/fd/N opens the file of N again. */
export function reopened({ call, args }: RecordedCall): number | undefined {
  const match = call === 'open' ? /^\/proc\/self\/fd\/(\d{1,9})$/.exec(String(args[0])) : null;
  return match === null ? undefined : Number(match[1]);
}

/** Kinds of files that exist in memory only, and go with their descriptors: to open one again harms nobody. */
export const isInMemory = (kind: FdKind | undefined): boolean => kind === 'memfd' || kind === 'guest_memfd';

/** The new descriptors that a call put into its arguments, in order. */
export function madeInArguments(
  call: string,
  ioctl: Ioctl | undefined,
  out: ReadonlyMap<number, Uint8Array> | undefined,
): number[] {
  const index = TRACED[call]?.args.findIndex(({ role }) => role.kind === 'words' && role.makesFds) ?? -1;
  const words = index < 0 ? undefined : out?.get(index);
  if (words !== undefined) {
    const view = viewOf(words);
    return Array.from({ length: words.length / 8 }, (_, i) => Number(view.getBigInt64(i * 8, true)));
  }
  const made = madeInField(ioctl, out?.get(2));
  return made === undefined ? [] : [made];
}

/** The new descriptor that a request put into its argument. */
export function madeInField(ioctl: Ioctl | undefined, bytes: Uint8Array | undefined): number | undefined {
  if (ioctl?.makesField === undefined || bytes === undefined) return undefined;
  const place = placesOf(ioctl, bytes).find(({ made }) => made);
  const fd = place === undefined ? -1 : viewOf(bytes).getInt32(place.offset, true);
  return fd >= 0 ? fd : undefined;
}
