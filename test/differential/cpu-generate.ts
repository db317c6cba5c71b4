/** Random instructions from the table of lib/guest, in all modes, with the state that they run in. */
import type { Mode } from '../../lib/guest/x64/operands.ts';
import { little, load } from './cpu-bytes.ts';
import { codeCommand, randomValue } from './cpu-code.ts';
import type { CpuCommand } from './cpu-commands.ts';
import { randomCpuid } from './cpu-cpuid.ts';
import { Instructions } from './cpu-instructions.ts';
import { changedEntry, jumpAway, probe } from './cpu-paging.ts';
import { DATA, NOWHERE } from './cpu-places.ts';
import { changedSregs, MSRS, systemCode, USUAL_MSR_VALUES } from './cpu-system.ts';
import type { Random } from './random.ts';

const NAMES = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

export class CpuGenerator {
  readonly #random: Random;
  readonly #hardware: boolean;
  #mode: Mode;
  #started = false;
  /** Commands of a sequence that chance alone would seldom make. */
  readonly #queue: CpuCommand[] = [];
  #asked = false;

  constructor(random: Random, hardware: boolean) {
    this.#random = random;
    this.#hardware = hardware;
    this.#mode = random.pick([16, 32, 64, 64]);
  }

  next(): CpuCommand {
    const random = this.#random;
    if (!this.#asked) {
      this.#asked = true;
      // Most programs run on a processor that nothing was said of.
      if (random.once(4)) return randomCpuid(random);
    }
    if (!this.#started) {
      this.#started = true;
      return { do: 'start', mode: this.#mode, tables: random.once(2) };
    }
    const queued = this.#queue.shift();
    if (queued !== undefined) return queued;
    if (this.#mode === 32 && random.once(30)) return this.#refused();
    // Where KVM executes all, page tables count as they are; a processor may remember what they were.
    if (this.#mode === 64 && !this.#hardware && random.once(30)) return this.#remapped();
    const roll = random.below(40);
    if (roll === 0) {
      this.#mode = random.pick([16, 32, 64, 64]);
      return { do: 'start', mode: this.#mode, tables: !random.once(3) };
    }
    if (roll < 6) return this.#registers();
    if (roll === 6) return changedSregs(random, this.#mode);
    if (roll === 7) {
      const index = random.pick(MSRS);
      // The host may leave an EFER that no guest could have.
      return random.once(3) || index === 0xc000_0080
        ? { do: 'msr', index }
        : { do: 'msr', index, value: random.pick(USUAL_MSR_VALUES) };
    }
    if (roll === 8 && random.once(4)) return randomCpuid(random);
    if (roll < 11) return systemCode(random, this.#mode);
    const instructions = new Instructions(random, this.#mode, this.#hardware);
    if (roll < 16) return instructions.fromBytes();
    return instructions.fromTable() ?? this.next();
  }

  /** A data segment that is there and cannot be written, then an access by it: also where nothing is. */
  #refused(): CpuCommand {
    const random = this.#random;
    const selector = random.pick([8, 40, 40]);
    // add, or, adc, sbb, and, sub, xor, cmp; not, neg, inc, dec; or a plain move.
    const [opcode, reg] = random.pick([
      ...[0, 8, 16, 24, 32, 40, 48, 56].map((code) => [code + 1, 1] as const),
      ...([
        [0xf7, 2],
        [0xf7, 3],
        [0xff, 0],
        [0xff, 1],
        [0x89, 2],
        [0x8b, 2],
      ] as const),
    ]);
    const place = (random.once(2) ? NOWHERE : DATA) + random.below(64) * 4;
    this.#queue.push(
      codeCommand(random, this.#mode, [opcode, 0x05 | (reg << 3), ...little(BigInt(place), 4)], opcode < 64 ? 0x10 : 0),
    );
    return codeCommand(random, this.#mode, [...load(this.#mode, 0, BigInt(selector)), 0x8e, 0xd8, 0x8c, 0xd9]);
  }

  /** Page tables that are changed, or code where no memory is. */
  #remapped(): CpuCommand {
    const random = this.#random;
    if (random.once(6)) this.#queue.push(codeCommand(random, this.#mode, jumpAway(random)));
    else
      this.#queue.push(
        codeCommand(random, this.#mode, changedEntry(random), 0x10),
        codeCommand(random, this.#mode, probe(random), 0x10),
      );
    return { do: 'start', mode: 64, tables: random.once(2) };
  }

  #registers(): CpuCommand {
    const values: Record<string, bigint> = { rflags: BigInt(this.#random.next() & 0x8d5) };
    for (const name of NAMES) values[name] = randomValue(this.#random);
    // Counts and addresses of string instructions.
    values.rcx = BigInt(this.#random.below(12));
    if (!this.#random.once(4)) {
      values.rsi = BigInt(DATA + 0x400 + this.#random.below(0x400));
      values.rdi = BigInt(DATA + 0x400 + this.#random.below(0x400));
    }
    return { do: 'registers', values };
  }
}
