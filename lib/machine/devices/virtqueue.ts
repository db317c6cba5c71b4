/** A split virtqueue, as the device sees it. Virtual I/O Device 1.2, 2.7 */
import type { MachineMemory } from '../words.ts';

const DESC_SIZE = 16;
const F_NEXT = 1;
const F_WRITE = 2;
const F_INDIRECT = 4;
const AVAIL_NO_INTERRUPT = 1;
const RING = 4;
const USED_SIZE = 8;
const U16 = 0x1_0000;
/** A device holds a request in one piece; the standard's own bound is 4 GiB (2.7.5.1). Linux sends 4 MiB at most, unless told to send more. */
const MAX_CHAIN_BYTES = 64 * 1024 * 1024;

export interface Buffer {
  readonly gpa: number;
  /** Bytes. */
  readonly length: number;
}

/** A chain of descriptors: what the device may read, then what it may write. */
export interface Request {
  readonly head: number;
  readonly readable: readonly Buffer[];
  readonly writable: readonly Buffer[];
}

/** The driver broke the rules: the device asks for a reset. */
export class VirtqueueError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'VirtqueueError';
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export class Virtqueue {
  readonly #memory: MachineMemory;
  readonly max: number;
  size: number;
  ready = false;
  /** Guest-physical addresses: descriptors, what the driver writes, what the device writes. */
  desc = 0;
  avail = 0;
  used = 0;
  #nextAvail = 0;
  #nextUsed = 0;

  constructor(memory: MachineMemory, max: number) {
    this.#memory = memory;
    this.max = max;
    this.size = max;
  }

  reset(): void {
    this.size = this.max;
    this.ready = false;
    this.desc = 0;
    this.avail = 0;
    this.used = 0;
    this.#nextAvail = 0;
    this.#nextUsed = 0;
  }

  #u16(gpa: number): number {
    return viewOf(this.#memory.read(gpa, 2)).getUint16(0, true);
  }

  /** The next chain that the driver made available; undefined when there is none. VirtqueueError for one that breaks the rules. */
  take(): Request | undefined {
    if (!this.ready || this.#nextAvail === this.#u16(this.avail + 2)) return undefined;
    const head = this.#u16(this.avail + RING + 2 * (this.#nextAvail % this.size));
    this.#nextAvail = (this.#nextAvail + 1) % U16;
    return this.#chain(head);
  }

  /** 2.7.5.3.1: a chain, the part in an indirect table included, has no more buffers than the queue has entries. */
  #chain(head: number): Request {
    const readable: Buffer[] = [];
    const writable: Buffer[] = [];
    let table = this.desc;
    let entries = this.size;
    let index = head;
    let bytes = 0;
    for (;;) {
      if (index >= entries) throw new VirtqueueError(`descriptor ${index} of ${entries}`);
      if (readable.length + writable.length === this.size)
        throw new VirtqueueError(`a chain of more buffers than the queue has entries, ${this.size}`);
      const view = viewOf(this.#memory.read(table + index * DESC_SIZE, DESC_SIZE));
      const gpa = Number(view.getBigUint64(0, true));
      const length = view.getUint32(8, true);
      const flags = view.getUint16(12, true);
      if ((flags & F_INDIRECT) !== 0) {
        if (table !== this.desc) throw new VirtqueueError('an indirect table inside an indirect table');
        table = gpa;
        entries = Math.floor(length / DESC_SIZE);
        index = 0;
        continue;
      }
      bytes += length;
      if (bytes > MAX_CHAIN_BYTES) throw new VirtqueueError(`a chain of more than ${MAX_CHAIN_BYTES} bytes`);
      if ((flags & F_WRITE) !== 0) writable.push({ gpa, length });
      else if (writable.length > 0) throw new VirtqueueError('a readable buffer after a writable one');
      else readable.push({ gpa, length });
      if ((flags & F_NEXT) === 0) return { head, readable, writable };
      index = view.getUint16(14, true);
    }
  }

  /** Gives a chain back with so many bytes written into it. True when the driver wants to be interrupted. */
  put({ head }: Request, written: number): boolean {
    const entry = new Uint8Array(USED_SIZE);
    viewOf(entry).setUint32(0, head, true);
    viewOf(entry).setUint32(4, written, true);
    this.#memory.write(this.used + RING + USED_SIZE * (this.#nextUsed % this.size), entry);
    this.#nextUsed = (this.#nextUsed + 1) % U16;
    const index = new Uint8Array(2);
    viewOf(index).setUint16(0, this.#nextUsed, true);
    // The entry before the index that covers it: x86 keeps the order of writes.
    this.#memory.write(this.used + 2, index);
    return (this.#u16(this.avail) & AVAIL_NO_INTERRUPT) === 0;
  }
}

/** What the buffers hold, in one piece. */
export function gather(memory: MachineMemory, buffers: readonly Buffer[]): Uint8Array {
  const all = new Uint8Array(buffers.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const { gpa, length } of buffers) {
    all.set(memory.read(gpa, length), at);
    at += length;
  }
  return all;
}

/** Spreads bytes over the buffers; how many found room. */
export function scatter(memory: MachineMemory, buffers: readonly Buffer[], bytes: Uint8Array): number {
  let done = 0;
  for (const { gpa, length } of buffers) {
    const part = bytes.subarray(done, done + length);
    if (part.length === 0) break;
    memory.write(gpa, part);
    done += part.length;
  }
  return done;
}
