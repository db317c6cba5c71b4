/** Random commands: mostly of use, often at the edge, sometimes absurd. What would harm the host or hang is never asked. */
import { FALLOC, FALLOC_ODD, MFD_ODD } from './choices.ts';
import type { Command } from './commands.ts';
import { story } from './file-stories.ts';
import { MemoryGenerator } from './memory-generate.ts';
import { Places } from './places.ts';
import type { Random } from './random.ts';
import { FILE_SLOTS, type FileKind, PAGE } from './world.ts';

const P = BigInt(PAGE);

export interface Slots {
  kind(slot: number): FileKind;
}

export class Generator {
  readonly #random: Random;
  readonly #slots: Slots;
  readonly #hasVm: boolean;
  readonly #places: Places;
  readonly #mapped: MemoryGenerator;
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
    this.#mapped = new MemoryGenerator(random, this.#places, {
      pipe: () => this.#pipe(),
      memory: () => this.#memory(),
      later: (command) => this.#next.push(command),
    });
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
    if (roll < 8 && random.once(2)) {
      const [first, ...rest] = story(random);
      this.#next.push(...rest);
      return first;
    }
    if (roll < 36) return this.#onFile();
    if (roll < 44) return random.once(2) ? this.#aboutFile() : this.#transfer();
    if (roll < 58) return this.#mapped.mmap();
    if (roll < 70) return this.#mapped.onMemory();
    if (roll < 76) return this.#mapped.pages();
    return this.#mapped.copy();
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
}
