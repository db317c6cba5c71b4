/** Random commands for mappings and what lies in them. */
import { ADVICE, BAD_PROTS, HUGE_FLAGS, HUGE_LENGTHS, MAP_FLAGS, NODEMASKS, POLICY_MODES, PROTS } from './choices.ts';
import type { Command } from './commands.ts';
import type { Places } from './places.ts';
import type { Random } from './random.ts';
import { ARENA, ARENA_PAGES, MAP_SLOTS, PAGE } from './world.ts';

const P = BigInt(PAGE);
const MAP_FIXED = 0x10;
const MAP_FIXED_NOREPLACE = 0x100000;
const MAP_LOCKED_OR_POPULATE = 0xa000;

/** What it needs of who makes the other commands. */
interface Surroundings {
  /** A slot, mostly with the end of a pipe in it. */
  pipe(): number;
  /** A slot, mostly with what can be mapped. */
  memory(): number;
  /** A command that comes next. */
  later(command: Command): void;
}

export class MemoryGenerator {
  readonly #random: Random;
  readonly #places: Places;
  readonly #from: Surroundings;

  constructor(random: Random, places: Places, from: Surroundings) {
    this.#random = random;
    this.#places = places;
    this.#from = from;
  }

  /** Pages locked, pinned, bound, synced. */
  pages(): Command {
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
        return { do: 'vmsplice', slot: this.#from.pipe(), at, length, flags: this.#places.odd(6) ? 18 : 2 };
    }
  }

  mmap(): Command {
    const random = this.#random;
    const anonymous = random.once(5);
    const type = this.#places.odd(10) ? random.pick([0, 4, 8, 9, 0xf]) : random.pick([1, 1, 1, 2, 2, 3]);
    const extra = random.once(5) ? random.bits(MAP_FLAGS, 6) : 0;
    const huge = this.#places.odd(15) ? random.pick(HUGE_FLAGS) : 0;
    const grows = !anonymous && this.#places.odd(15) ? 0x100 : 0;
    const flags = type | (anonymous ? 0x20 : 0) | extra | huge | grows;
    const prot = this.#places.odd(10) ? random.pick(BAD_PROTS) : random.pick(PROTS);
    const slot = this.#from.memory();
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
    if (random.once(2)) this.#from.later(this.copy());
    return { do: 'mmap', at, length, prot, flags: (flags | fixed) >>> 0, slot, offset };
  }

  onMemory(): Command {
    const random = this.#random;
    const at = this.#places.at();
    const length = this.#places.reach(at);
    switch (random.below(10)) {
      case 0:
      case 1:
        // A hole where the kernel placed a mapping may be filled by others.
        if (typeof at !== 'bigint') return { do: 'madvise', at, length, advice: 4 };
        if (random.once(5)) this.#from.later({ do: 'fcntl', slot: this.#from.memory(), command: 1033, arg: 8 });
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

  copy(): Command {
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
