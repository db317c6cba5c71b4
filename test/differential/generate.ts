/** Random commands: mostly of use, often at the edge, sometimes absurd. What would harm the host or hang is never asked. */
import {
  ADVICE,
  BAD_PROTS,
  FALLOC,
  FALLOC_ODD,
  HUGE_FLAGS,
  HUGE_LENGTHS,
  MAP_FLAGS,
  MFD_ODD,
  NODEMASKS,
  POLICY_MODES,
  PROTS,
} from './choices.ts';
import type { Command } from './commands.ts';
import { Places } from './places.ts';
import type { Random } from './random.ts';
import { ARENA, ARENA_PAGES, FILE_SLOTS, type FileKind, MAP_SLOTS, PAGE } from './world.ts';

const P = BigInt(PAGE);
const MAP_FIXED = 0x10;
const MAP_FIXED_NOREPLACE = 0x100000;
const MAP_LOCKED_OR_POPULATE = 0xa000;

export interface Slots {
  kind(slot: number): FileKind;
}

export class Generator {
  readonly #random: Random;
  readonly #slots: Slots;
  readonly #hasVm: boolean;
  readonly #places: Places;
  /** What gives sense to the command before: a size, contents, a seal once nobody maps the file. */
  readonly #next: Command[] = [];
  /** Few files make things meet that many would keep apart. */
  readonly #files: number;

  constructor(random: Random, slots: Slots, hasVm: boolean) {
    this.#random = random;
    this.#slots = slots;
    this.#hasVm = hasVm;
    this.#places = new Places(random);
    this.#files = random.pick([1, 2, 3, FILE_SLOTS]);
  }

