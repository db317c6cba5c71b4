/** Pipes: a ring of parts of pages. What splice puts in are the pages themselves, so later writes to them show. fs/pipe.c */
import { EAGAIN, EFAULT, EPIPE } from '../errno.ts';
import { type FileStat, O_NONBLOCK, O_WRONLY, SimFile } from '../file.ts';
import { PAGE_SIZE } from '../page.ts';
import type { Frame, PhysicalMemory } from '../physical.ts';
import type { Process } from '../process.ts';
import type { PagePart } from './paged.ts';
import { O_LARGEFILE, withoutSetId } from './sealed.ts';

const O_TRUNC = 0x200;
const O_DIRECT = { x64: 0x4000, arm64: 0x10000 } as const;
/** PIPE_DEF_BUFFERS. */
const SLOTS = 16;
const PIPEFS_MAGIC = 0x50495045;

export interface Slot {
  /** The page, or the part of it that may be read. */
  readonly page: Uint8Array;
  offset: number;
  length: number;
  /** A write may go on behind what is in it. */
  readonly merges: boolean;
  /** Of a pipe in packet mode: a read takes it whole. */
  readonly packet: boolean;
  /** What it is part of, where it belongs to somebody else; kept from moving until `unpin`. */
  readonly frame?: Frame | undefined;
  readonly unpin?: (() => void) | undefined;
}

/** A part on its way from file to file. */
export const lentSlot = ({ bytes }: PagePart): Slot => ({
  page: bytes,
  offset: 0,
  length: bytes.length,
  merges: false,
  packet: false,
});

export class PipeRing {
  readonly slots: Slot[] = [];
  readonly ino: bigint;
  readonly arch: 'x64' | 'arm64';
  readonly #physical: PhysicalMemory;
  mode = 0o600;
  readers = 0;
  writers = 0;

  constructor(ino: bigint, { profile, physical }: Process) {
    this.ino = ino;
    this.arch = profile.arch;
    this.#physical = physical;
  }

  /** Puts in a part of a page that belongs to somebody else. */
  lend({ bytes, frame }: PagePart): void {
    const unpin = frame === undefined ? undefined : this.#physical.pin(frame);
    this.slots.push({ ...lentSlot({ bytes }), frame, unpin });
  }

  /** Puts in the first `length` bytes of what is in another pipe. */
  share(slot: Slot, length: number): void {
    const unpin = slot.frame === undefined ? undefined : this.#physical.pin(slot.frame);
    this.slots.push({ ...slot, length, merges: false, unpin });
  }

  /** `bytes` bytes are taken out of the front. */
  consume(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      const slot = this.slots[0];
      if (slot === undefined) return;
      const part = Math.min(left, slot.length);
      slot.offset += part;
      slot.length -= part;
      left -= part;
      if (slot.length === 0) this.shift();
    }
  }

  shift(): void {
    this.slots.shift()?.unpin?.();
  }

  /** Slots that are free. */
  get room(): number {
    return SLOTS - this.slots.length;
  }

  get full(): boolean {
    return this.room === 0;
  }
}

export class PipeFile extends SimFile {
  readonly ring: PipeRing;
  override readonly fifo = true;
  override readonly splicesIn = true;
  override readonly direct = true;

  constructor(ring: PipeRing, flags: number) {
    super(flags);
    this.ring = ring;
    if (this.readable) ring.readers++;
    if (this.writable) ring.writers++;
  }

  protected override release(): void {
    if (this.readable) this.ring.readers--;
    if (this.writable) this.ring.writers--;
    while (this.ring.readers + this.ring.writers === 0 && this.ring.slots.length > 0) this.ring.shift();
  }

  /** fifo_open, which waits for the other end with named pipes only. */
  override reopen(flags: number): SimFile | number {
    return new PipeFile(this.ring, (flags & ~O_TRUNC) | O_LARGEFILE[this.ring.arch]);
  }

  override linkName(): string {
    return `pipe:[${this.ring.ino}]`;
  }

  stat(): FileStat {
    const { ino, mode } = this.ring;
    return { ino, mode: 0o010000 | mode, nlink: 1, size: 0n, blksize: PAGE_SIZE, blocks: 0n, fsType: PIPEFS_MAGIC };
  }

  override chmod(mode: number): number {
    this.ring.mode = mode & 0o7777;
    return 0;
  }

  override chown(): number {
    this.ring.mode = withoutSetId(this.ring.mode);
    return 0;
  }

  override poll(): number {
    const { slots, readers, writers, full } = this.ring;
    let bits = 0;
    if (this.readable) bits |= (slots.length > 0 ? 0x41 : 0) | (writers === 0 ? 0x10 : 0);
    if (this.writable) bits |= (full ? 0 : 0x104) | (readers === 0 ? 0x8 : 0);
    return bits;
  }

  /** Where the real call would wait for ever, since nobody else runs, it is EAGAIN as if the descriptor were non-blocking. */
  override readAt(into: Uint8Array, _at: bigint, reached: number = into.length): number {
    const { slots, writers } = this.ring;
    if (into.length === 0) return 0;
    let done = 0;
    while (done < into.length) {
      const slot = slots[0];
      if (slot === undefined) break;
      const part = Math.min(slot.length, into.length - done);
      into.set(slot.page.subarray(slot.offset, slot.offset + Math.min(part, reached - done)), done);
      // What could be copied in part only stays.
      if (done + part > reached) return done > 0 ? done : -EFAULT;
      done += part;
      const { packet } = slot;
      this.ring.consume(packet ? slot.length : part);
      if (packet) break;
    }
    return done > 0 || writers === 0 ? done : -EAGAIN;
  }

  override writeAt(from: Uint8Array, _at: bigint, reached: number = from.length): number {
    const { ring } = this;
    if (from.length === 0) return 0;
    // SIGPIPE is ignored, as node does.
    if (ring.readers === 0) return -EPIPE;
    const packet = (this.flags & O_DIRECT[ring.arch]) !== 0;
    let done = this.#merge(from, reached);
    if (done < 0) return done;
    while (done < from.length && !ring.full) {
      const part = from.subarray(done, done + PAGE_SIZE);
      if (done + part.length > reached) return done > 0 ? done : -EFAULT;
      const page = new Uint8Array(PAGE_SIZE);
      page.set(part);
      ring.slots.push({ page, offset: 0, length: part.length, merges: !packet, packet });
      done += part.length;
    }
    return done > 0 ? done : -EAGAIN;
  }

  /** The odd bytes of a write go behind those of the last one, when they fit its page whole. */
  #merge(from: Uint8Array, reached: number): number {
    const odd = from.length % PAGE_SIZE;
    const last = this.ring.slots.at(-1);
    if (odd === 0 || last === undefined || !last.merges) return 0;
    const end = last.offset + last.length;
    if (end + odd > PAGE_SIZE) return 0;
    if (odd > reached) return -EFAULT;
    last.page.set(from.subarray(0, odd), end);
    last.length += odd;
    return odd;
  }
}

/** Both ends of a new pipe. `flags`: what F_GETFL shows beside the access mode. */
export function makePipe(process: Process, flags: number): readonly [PipeFile, PipeFile] {
  const ring = new PipeRing(process.nextInode(), process);
  const status = flags & (O_NONBLOCK | O_DIRECT[ring.arch]);
  return [new PipeFile(ring, status & O_NONBLOCK), new PipeFile(ring, status | O_WRONLY)];
}
