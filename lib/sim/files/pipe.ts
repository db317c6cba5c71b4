/** Pipes: a ring of parts of pages. What splice puts in are the pages themselves, so later writes to them show. fs/pipe.c */
import { EAGAIN, ENXIO, EPIPE } from '../errno.ts';
import { type FileStat, O_ACCMODE, O_NONBLOCK, O_WRONLY, SimFile } from '../file.ts';
import { PAGE_SIZE } from '../page.ts';
import { O_LARGEFILE } from './sealed.ts';

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
}

/** A part that belongs to somebody else: not written to. */
export const lentSlot = (part: Uint8Array): Slot => ({
  page: part,
  offset: 0,
  length: part.length,
  merges: false,
  packet: false,
});

export class PipeRing {
  readonly slots: Slot[] = [];
  readonly ino: bigint;
  readonly arch: 'x64' | 'arm64';
  mode = 0o600;
  readers = 0;
  writers = 0;

  constructor(ino: bigint, arch: 'x64' | 'arm64') {
    this.ino = ino;
    this.arch = arch;
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
  override readonly pollable = true;
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
  }

  /** fifo_open. Where it would wait for the other end for ever, it is EAGAIN. */
  override reopen(flags: number): SimFile | number {
    const { ring } = this;
    const mode = flags & O_ACCMODE;
    const waits = (flags & O_NONBLOCK) === 0;
    if (mode === O_WRONLY && ring.readers === 0) return waits ? -EAGAIN : -ENXIO;
    if (mode === 0 && ring.writers === 0 && waits) return -EAGAIN;
    return new PipeFile(ring, (flags & ~O_TRUNC) | O_LARGEFILE[ring.arch]);
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
  override readAt(into: Uint8Array, _at: bigint): number {
    const { slots, writers } = this.ring;
    if (into.length === 0) return 0;
    let done = 0;
    while (done < into.length) {
      const slot = slots[0];
      if (slot === undefined) break;
      const part = Math.min(slot.length, into.length - done);
      into.set(slot.page.subarray(slot.offset, slot.offset + part), done);
      done += part;
      slot.offset += part;
      slot.length = slot.packet ? 0 : slot.length - part;
      if (slot.length === 0) slots.shift();
      if (slot.packet) break;
    }
    return done > 0 || writers === 0 ? done : -EAGAIN;
  }

  override writeAt(from: Uint8Array, _at: bigint): number {
    const { ring } = this;
    if (from.length === 0) return 0;
    // SIGPIPE is ignored, as node does.
    if (ring.readers === 0) return -EPIPE;
    const packet = (this.flags & O_DIRECT[ring.arch]) !== 0;
    let done = this.#merge(from);
    while (done < from.length && !ring.full) {
      const part = from.subarray(done, done + PAGE_SIZE);
      const page = new Uint8Array(PAGE_SIZE);
      page.set(part);
      ring.slots.push({ page, offset: 0, length: part.length, merges: !packet, packet });
      done += part.length;
    }
    return done > 0 ? done : -EAGAIN;
  }

  /** The odd bytes of a write go behind those of the last one, when they fit its page whole. */
  #merge(from: Uint8Array): number {
    const odd = from.length % PAGE_SIZE;
    const last = this.ring.slots.at(-1);
    if (odd === 0 || last === undefined || !last.merges) return 0;
    const end = last.offset + last.length;
    if (end + odd > PAGE_SIZE) return 0;
    last.page.set(from.subarray(0, odd), end);
    last.length += odd;
    return odd;
  }
}

/** Both ends of a new pipe. `flags`: what F_GETFL shows beside the access mode. */
export function makePipe(ino: bigint, arch: 'x64' | 'arm64', flags: number): readonly [PipeFile, PipeFile] {
  const ring = new PipeRing(ino, arch);
  const status = flags & (O_NONBLOCK | O_DIRECT[arch]);
  return [new PipeFile(ring, status & O_NONBLOCK), new PipeFile(ring, status | O_WRONLY)];
}
