/** Random commands: mostly of use, often at the edge, sometimes absurd. What would harm the host or hang is never asked. */
import type { At, Command } from './commands.ts';
import type { Random } from './random.ts';
import { ARENA, ARENA_PAGES, FILE_SLOTS, type FileKind, MAP_SLOTS, PAGE } from './world.ts';

const P = BigInt(PAGE);
const ABSURD = [-1n, -P, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 63n - P, 2n ** 62n, 2n ** 44n, 2n ** 40n + 1n] as const;
/** Lengths that stay below where other mappings lie, or that no address space holds. */
const ABSURD_LENGTHS = [2n ** 64n - 1n, 2n ** 64n - P, BigInt(ARENA_PAGES * PAGE), 2n ** 64n - BigInt(ARENA)] as const;
const PROTS = [0, 1, 2, 3, 3, 3, 5, 7];
const BAD_PROTS = [8, 9, 0x10, 0x7000_0000, 0x100_0000, 0x200_0000, 0x300_0000, 0x100_0001];
/** Without those that take memory away from the host (100, 101) and the one that depends on its huge pages (25),
 * or on its mood (20, 21: what is reclaimed). */
const ADVICE = [
  0, 1, 2, 3, 4, 4, 4, 8, 9, 9, 9, 10, 11, 12, 13, 16, 17, 18, 19, 22, 22, 23, 23, 24, 102, 103, 5, 99, -1,
];
const MAP_FLAGS = [0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0x10000, 0x20000, 0x80000, 0x80_0000, 0x200_0000];
const FALLOC = [0, 0, 1, 1, 3, 3, 3, 2, 4, 8, 9, 0x10, 0x11, 0x20, 0x40, 0x41, 0x80, 0x81, 0x13, 0x100, 0x8000_0001];
const MFD = [
  0, 1, 2, 2, 2, 3, 8, 0x10, 0x12, 0xa, 0x18, 0x20, 0x100, 4, 6, 0x5400_0004, 0x7800_0006, 0x4000_0004, 0x5400_0000,
];

export interface Slots {
  kind(slot: number): FileKind;
}

export class Generator {
  readonly #random: Random;
  readonly #slots: Slots;
  readonly #hasVm: boolean;
  /** Few files and little memory make things meet that many would keep apart: each sequence is of one sort. */
  readonly #files: number;
  readonly #pages: number;

  constructor(random: Random, slots: Slots, hasVm: boolean) {
    this.#random = random;
    this.#slots = slots;
    this.#hasVm = hasVm;
    this.#files = random.pick([1, 2, 3, FILE_SLOTS]);
    this.#pages = random.pick([4, 6, 12, ARENA_PAGES]);
  }

  /** A slot, mostly one with a file in it. */
  #file(wanted?: FileKind): number {
    const random = this.#random;
    if (this.#hasVm && random.once(40)) return FILE_SLOTS + random.below(2);
    for (let turn = 0; turn < 6; turn++) {
      const slot = random.below(this.#files);
      const kind = this.#slots.kind(slot);
      if (wanted === undefined ? kind !== 'none' : kind === wanted) return slot;
    }
    return random.below(this.#files);
  }

  /** An offset or length in a file. */
  #bytes(pages = Math.min(8, this.#pages)): bigint {
    const random = this.#random;
    if (random.once(25)) return random.pick(ABSURD);
    const whole = BigInt(random.below(pages + 1)) * P;
    return random.once(3) ? whole + BigInt(random.below(PAGE)) : whole;
  }

  /** Never so much that the host would run out of memory. */
  #allocation(offset: bigint): bigint {
    const random = this.#random;
    // From 0 on, 2^63-1 bytes are no error: a kernel would try.
    if (random.once(20))
      return random.pick([0n, -1n, -(2n ** 63n), 2n ** 63n - offset, offset > 0n ? 2n ** 63n - 1n : 0n]);
    const length = BigInt(1 + random.below(6)) * P;
    return random.once(3) ? length - BigInt(random.below(PAGE)) : length;
  }

  #at(): At {
    const random = this.#random;
    if (random.once(40))
      return random.pick([0n, 1n, P, 2n ** 47n - P, 2n ** 47n, 2n ** 63n, 2n ** 64n - P, 2n ** 64n - 1n]);
    const page = random.below(this.#pages + (random.once(8) ? 1 : 0));
    const offset = page * PAGE + (random.once(12) ? random.below(PAGE) : 0);
    if (random.once(8)) return { map: random.below(MAP_SLOTS), offset };
    return BigInt(ARENA + offset);
  }