  /** A slot, mostly one with a file in it. */
  #file(): number {
    const random = this.#random;
    if (this.#hasVm && this.#places.odd(20)) return FILE_SLOTS + random.below(2);
    for (let turn = 0; turn < 6; turn++) {
      const slot = random.below(this.#files);
      if (this.#slots.kind(slot) !== 'none') return slot;
    }
    return random.below(this.#files);
  }

  /** A slot, mostly of a file that has pages. */
  #memory(): number {
    for (let turn = 0; turn < 4; turn++) {
      const slot = this.#file();
      const kind = this.#slots.kind(slot);
      if (kind === 'memfd' || kind === 'gmem' || kind === 'secret') return slot;
    }
    return this.#file();
  }

  next(): Command {
    const random = this.#random;
    const next = this.#next.shift();
    if (next !== undefined) return next;
    let living = 0;
    for (let slot = 0; slot < this.#files; slot++) if (this.#slots.kind(slot) !== 'none') living++;
    const roll = random.below(100);
    if (living === 0 ? roll < 80 : roll < (living < Math.min(3, this.#files) ? 15 : 4)) return this.#make();
    if (roll < 6) return this.#descriptor();
    if (roll < 8 && random.once(2)) return this.#story();
    if (roll < 36) return this.#onFile();
    if (roll < 44) return random.once(2) ? this.#aboutFile() : this.#transfer();
    if (roll < 58) return this.#mmap();
    if (roll < 70) return this.#onMemory();
    if (roll < 76) return this.#pages();
    return this.#copy();
  }

  #make(): Command {
    const random = this.#random;
    const slot = random.below(this.#files);
    const roll = random.below(17);
    if (roll === 16) {
      const flags = this.#places.odd(4) ? random.pick([0x802, 0x1000, 0x8000_0800]) : random.pick([0x800, 0x4800]);
      return { do: 'pipe', slot, other: (slot + 1) % FILE_SLOTS, flags };
    }
    if (this.#hasVm && roll < 4) {
      const size = this.#places.odd(6) ? this.#places.bytes() : BigInt(1 + random.below(8)) * P;
      return {
        do: 'gmem',
        slot,
        size,
        flags: random.pick([0n, 1n, 3n, 3n, 3n, 3n, 2n, this.#places.odd(2) ? 4n : 3n]),
      };
    }
    if (roll === 4) return { do: 'secret', slot, flags: this.#places.odd(2) ? random.pick([0x80000, 1, 0x800]) : 0 };
    if (roll === 5) {
      const flags = this.#places.odd(4) ? random.pick([0x802, 0x4800, 0x8000_0800]) : 0x800 | random.bits([1]);
      return { do: 'eventfd', slot, initial: random.pick([0, 1, 5, 0xffff_ffff]), flags };
    }
    if (roll === 6) {
      const path = this.#places.odd(2) ? random.pick(['/no/such/file', '']) : '/dev/null';
      return { do: 'open', slot, path, flags: random.pick([0, 1, 2, 0x800, 0x402, 0x10000, 0xc0, 0x200]) };
    }
    if (roll === 7) {
      const from = this.#file() % FILE_SLOTS;
      return { do: 'reopen', slot, from, flags: random.pick([0, 0, 1, 2, 0x202, 0x402]) };
    }
    if (!random.once(4)) this.#next.push({ do: 'ftruncate', slot, length: BigInt(1 + random.below(6)) * P });
    const name = this.#places.odd(8) ? 'n'.repeat(random.pick([249, 250, 300])) : 'memory';
    return { do: 'memfd', slot, name, flags: random.once(4) ? random.pick(MFD_ODD) : 2 };
  }

  #descriptor(): Command {
    const random = this.#random;
    const slot = random.below(this.#files);
    if (random.once(3)) return { do: 'close', slot };
    const least = this.#places.odd(2) ? random.pick([200, 1_000_000, 0xffff_ffff]) : random.pick([0, 3]);
    return { do: 'dup', slot, from: this.#file() % FILE_SLOTS, least };
  }

  #onFile(): Command {
    const random = this.#random;
    const slot = random.once(3) ? this.#file() : this.#memory();
    const length = random.pick([0, 1, 7, 8, 100, PAGE, PAGE + 1, 3 * PAGE]);
    const byte = random.below(256);
    const offset = this.#places.bytes();
    switch (random.below(14)) {
      case 0:
        return this.#fcntl(slot);
      case 1: {
        const arg = this.#places.odd(5) ? random.pick([0x40, 0x8000_0000]) : random.bits([1, 2, 4, 8, 0x10, 0x20], 7);
        return { do: 'fcntl', slot, command: 1033, arg };
      }
      case 2:
      case 3:
        return { do: 'ftruncate', slot, length: offset };
      case 4:
        return {
          do: 'fchmod',
          slot,
          mode: random.pick([0o777, 0o666, 0o600, 0o711, 0, 0o7777, 0o100644, 0xffff_ffff]),
        };
      case 5:
      case 6:
      case 7: {
        const mode = this.#places.odd(3) ? random.pick(FALLOC_ODD) : random.pick(FALLOC);
        return { do: 'fallocate', slot, mode, offset, length: this.#places.allocation(offset) };
      }
      case 8:
        return { do: 'lseek', slot, offset, whence: random.pick([0, 0, 1, 2, 3, 4, this.#places.odd(2) ? 5 : -1]) };
      case 9:
        return { do: 'read', slot, length };
      case 10:
        return { do: 'write', slot, length, byte };
      case 11:
        return { do: 'pread', slot, length, offset };
      case 12:
        return { do: 'pwrite', slot, length, byte, offset };
      default: {
        const wide = BigInt.asUintN(64, this.#places.bytes());
        return { do: 'cachestat', slot, offset: BigInt.asUintN(64, offset), length: wide };
      }
    }
  }

  /** What a file is asked without being read or written. */
  #aboutFile(): Command {
    const random = this.#random;
    const slot = this.#file();
    const offset = this.#places.bytes();
    const length = random.once(3) ? 0n : this.#places.bytes();
    switch (random.below(10)) {
      case 0:
        return { do: 'readlink', slot, room: this.#places.odd(3) ? random.pick([0, 1, 5]) : 64 };
      case 1:
        return { do: 'fchown', slot };
      case 2:
      case 3: {
        const operation = random.pick([1, 2, 8, this.#places.odd(2) ? random.pick([0, 3, 32, 16]) : 2]);
        return { do: 'flock', slot, operation: operation | 4 };
      }
      case 4:
        return { do: 'lease', slot, lease: random.pick([0, 1, 2, this.#places.odd(2) ? 3 : 2]) };
      case 5:
        return { do: 'poll', slot, events: random.pick([0, 1, 4, 0x145, 0xffff, 0x2005]) };
      case 6:
        return { do: 'fsync', slot, data: random.once(2) };
      case 7:
        return { do: 'syncRange', slot, offset, length, how: random.pick([0, 1, 2, 7, this.#places.odd(2) ? 8 : 4]) };
      case 8:
        return { do: 'fadvise', slot, offset, length, how: random.pick([0, 1, 2, 3, 4, 5, 6, -1]) };
      default:
        return { do: 'readahead', slot, offset, count: BigInt.asUintN(64, length) };
    }
  }

  /** Bytes from file to file. */
  #transfer(): Command {
    const random = this.#random;
    const slot = this.#file();
    const to = this.#file();
    const length = this.#places.odd(8)
      ? random.pick([0n, 2n ** 63n, 2n ** 64n - 1n])
      : BigInt(random.pick([1, 100, PAGE, PAGE + 1, 5 * PAGE]));
    const flags = this.#places.odd(6) ? random.pick([16, 1, 4]) : 2;
    switch (random.below(4)) {
      case 0:
        return { do: 'sendfile', slot, to, count: length };
      case 1:
        return { do: 'copyRange', slot, to, length, flags: this.#places.odd(6) ? 1 : 0 };
      default:
        return { do: 'splice', slot, to, length, flags };
    }
  }

  /** Pages locked, pinned, bound, synced. */
  #pages(): Command {
    const random = this.#random;
    const at = this.#places.at();
    const length = this.#places.reach(at);
    switch (random.below(9)) {
      case 0:
      case 1:
        return { do: 'mlock', at, length, flags: random.pick([0, 0, 0, 1, this.#places.odd(2) ? 2 : 1]) };
      case 2:
        return { do: 'munlock', at, length };
      case 3:
        return { do: 'msync', at, length, flags: random.pick([0, 1, 2, 4, 4, 6, 5, this.#places.odd(2) ? 8 : 4]) };
      case 4: {
        const [mode, nodes] = random.once(2)
          ? [2, NODEMASKS[3] ?? []]
          : [random.pick(POLICY_MODES), random.pick(NODEMASKS)];
        return { do: 'mbind', at, length, mode, nodes, flags: this.#places.odd(4) ? random.pick([8, 16]) : 0 };
      }
      case 5: {
        const flags = this.#places.odd(4) ? random.pick([0, 1, 4, 5, 8]) : random.pick([2, 2, 3]);
        return { do: 'policy', at, room: random.pick([0, 4, 8, 8, 16, 4096, 4104]), flags };
      }
      case 6:
        return { do: 'vmRead', at: this.#places.anywhere(), length: random.pick([0, 1, 64, PAGE, 3 * PAGE + 17]) };
      case 7: {
        const bytes = random.pick([0, 1, 64, PAGE, 3 * PAGE + 17]);
        return { do: 'vmWrite', at: this.#places.anywhere(), length: bytes, byte: random.below(256) };
      }
      default:
        return { do: 'vmsplice', slot: this.#pipe(), at, length, flags: this.#places.odd(6) ? 18 : 2 };
    }
  }

  /** What single commands hardly ever bring about in order: contents that go into a pipe and change, locks that outlive a descriptor. */
  #story(): Command {
    const random = this.#random;
    const [one, two, three] = [0, 1, 2].map((i) => (random.below(FILE_SLOTS) + i * 3) % FILE_SLOTS) as [
      number,
      number,
      number,
    ];
    const made: Command = { do: 'memfd', slot: one, name: 'story', flags: 2 };
    const filled: Command = {
      do: 'pwrite',
      slot: one,
      length: random.pick([PAGE, 2 * PAGE + 5]),
      byte: random.below(256),
      offset: 0n,
    };
    const piped: Command = { do: 'pipe', slot: two, other: three, flags: 0x800 };
    const look: Command = { do: 'read', slot: two, length: random.pick([100, PAGE, 3 * PAGE]) };
    switch (random.below(4)) {
      case 0: {
        const changed: Command = {
          do: 'pwrite',
          slot: one,
          length: 50,
          byte: random.below(256),
          offset: BigInt(random.below(PAGE)),
        };
        const length = BigInt(random.pick([60, PAGE, 2 * PAGE]));
        const goes: Command = random.once(2)
          ? { do: 'sendfile', slot: one, to: three, count: length }
          : { do: 'splice', slot: one, to: three, length, flags: 2 };
        this.#next.push(filled, piped, { do: 'lseek', slot: one, offset: 0n, whence: 0 }, goes, changed, look);
        return made;
      }
      case 1: {
        // Odd bytes share a slot of the pipe; how many pages still fit tells.
        const odd = (): Command => ({ do: 'write', slot: three, length: random.pick([1, 100, 3000]), byte: 1 });
        const at = BigInt(ARENA);
        const fixed: Command = { do: 'mmap', at, length: 20n * P, prot: 3, flags: 0x32, slot: one, offset: 0n };
        this.#next.push(odd(), odd(), fixed, { do: 'vmsplice', slot: three, at, length: 20n * P, flags: 2 }, look);
        return piped;
      }
      case 2: {
        const lock = (slot: number): Command => ({ do: 'flock', slot, operation: random.pick([5, 6, 6]) });
        const again: Command = { do: 'reopen', slot: two, from: one, flags: 2 };
        this.#next.push(lock(one), again, lock(two), { do: 'close', slot: one }, lock(two));
        return made;
      }
      default: {
        const at = BigInt(ARENA + random.below(4) * PAGE);
        const shared: Command = { do: 'mmap', at, length: 2n * P, prot: 3, flags: 0x11, slot: one, offset: 0n };
        const bind: Command = {
          do: 'mbind',
          at,
          length: P,
          mode: random.pick([1, 2, 3]),
          nodes: NODEMASKS[3] ?? [],
          flags: 0,
        };
        const policy: Command = { do: 'policy', at, room: 8, flags: 2 };
        this.#next.push(filled, shared, bind, policy, shared, policy);
        return made;
      }
    }
  }

  /** A slot, mostly with the end of a pipe in it. */
  #pipe(): number {
    for (let turn = 0; turn < 6; turn++) {
      const slot = this.#random.below(FILE_SLOTS);
      if (this.#slots.kind(slot) === 'pipe') return slot;
    }
    return this.#file();
  }

  #fcntl(slot: number): Command {
    const random = this.#random;
    // Flags of the VM outlive a sequence on one side.
    if (slot >= FILE_SLOTS) return { do: 'fcntl', slot, command: 1, arg: 0 };
    const command = random.pick([1, 2, 3, 4, 4, 1034, this.#places.odd(2) ? 0 : 3]);
    // An eventfd or a pipe that blocks would wait for ever.
    const kind = this.#slots.kind(slot);
    const waits = kind === 'eventfd' || kind === 'pipe' ? 0x800 : 0;
    const status = random.bits([0x400, 0x800, 0x4000, 0x40000, 1, 2, 0x8000], 4) | waits;
    return { do: 'fcntl', slot, command, arg: command === 4 ? status : random.pick([0, 1, 3]) };
  }

  #mmap(): Command {
    const random = this.#random;
    const anonymous = random.once(5);
    const type = this.#places.odd(10) ? random.pick([0, 4, 8, 9, 0xf]) : random.pick([1, 1, 1, 2, 2, 3]);
    const extra = random.once(5) ? random.bits(MAP_FLAGS, 6) : 0;
    const huge = this.#places.odd(15) ? random.pick(HUGE_FLAGS) : 0;
    const grows = !anonymous && this.#places.odd(15) ? 0x100 : 0;
    const flags = type | (anonymous ? 0x20 : 0) | extra | huge | grows;
    const prot = this.#places.odd(10) ? random.pick(BAD_PROTS) : random.pick(PROTS);
    const slot = this.#memory();
    const offset = random.once(3) ? this.#places.bytes() & ~(this.#places.odd(4) ? 0n : P - 1n) : 0n;
    if (random.once(6)) {
      // Wherever the kernel likes; never populated when it is huge.
      const length = this.#places.odd(4) ? random.pick(HUGE_LENGTHS) : this.#places.reach(BigInt(ARENA));
      const safe = length > 2n ** 20n ? flags & ~MAP_LOCKED_OR_POPULATE : flags;
      const at = random.once(4) ? random.pick([1n, 0x8000n, 0x2_0000_0001n]) : 0n;
      return { do: 'mmap', map: random.below(MAP_SLOTS), at, length, prot, flags: safe >>> 0, slot, offset };
    }
    const fixed = random.once(12) ? MAP_FIXED_NOREPLACE : MAP_FIXED;
    const at = this.#places.odd(8)
      ? this.#places.impossible()
      : BigInt(ARENA + random.below(this.#places.pages) * PAGE);
    const room = BigInt(ARENA + ARENA_PAGES * PAGE) - at;
    const wanted = this.#places.reach(at);
    // What is mapped behind the arena would never be unmapped.
    const length = wanted <= room || wanted > 2n ** 47n ? wanted : room;
    if (prot !== 0) this.#places.mapped(at, length);
    if (random.once(2)) this.#next.push(this.#copy());
    return { do: 'mmap', at, length, prot, flags: (flags | fixed) >>> 0, slot, offset };
  }

  #onMemory(): Command {
    const random = this.#random;
    const at = this.#places.at();
    const length = this.#places.reach(at);
    switch (random.below(10)) {
      case 0:
      case 1:
        // A hole where the kernel placed a mapping may be filled by others.
        if (typeof at !== 'bigint') return { do: 'madvise', at, length, advice: 4 };
        if (random.once(5)) this.#next.push({ do: 'fcntl', slot: this.#memory(), command: 1033, arg: 8 });
        return { do: 'munmap', at, length };
      case 2:
      case 3:
      case 4:
        return { do: 'mprotect', at, length, prot: this.#places.odd(6) ? random.pick(BAD_PROTS) : random.pick(PROTS) };
      case 5: {
        const room = length < 2n ** 20n && !this.#places.odd(10) ? Number((length + P - 1n) / P) : 0;
        return { do: 'mincore', at, length, room };
      }
      default:
        return { do: 'madvise', at, length, advice: random.pick(ADVICE) };
    }
  }

  #copy(): Command {
    const random = this.#random;
    const at = this.#places.anywhere();
    const length = random.pick([this.#places.odd(2) ? 0 : 64, 1, 5, 4095, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE + 17]);
    const byte = random.below(256);
    switch (random.below(7)) {
      case 0:
      case 1:
        return { do: 'copyOut', at, length };
      case 2:
      case 3:
      case 4:
        return { do: 'copyIn', at, length, byte };
      case 5:
        return { do: 'fill', at, length, byte };
      default:
        return { do: 'compare', at, length, byte: random.once(2) ? 0 : byte };
    }
  }
}
