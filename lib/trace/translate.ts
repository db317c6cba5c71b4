/** The arguments of a recorded call as another kernel takes them: descriptors, vCPUs and addresses replaced, buffers fresh. */
import { IOCTL_LENGTH_CHECKED, IOCTL_MAKES_FD, type Kernel } from '../kernel/kernel.ts';
import { viewOf } from '../uapi/layout.ts';
import type { Ioctl } from '../uapi/registry.ts';
import { TRACED, type WordsRole } from './calls.ts';
import type { Holdings } from './holdings.ts';
import { reopened } from './kinds.ts';
import { type Place, placesOf } from './places.ts';
import type { RecordedCall, RecordedPointer, RecordedValue } from './recording.ts';
import type { Counterpart, ValueMap } from './values.ts';

/** Why a call cannot be made at all. */
export class NotMade extends Error {
  override readonly name = 'NotMade';
}

export interface Prepared {
  readonly args: readonly unknown[];
  /** The buffers that the call fills, by index of the argument: what they hold after {@link Prepared.finish}. */
  readonly out: ReadonlyMap<number, Uint8Array>;
  /** After the call: puts back what was put into buffers for it, and reads what lies behind pointers. */
  finish(): Uint8Array[];
}

/** No process has that many descriptors: EBADF, as for one that is closed. */
const NOT_OPEN = 2 ** 30;
const PAGE = 4096;
const USER_END = 2n ** 47n - BigInt(PAGE);
/** Where a larger argument goes to the kernel from memory of the replay's own; smaller ones do so in the addon. */
const LARGE_ARG = 16384;

const bytesOfWords = (words: BigInt64Array | BigUint64Array): Uint8Array =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

const HOW = IOCTL_MAKES_FD | IOCTL_LENGTH_CHECKED;

export class Translator {
  readonly #kernel: Kernel;
  readonly #map: ValueMap;
  readonly #holdings: Holdings;
  #views: { readonly hva: number; readonly buffer: ArrayBuffer }[] = [];

  constructor(kernel: Kernel, map: ValueMap, holdings: Holdings) {
    this.#kernel = kernel;
    this.#map = map;
    this.#holdings = holdings;
  }

  fd(recorded: number): number {
    if (recorded < 0) return recorded;
    return this.#need(this.#map.fds.of(recorded), `descriptor ${recorded}`) ?? NOT_OPEN;
  }

  /** Of a vCPU that nobody attached there is no handle: -1 is EBADF. */
  vcpu(recorded: number): number {
    return this.#need(this.#map.vcpus.of(recorded), `vCPU ${recorded}`) ?? -1;
  }

  /** An address for a call that cannot reach memory of others in this process. */
  hva(recorded: number | bigint): number | bigint {
    if (recorded === 0 || recorded === 0n || recorded >= USER_END) return recorded;
    const address = Number(recorded);
    const known = this.#need(this.#map.hva(address), `address 0x${address.toString(16)}`);
    if (known !== undefined) return known;
    if (this.#holdings.holds(address)) {
      throw new NotMade(`nothing was mapped at 0x${address.toString(16)} in the recording; here something is`);
    }
    return address;
  }

