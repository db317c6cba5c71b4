/**
 * One kernel under test with what commands name in it: descriptors by slot, mappings by slot, and an arena of memory at the same address
 * in every kernel. Numbers that kernels choose for themselves never show in what is compared.
 */
import { type Kernel, STAT, STAT_LENGTH } from '../../lib/kernel/kernel.ts';

export const PAGE = 4096;
/** Far from where kernels place mappings by themselves, so that nobody else comes to lie in its holes. */
export const ARENA = 0x1000_0000_0000;
export const ARENA_PAGES = 32;
export const FILE_SLOTS = 8;
export const MAP_SLOTS = 4;
/** Higher than any limit on descriptors. */
export const CLOSED = 1_000_000;

const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const MAP_FIXED_NOREPLACE = 0x100000;

/** What a slot holds, so that questions which make no sense, or would harm the host, are not asked. */
export type FileKind = 'none' | 'memfd' | 'secret' | 'eventfd' | 'null' | 'gmem' | 'pipe' | 'vm' | 'kvm';

interface Mapped {
  readonly base: number;
  readonly length: number;
}

export interface WorldOptions {
  readonly kernel: Kernel;
  /** A VM in which guest_memfds can be made: its descriptor, and that of /dev/kvm. */
  readonly vm?: { readonly vm: number; readonly kvm: number } | undefined;
}

export class World {
  readonly kernel: Kernel;
  readonly vm: WorldOptions['vm'];
  readonly fds: number[] = new Array(FILE_SLOTS).fill(CLOSED);
  readonly kinds: FileKind[] = new Array(FILE_SLOTS).fill('none');
  readonly maps: (Mapped | undefined)[] = new Array(MAP_SLOTS).fill(undefined);

  /** Inodes of files whose pages went into a pipe … */
  readonly lentInodes = new Set<bigint>();
  /** … and whether pages of memory did. They stay there by reference, so what comes out may lie where it goes. */
  lentMemory = false;

  constructor({ kernel, vm }: WorldOptions) {
    this.kernel = kernel;
    this.vm = vm;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    const at = kernel.mmap(ARENA, ARENA_PAGES * PAGE, 0, flags, -1, 0);
    if (at !== ARENA) throw new Error(`no arena on ${kernel.backend}: ${at}`);
  }

  fd(slot: number): number {
    if (slot === FILE_SLOTS) return this.vm?.vm ?? CLOSED;
    if (slot === FILE_SLOTS + 1) return this.vm?.kvm ?? CLOSED;
    return this.fds[slot] ?? CLOSED;
  }

  kind(slot: number): FileKind {
    if (slot >= FILE_SLOTS) return this.vm === undefined ? 'none' : slot === FILE_SLOTS ? 'vm' : 'kvm';
    return this.kinds[slot] ?? 'none';
  }

  /** The inode of the file in a slot; 0 when there is none. */
  inode(slot: number): bigint {
    const stat = new BigInt64Array(STAT_LENGTH);
    return this.kernel.fstat(this.fd(slot), stat) === 0 ? (stat[STAT.ino] ?? 0n) : 0n;
  }

  /** Puts a new descriptor into a slot; what was there is closed. */
  keep(slot: number, fd: number, kind: FileKind): void {
    this.drop(slot);
    this.fds[slot] = fd;
    this.kinds[slot] = kind;
  }

  drop(slot: number): number {
    const fd = this.fds[slot] ?? CLOSED;
    this.fds[slot] = CLOSED;
    this.kinds[slot] = 'none';
    return fd === CLOSED ? this.kernel.close(CLOSED) : this.kernel.close(fd);
  }

  keepMap(slot: number, base: number, length: number): void {
    this.dropMap(slot);
    this.maps[slot] = { base, length };
  }

  dropMap(slot: number): void {
    const map = this.maps[slot];
    this.maps[slot] = undefined;
    if (map !== undefined) this.#unmap(map.base, map.length);
  }

  /** A mapping in huge pages is as long as those, and goes only as a whole. */
  #unmap(base: number, length: number): void {
    for (const page of [PAGE, 2 ** 21, 2 ** 30]) {
      if (this.kernel.munmap(base, Math.ceil(length / page) * page) === 0) return;
    }
  }

  /** Gives everything back. */
  end(): void {
    for (let slot = 0; slot < MAP_SLOTS; slot++) this.dropMap(slot);
    this.#unmap(ARENA, ARENA_PAGES * PAGE);
    for (let slot = 0; slot < FILE_SLOTS; slot++) if (this.fds[slot] !== CLOSED) this.drop(slot);
  }
}