  /** A length of memory from `at` on, which must not reach memory of others. */
  #reach(at: At, most = Math.min(6, this.#pages)): bigint {
    const random = this.#random;
    if (typeof at !== 'bigint') return BigInt(random.below(3) * PAGE + (random.once(4) ? random.below(PAGE) : 0));
    if (at < BigInt(ARENA) || at >= 2n ** 47n - P) return BigInt(random.below(2 * PAGE));
    if (random.once(30)) return random.pick(ABSURD_LENGTHS);
    const length = BigInt(random.below(most + 1)) * P;
    return random.once(4) ? length + BigInt(random.below(PAGE)) : length;
  }

  /** Offset within a mapping's reach for copies: not aligned. */
  #anywhere(): At {
    const random = this.#random;
    const at = this.#at();
    if (typeof at !== 'bigint' || random.once(2)) return at;
    return at + BigInt(random.below(PAGE));
  }

  next(): Command {
    const random = this.#random;
    const roll = random.below(100);
    const living = this.#slots.kind(random.below(this.#files)) !== 'none';
    if (roll < (living ? 4 : 60)) return this.#make();
    if (roll < 7) return this.#descriptor();
    if (roll < 42) return this.#onFile();
    if (roll < 60) return this.#mmap();
    if (roll < 78) return this.#onMemory();
    return this.#copy();
  }

  #make(): Command {
    const random = this.#random;
    const slot = random.below(this.#files);
    const roll = random.below(12);
    if (this.#hasVm && roll < 4) {
      const size = random.once(10) ? this.#bytes() : BigInt(1 + random.below(8)) * P;
      return { do: 'gmem', slot, size, flags: random.pick([0n, 1n, 3n, 3n, 3n, 3n, 2n, random.once(4) ? 4n : 3n]) };
    }
    if (roll === 4) return { do: 'secret', slot, flags: random.pick([0, 0, 0, 0x80000, 1, 0x800]) };
    if (roll === 5) {
      const flags = random.once(5) ? random.pick([0x802, 0x4800, 0x8000_0800]) : 0x800 | random.bits([1]);
      return { do: 'eventfd', slot, initial: random.pick([0, 1, 5, 0xffff_ffff]), flags };
    }
    if (roll === 6) {
      const path = random.pick(['/dev/null', '/dev/null', '/dev/null', '/no/such/file', '']);
      return { do: 'open', slot, path, flags: random.pick([0, 1, 2, 0x800, 0x402, 0x10000, 0xc0, 0x200]) };
    }
    if (roll === 7) {
      const from = this.#file() % FILE_SLOTS;
      return { do: 'reopen', slot, from, flags: random.pick([0, 0, 1, 2, 0x202, 0x402]) };
    }
    const name = random.once(15) ? 'n'.repeat(random.pick([249, 250, 300])) : 'memory';
    return { do: 'memfd', slot, name, flags: random.once(3) ? random.pick(MFD) : 2 };
  }

  #descriptor(): Command {
    const random = this.#random;
    const slot = random.below(this.#files);
    if (random.once(3)) return { do: 'close', slot };
    return {
      do: 'dup',
      slot,
      from: this.#file() % FILE_SLOTS,
      least: random.pick([0, 0, 3, 200, 1_000_000, 0xffff_ffff]),
    };
  }

  #onFile(): Command {
    const random = this.#random;
    const slot = this.#file();
    const kind = this.#slots.kind(slot);
    const length = random.pick([0, 1, 7, 8, 100, PAGE, PAGE + 1, 3 * PAGE]);
    switch (random.below(13)) {
      case 0:
        // Those of the VM outlive a sequence on one side.
        return slot < FILE_SLOTS ? this.#fcntl(slot, kind) : { do: 'fcntl', slot, command: 1, arg: 0 };
      case 1:
        return {
          do: 'fcntl',
          slot,
          command: 1033,
          arg: random.once(12)
            ? random.pick([0x40, 0x8000_0000, 0xffff_ffff])
            : random.bits([1, 2, 4, 8, 0x10, 0x20], 6),
        };
      case 2:
      case 3:
        return { do: 'ftruncate', slot, length: this.#bytes() };
      case 4:
        // Devices and the inode of all anonymous files belong to the host.
        if (kind !== 'memfd' && kind !== 'secret' && kind !== 'gmem')
          return { do: 'close', slot: random.below(this.#files) };
        return {
          do: 'fchmod',
          slot,
          mode: random.pick([0o777, 0o666, 0o600, 0o711, 0, 0o1777, 0o7777, 0o100644, 0xffff_ffff]),
        };
      case 5:
      case 6: {
        const offset = this.#bytes();
        return { do: 'fallocate', slot, mode: random.pick(FALLOC), offset, length: this.#allocation(offset) };
      }
      case 7:
        return { do: 'lseek', slot, offset: this.#bytes(), whence: random.pick([0, 0, 1, 2, 3, 4, 5, -1]) };
      case 8:
        return { do: 'read', slot, length };
      case 9:
        return { do: 'write', slot, length, byte: random.below(256) };
      case 10:
        return { do: 'pread', slot, length, offset: this.#bytes() };
      case 11:
        return { do: 'pwrite', slot, length, byte: random.below(256), offset: this.#bytes() };
      default:
        return {
          do: 'cachestat',
          slot,
          offset: BigInt.asUintN(64, this.#bytes()),
          length: BigInt.asUintN(64, this.#bytes()),
        };
    }
  }

  #fcntl(slot: number, kind: FileKind): Command {
    const random = this.#random;
    const command = random.pick([1, 2, 3, 4, 4, 1034, 0, 9]);
    // An eventfd that blocks would wait for ever.
    const status = random.bits([0x400, 0x800, 0x4000, 0x40000, 1, 2, 0x8000], 4) | (kind === 'eventfd' ? 0x800 : 0);
    return { do: 'fcntl', slot, command, arg: command === 4 ? status : random.pick([0, 1, 3]) };
  }

  #mmap(): Command {
    const random = this.#random;
    const anonymous = random.once(4);
    const type = random.once(20) ? random.pick([0, 4, 8, 9, 0xf]) : random.pick([1, 1, 1, 2, 3]);
    const extra = random.once(4) ? random.bits(MAP_FLAGS, 6) : 0;
    const huge = random.once(40) ? random.pick([0x40000, 0x5404_0000, 0x7804_0000, 0x4004_0000]) : 0;
    const grows = !anonymous && random.once(40) ? 0x100 : 0;
    const flags = (type | (anonymous ? 0x20 : 0) | extra | huge | grows) >>> 0;
    const prot = random.once(20) ? random.pick(BAD_PROTS) : random.pick(PROTS);
    const slot = anonymous && random.once(2) ? 0 : this.#file();
    const offset = random.once(3) ? this.#bytes() & ~(random.once(8) ? 0n : P - 1n) : 0n;
    if (random.once(5)) {
      // Wherever the kernel likes; never populated when it is huge.
      const length = random.once(5)
        ? random.pick([0n, 2n ** 40n, 2n ** 42n, 2n ** 47n, 2n ** 56n, 2n ** 63n, 2n ** 64n - 1n])
        : this.#reach(BigInt(ARENA));
      const safe = length > 2n ** 20n ? flags & ~0xa000 : flags;
      const at = random.once(4) ? random.pick([1n, 0x8000n, 0x2_0000_0001n]) : 0n;
      return { do: 'mmap', map: random.below(MAP_SLOTS), at, length, prot, flags: safe >>> 0, slot, offset };
    }
    const fixed = random.once(6) ? 0x100000 : 0x10;
    const at = random.once(12) ? this.#absolute() : BigInt(ARENA + random.below(this.#pages) * PAGE);
    const room = BigInt(ARENA + ARENA_PAGES * PAGE) - at;
    const wanted = this.#reach(at);
    // What is mapped behind the arena would never be unmapped.
    const length = wanted <= room || wanted > 2n ** 47n ? wanted : room;
    return { do: 'mmap', at, length, prot, flags: (flags | fixed) >>> 0, slot, offset };
  }

  #absolute(): bigint {
    const random = this.#random;
    const inside = BigInt(ARENA + random.below(ARENA_PAGES) * PAGE);
    return random.pick([inside + 1n, inside + 0x800n, 2n ** 47n, 2n ** 63n, 2n ** 64n - P]);
  }

  #onMemory(): Command {
    const random = this.#random;
    const at = this.#at();
    const length = this.#reach(at);
    switch (random.below(9)) {
      case 0:
      case 1:
        // A hole where the kernel placed a mapping may be filled by others.
        if (typeof at !== 'bigint') return { do: 'madvise', at, length, advice: 4 };
        return { do: 'munmap', at, length };
      case 2:
      case 3:
        return { do: 'mprotect', at, length, prot: random.once(10) ? random.pick(BAD_PROTS) : random.pick(PROTS) };
      case 4: {
        const room = length < 2n ** 20n && !random.once(20) ? Number((length + P - 1n) / P) : 0;
        return { do: 'mincore', at, length, room };
      }
      default:
        return { do: 'madvise', at, length, advice: random.pick(ADVICE) };
    }
  }

  #copy(): Command {
    const random = this.#random;
    const at = this.#anywhere();
    const length = random.pick([0, 1, 5, 4095, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE + 17]);
    const byte = random.below(256);
    switch (random.below(6)) {
      case 0:
      case 1:
        return { do: 'copyOut', at, length };
      case 2:
      case 3:
        return { do: 'copyIn', at, length, byte };
      case 4:
        return { do: 'fill', at, length, byte };
      default:
        return { do: 'compare', at, length, byte: random.once(2) ? 0 : byte };
    }
  }
}