  #need(counterpart: Counterpart, what: string): number | undefined {
    if (counterpart.kind === 'missing')
      throw new NotMade(`${what} comes from call ${counterpart.madeBy}, which has none here`);
    return counterpart.kind === 'known' ? counterpart.value : undefined;
  }

  /** NotMade when there is no way to make the call. */
  prepare(call: RecordedCall, ioctl: Ioctl | undefined): Prepared {
    if (call.call === 'ioctl') return this.#ioctl(call, ioctl);
    if (call.call === 'adopt' && this.#map.fds.of(Number(call.args[0])).kind === 'unknown') {
      throw new NotMade(`descriptor ${String(call.args[0])} was made outside of the recording`);
    }
    const out = new Map<number, Uint8Array>();
    const finish: (() => void)[] = [];
    const args = (TRACED[call.call]?.args ?? []).map(({ role }, index) => {
      const value = call.args[index];
      switch (role.kind) {
        case 'fd':
          return this.fd(Number(value));
        case 'vcpu':
          return this.vcpu(Number(value));
        case 'hva':
          return this.hva(value as number | bigint);
        case 'words':
          return this.#words(role, index, value, out);
        case 'out':
        case 'in': {
          const given = (value as Uint8Array).slice();
          const alias = this.#alias(call, index, given.length);
          if (role.kind === 'out') out.set(index, given);
          if (alias === undefined) return given;
          finish.push(() => this.#kernel.copyOut(alias.hva, given));
          return alias.bytes;
        }
        case 'int':
          return value ?? 0;
        case 'text': {
          const again = reopened(call);
          return again === undefined ? value : `/proc/self/fd/${this.fd(again)}`;
        }
        default:
          return value;
      }
    });
    return {
      args,
      out,
      finish: () => {
        for (const step of finish) step();
        return [];
      },
    };
  }

  /** A view was made: buffers of later calls may lie in it. */
  addView(hva: number, buffer: ArrayBuffer): void {
    this.#views.push({ hva, buffer });
  }

  /** The buffer of an argument that aliases memory, over the same memory here. */
  #alias(call: RecordedCall, index: number, length: number): { hva: number; bytes: Uint8Array } | undefined {
    const recorded = call.mapped.get(index);
    if (recorded === undefined) return undefined;
    const at = Number(this.hva(recorded));
    this.#views = this.#views.filter(({ buffer }) => buffer.byteLength > 0);
    const view = this.#views.find(({ hva, buffer }) => at >= hva && at + length <= hva + buffer.byteLength);
    if (view === undefined) throw new NotMade('its buffer lies in a view that is not here');
    return { hva: at, bytes: new Uint8Array(view.buffer, at - view.hva, length) };
  }

  #words(role: WordsRole, index: number, value: RecordedValue, out: Map<number, Uint8Array>): unknown {
    if (!(value instanceof Uint8Array)) return undefined;
    const words = role.signed ? new BigInt64Array(role.count) : new BigUint64Array(role.count);
    out.set(index, bytesOfWords(words));
    return words;
  }

  #ioctl(call: RecordedCall, ioctl: Ioctl | undefined): Prepared {
    const [fd, request, arg, givenHow, pointers] = call.args;
    const how = Number(givenHow ?? 0) & HOW;
    const head = [this.fd(Number(fd)), request];
    if (!(arg instanceof Uint8Array)) {
      const SIZE = (Number(request) >>> 16) & 0x3fff;
      // A number for a request that takes a struct is the struct's address.
      const value = SIZE === 0 ? arg : this.hva(arg as number | bigint);
      return { args: [...head, value, how], out: new Map(), finish: () => [] };
    }
    const given = arg.slice();
    const view = viewOf(given);
    const patches = (pointers ?? []) as readonly RecordedPointer[];
    const patched = new Set(patches.map(([offset]) => offset));
    const put = (place: Pick<Place, 'offset' | 'size'>, value: number | bigint): void => {
      if (place.size === 4) view.setInt32(place.offset, Number(value), true);
      else view.setBigUint64(place.offset, BigInt.asUintN(64, BigInt(value)), true);
    };
    for (const place of placesOf(ioctl, given)) {
      if (!patched.has(place.offset)) put(place, this.#inStruct(place, given, ioctl));
    }
    for (const [offset] of patches) {
      if (offset + 8 > given.length) throw new NotMade(`a pointer at byte ${offset} is outside of the argument`);
    }
    const alias = this.#alias(call, 2, given.length);
    const large = alias === undefined && given.length > LARGE_ARG;
    const lent = this.#lend([...patches.map(([, bytes]) => bytes), ...(large ? [given] : [])]);
    patches.forEach(([offset], i) => {
      put({ offset, size: 8 }, lent[i] ?? 0);
    });
    if (large) this.#kernel.copyIn(lent.at(-1) ?? 0, given);
    if (alias !== undefined) this.#kernel.copyIn(alias.hva, given);
    return {
      args: [...head, large ? lent.at(-1) : (alias?.bytes ?? given), how],
      out: new Map([[2, given]]),
      finish: () => {
        if (large) this.#kernel.copyOut(lent.at(-1) ?? 0, given);
        if (alias !== undefined) this.#kernel.copyOut(alias.hva, given);
        // No address of ours is taken for what the kernel wrote.
        for (const [offset] of patches) put({ offset, size: 8 }, viewOf(arg).getBigUint64(offset, true));
        return patches.map(([, bytes], i) => {
          const after = new Uint8Array(bytes.length);
          if (after.length > 0) this.#kernel.copyOut(lent[i] ?? 0, after);
          return after;
        });
      },
    };
  }

  #lend(buffers: readonly Uint8Array[]): number[] {
    if (buffers.length === 0) return [];
    const lent = this.#holdings.lend(buffers);
    if (typeof lent === 'number')
      throw new NotMade('its buffers do not fit into the memory that a replay has for them');
    return lent;
  }

  #inStruct(place: Place, bytes: Uint8Array, ioctl: Ioctl | undefined): number | bigint {
    const view = viewOf(bytes);
    if (place.what === 'fd') {
      // The request puts a descriptor there: what was there before must not be taken for it.
      if (place.made) return -1;
      if (place.size === 8) {
        const value = view.getBigUint64(place.offset, true);
        return value < BigInt(NOT_OPEN) ? this.fd(Number(value)) : value;
      }
      return this.fd(view.getInt32(place.offset, true));
    }
    const address = view.getBigUint64(place.offset, true);
    const spanAt =
      place.span === undefined || ioctl?.arg.kind !== 'struct' ? undefined : ioctl.arg.layout.offsets[place.span];
    return this.#pointer(address, spanAt === undefined ? undefined : view.getBigUint64(spanAt, true), place.path);
  }

  /** An address that the kernel keeps or follows without asking us: it must be memory of the replay, and nothing else. */
  #pointer(address: bigint, span: bigint | undefined, path: string): number | bigint {
    if (address === 0n || address >= USER_END || span === 0n || (span ?? 0n) + address >= USER_END) return address;
    if (span === undefined) throw new NotMade(`${path} is the address of memory whose length no field says`);
    const length = Number(span);
    const known = this.#need(this.#map.liveHva(Number(address)), `address 0x${address.toString(16)} in ${path}`);
    if (known !== undefined) {
      if (!this.#holdings.covers(known, length))
        throw new NotMade(`${path} reaches beyond the memory that was mapped there`);
      return known;
    }
    // Nothing was mapped there in the recording, and nothing of this process must be in its place.
    const inPage = Number(address % BigInt(PAGE));
    const nowhere = this.#holdings.nowhere(inPage + length);
    if (nowhere < 0) throw new NotMade(`no address space for the ${length} bytes of ${path}`);
    return nowhere + inPage;
  }
}
