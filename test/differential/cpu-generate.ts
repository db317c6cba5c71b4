/** Random instructions from the table of lib/guest, in all modes, with the state that they run in. */
import { Buffer } from 'node:buffer';
import { decode, type Instruction } from '../../lib/guest/x64/decode.ts';
import { encodeForm } from '../../lib/guest/x64/encode.ts';
import type { InstructionForm, OperandSpec, Semantics, Width } from '../../lib/guest/x64/form.ts';
import { disassemble } from '../../lib/guest/x64/index.ts';
import { INSTRUCTIONS } from '../../lib/guest/x64/instructions.ts';
import { FAR, isMismatch } from '../../lib/guest/x64/match.ts';
import {
  type Bits,
  CONDITIONS,
  type MemoryOperand,
  type Mode,
  NO_REGISTER,
  type Operand,
} from '../../lib/guest/x64/operands.ts';
import type { CpuCommand } from './cpu-commands.ts';
import { ASKED, ASKED_ABOVE, randomCpuid } from './cpu-cpuid.ts';
import { farBranch, tableLoad } from './cpu-far.ts';
import { changedEntry, jumpAway, probe } from './cpu-paging.ts';
import { CODE, DATA, DATA_BYTES, DESCRIPTORS, NOWHERE, STACK, TABLES } from './cpu-places.ts';
import { SELECTORS } from './cpu-tables.ts';
import type { Random } from './random.ts';

/** Depends on the host's clock; ends in what a host's processor decides; or runs on for ever where KVM emulates. */
const NEVER: ReadonlySet<Semantics> = new Set([
  'rdtsc',
  'hypercall',
  'cpuid',
  'rdmsr',
  'wrmsr',
  'mov-control',
  'mov-segment',
  'lgdt',
]);
const BRANCHES: ReadonlySet<Semantics> = new Set([...FAR, 'jmp', 'call', 'ret', 'jcc', 'loop', 'jcxz']);
const STRINGS: ReadonlySet<Semantics> = new Set(['stos', 'movs', 'lods', 'scas', 'cmps', 'ins', 'outs']);
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
const INTERESTING = [0n, 1n, 2n, 3n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n];
const WORD = 2n ** 64n;
const RSP = 4;
/** Without paging outside long mode, whose tables there are not; of CR4 what every processor has, or none. */
const CONTROL_VALUES: Readonly<Record<number, readonly bigint[]>> = {
  0: [0x11n, 0x31n, 0x1_0031n, 0x6000_0031n, 0x4000_0031n, 0x2000_0031n, 0x10n, 0x30n, 0x13n, 2n ** 32n, 0x100_0031n],
  2: [0n, 0x1234n, 0xffff_ffffn],
  3: [BigInt(TABLES), BigInt(TABLES) | 0x18n],
  4: [0n, 0x20n, 0x21n, 0x2a0n, 0x620n, 0x8000n, 0x8_0020n, 0x100_0020n, 0x2000_0020n, 0x2000n],
  8: [0n, 5n, 15n, 16n, 0xffn],
};
/** The tables that there are: what becomes of a fault without any is told differently from kernel to kernel. */
const CR3_VALUES = [
  BigInt(TABLES),
  BigInt(TABLES) | 0x18n,
  BigInt(TABLES) | 0xfffn,
  (2n ** 63n) | BigInt(TABLES),
  (2n ** 52n) | BigInt(TABLES),
  (2n ** 51n) | BigInt(TABLES),
];
const PAGING = 0x8000_0000n;
const EFER_VALUES = [0n, 1n, 0x500n, 0xd00n, 0xd01n, 0x100n, 0x400n, 0x8_0000n, 0x1500n];
/** Bits of CR4 that depend on the processor. */
const CR4_BY_CPUID = 0x1077_5800n;
const MSRS = [
  0xc000_0080, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0x277, 0x1234_5678,
  0x1b,
];
/** Before long mode and after. */
const USUAL_MSR_VALUES = [
  0n,
  1n,
  0x500n,
  0xd00n,
  0xd01n,
  0x8_0000n,
  0xffff_8000_0000_0000n,
  0x8000_0000_0000n,
  2n ** 63n,
];
/** Not the stack's: who delivers exceptions decides what a strange one does, and another level would need a task state segment. */
const SEGMENT_NAMES = ['cs', 'ds', 'es', 'fs', 'gs'];
const SEGMENT_FIELDS = ['base', 'limit', 'type', 'present', 'dpl', 'db', 's', 'l', 'g', 'unusable', 'selector'];

/** Status flags that no processor promises after an instruction. */
function undefinedFlags(semantics: Semantics, count: bigint | undefined): number {
  switch (semantics) {
    case 'and':
    case 'or':
    case 'xor':
    case 'test':
      return 0x10;
    case 'shl':
    case 'shr':
    case 'sar':
    case 'rol':
    case 'ror':
      // Carry beyond the operand, overflow for more than one place.
      return count === 1n ? 0x10 : 0x811;
    case 'mul':
    case 'imul':
    case 'imul-wide':
      return 0xd4;
    case 'bt':
    case 'bts':
    case 'btr':
    case 'btc':
      return 0x894;
    case 'bsf':
    case 'bsr':
      return 0x895;
    case 'idiv':
    case 'div':
      return 0x8d5;
    default:
      return 0;
  }
}

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
    if (roll === 6) return this.#sregs();
    if (roll === 7) {
      const index = random.pick(MSRS);
      // The host may leave an EFER that no guest could have.
      return random.once(3) || index === 0xc000_0080
        ? { do: 'msr', index }
        : { do: 'msr', index, value: random.pick(USUAL_MSR_VALUES) };
    }
    if (roll === 8 && random.once(4)) return randomCpuid(random);
    if (roll < 11) return this.#system();
    if (roll < 16) return this.#bytes();
    return this.#instruction() ?? this.next();
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
      this.#code([opcode, 0x05 | (reg << 3), ...this.#little(BigInt(place), 4)], opcode < 64 ? 0x10 : 0),
    );
    return this.#code([...this.#load(0, BigInt(selector)), 0x8e, 0xd8, 0x8c, 0xd9]);
  }

  /** Page tables that are changed, or code where no memory is. */
  #remapped(): CpuCommand {
    const random = this.#random;
    if (random.once(6)) this.#queue.push(this.#code(jumpAway(random)));
    else this.#queue.push(this.#code(changedEntry(random), 0x10), this.#code(probe(random), 0x10));
    return { do: 'start', mode: 64, tables: random.once(2) };
  }

  #value(): bigint {
    const random = this.#random;
    if (random.once(2)) return BigInt.asUintN(64, random.pick(INTERESTING) * (random.once(3) ? -1n : 1n));
    if (random.once(3)) return BigInt(DATA + 0x800 + random.below(0x200));
    if (random.once(12)) return BigInt(NOWHERE + random.below(0x100));
    return BigInt.asUintN(64, (BigInt(random.next()) << 32n) | BigInt(random.next())) % WORD;
  }

  #registers(): CpuCommand {
    const values: Record<string, bigint> = { rflags: BigInt(this.#random.next() & 0x8d5) };
    for (const name of NAMES) values[name] = this.#value();
    // Counts and addresses of string instructions.
    values.rcx = BigInt(this.#random.below(12));
    if (!this.#random.once(4)) {
      values.rsi = BigInt(DATA + 0x400 + this.#random.below(0x400));
      values.rdi = BigInt(DATA + 0x400 + this.#random.below(0x400));
    }
    return { do: 'registers', values };
  }

  #sregs(): CpuCommand {
    const random = this.#random;
    if (random.once(2)) {
      const index = random.pick([0, 2, 3, 4, 8]);
      if (random.once(4)) return { do: 'sregs', field: 'efer', value: random.pick(EFER_VALUES) };
      const wide = index === 3 ? random.pick(CR3_VALUES) : 2n ** BigInt(11 + random.below(53));
      const strange = index === 4 && (wide & CR4_BY_CPUID) !== 0n ? 0x8000n : wide;
      const usual = random.pick(CONTROL_VALUES[index] ?? []) | (index === 0 && this.#mode === 64 ? PAGING : 0n);
      return { do: 'sregs', field: `cr${index}`, value: random.once(4) ? strange : usual };
    }
    const part = random.pick(SEGMENT_FIELDS);
    const name = random.pick(SEGMENT_NAMES);
    // Without a code segment no processor is entered.
    if (name === 'cs' && (part === 'unusable' || part === 'present')) return this.#sregs();
    const bit = BigInt(random.below(2));
    const value = part === 'base' ? BigInt(random.below(16)) * 16n : part === 'limit' ? 0xffffn : bit;
    return { do: 'sregs', field: `${name}.${part}`, value };
  }

  #code(bytes: readonly number[], hides = 0): CpuCommand {
    const text = disassemble(Uint8Array.from(bytes), this.#mode, CODE)
      .map((line) => line.text)
      .join('; ');
    const answer = BigInt(this.#random.next()) * 0x1_0000_0001n;
    return { do: 'code', mode: this.#mode, bytes: Buffer.from(bytes).toString('hex'), text, hides, answer };
  }

  #little(value: bigint, size: number): number[] {
    return Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
  }

  /** mov r32, value. */
  #load(register: number, value: bigint): number[] {
    return [...(this.#mode === 16 ? [0x66] : []), 0xb8 + register, ...this.#little(value, 4)];
  }

  /** What a program does to the machine itself. */
  #system(): CpuCommand {
    const random = this.#random;
    switch (random.below(12)) {
      case 11: {
        // The time is nobody's: rdtsc, or rdmsr of it, then xor eax, eax; xor edx, edx.
        const read = random.once(2) ? [0x0f, 0x31] : [...this.#load(1, 0x10n), 0x0f, 0x32];
        const wide = this.#mode === 16 ? [0x66] : [];
        return this.#code([...read, ...wide, 0x31, 0xc0, ...wide, 0x31, 0xd2], 0x10);
      }
      case 8:
      case 9:
        return this.#code(farBranch(random, this.#mode));
      case 10:
        return this.#code(tableLoad(random, this.#mode, BigInt(DESCRIPTORS)));
      case 0: {
        const index = random.pick([0, 2, 3, 4, 0, 4]);
        const value = random.pick(CONTROL_VALUES[index] ?? []) | (index === 0 && this.#mode === 64 ? PAGING : 0n);
        return this.#code([...this.#load(0, value), 0x0f, 0x22, 0xc0 | (index << 3), 0x0f, 0x20, 0xc1 | (index << 3)]);
      }
      case 1: {
        const msr = BigInt(random.pick(MSRS));
        const value = random.pick(USUAL_MSR_VALUES);
        const loads = [...this.#load(1, msr), ...this.#load(0, value & 0xffff_ffffn), ...this.#load(2, value >> 32n)];
        return this.#code([...loads, 0x0f, random.once(2) ? 0x30 : 0x32]);
      }
      case 2:
      case 3: {
        const to = random.pick([0, 2, 3, 4, 5]);
        return this.#code([
          ...this.#load(0, BigInt(random.pick(SELECTORS))),
          0x8e,
          0xc0 | (to << 3),
          0x8c,
          0xc1 | (to << 3),
        ]);
      }
      case 4: {
        const flags = BigInt(random.pick([0x2, 0x202, 0x4d5, 0xcd5, 0x20_0002, 0x2, 0x3202, 0x4_0002]));
        // push imm; popf; pushf; pop ax; push 2; popf: what is left must not trap.
        const push =
          this.#mode === 16
            ? [0x66, 0x68, ...this.#little(flags, 4), 0x66, 0x9d]
            : [0x68, ...this.#little(flags, 4), 0x9d];
        return this.#code([...push, 0x9c, 0x58, 0x6a, 0x02, 0x9d]);
      }
      case 5: {
        // Over what would be seen: jmp, jcc, loop and call forward by three bytes.
        const jump = random.pick([
          [0xeb, 3],
          [0x70 | random.below(16), 3],
          [0xe0 | random.below(4), 3],
          [0xe8, 3, 0, ...(this.#mode === 16 ? [] : [0, 0])],
        ]);
        return this.#code([...jump, 0xfe, 0xc3, 0x90, 0xfe, 0xc7]);
      }
      case 6: {
        const leaf = BigInt(random.pick([...ASKED, ...ASKED_ABOVE]));
        return this.#code([...this.#load(0, leaf), ...this.#load(1, BigInt(random.below(3))), 0x0f, 0xa2]);
      }
      default: {
        // push; ret to what follows.
        const next = BigInt(CODE + (this.#mode === 16 ? 4 : 6));
        return this.#code([0x68, ...this.#little(next, this.#mode === 16 ? 2 : 4), 0xc3, 0xfe, 0xc3]);
      }
    }
  }

  /** mov r32, r32: whether a 32-bit scan that finds nothing clears the upper half is for each processor to say. */
  #cut({ form, bits, operands }: Instruction): number[] {
    const [to] = operands;
    const isScan = form.semantics === 'bsf' || form.semantics === 'bsr';
    if (!isScan || this.#mode !== 64 || bits !== 32 || to?.kind !== 'register') return [];
    const extended = to.index > 7 ? [0x45] : [];
    return [...extended, 0x89, 0xc0 | ((to.index & 7) * 9)];
  }

  /** One instruction that random bytes begin with. */
  #bytes(): CpuCommand {
    const random = this.#random;
    for (;;) {
      const prefix = random.pick([
        [],
        [],
        [0x0f],
        [0x66],
        [0x67],
        [0xf0],
        [0xf2],
        [0xf3],
        [0x48],
        [0x41],
        [0x44],
        [0x26],
        [0x64],
      ]);
      const bytes = Uint8Array.from([
        ...prefix,
        ...Array.from({ length: 8 }, () => random.below(256)),
        ...new Array(8).fill(0x90),
      ]);
      const decoded = decode(bytes, this.#mode);
      if (typeof decoded === 'string') continue;
      const { semantics } = decoded.form;
      const repeated = bytes.some((byte, i) => i < decoded.length && (byte | 1) === 0xf3);
      // Counts are not to be left to chance, nor what becomes of the table of interrupts at 0.
      if ((repeated || this.#mode === 16) && STRINGS.has(semantics)) continue;
      // In real mode registers of any value lead to the table of interrupts.
      if (this.#mode === 16 && decoded.operands.some((one) => one.kind === 'memory' && one.base !== NO_REGISTER))
        continue;
      // A repeat prefix that means nothing makes KVM's emulator read ahead.
      if (semantics === 'in' && repeated) continue;
      if (NEVER.has(semantics) || BRANCHES.has(semantics) || this.#isLeftOut(decoded.form)) continue;
      const second = decoded.operands[1];
      const amount = second?.kind === 'immediate' ? second.value : undefined;
      return this.#code(
        [...bytes.subarray(0, decoded.length), ...this.#cut(decoded)],
        undefinedFlags(semantics, amount),
      );
    }
  }

  /** What KVM's emulator does not do is no matter of comparison where it executes all. */
  #isLeftOut(form: InstructionForm): boolean {
    return !this.#hardware && form.emulation === 'no';
  }

  #instruction(): CpuCommand | undefined {
    const random = this.#random;
    const mode = this.#mode;
    const form = random.pick(INSTRUCTIONS);
    if (NEVER.has(form.semantics) || BRANCHES.has(form.semantics) || this.#isLeftOut(form)) return undefined;
    if (form.only !== undefined && (form.only === 'long') !== (mode === 64)) return undefined;
    const wide: readonly Bits[] = mode === 64 ? [16, 32, 64] : [16, 32];
    const word: Bits = mode === 64 ? 64 : 32;
    const sizes: Readonly<Record<Width, readonly Bits[]>> = {
      byte: [8],
      full: wide,
      port: [16, 32],
      stack: mode === 64 ? [64, 16] : [16, 32],
      fixed: [word],
    };
    const bits = random.pick(sizes[form.width]);
    const operands = form.operands.map((spec) => this.#operand(spec, bits, word));
    const lock = form.lock === true && operands[0]?.kind === 'memory' && random.once(4);
    const repeat = form.repeat === undefined ? undefined : random.pick([undefined, 'rep', 'repne'] as const);
    const encoding = encodeForm(form, operands, {
      mode,
      lock,
      ...(form.width === 'fixed' ? {} : { bits }),
      ...(form.conditional ? { condition: random.pick(CONDITIONS) } : {}),
      ...(repeat === undefined ? {} : { repeat }),
    });
    if (isMismatch(encoding)) return undefined;
    const amount = operands[1]?.kind === 'immediate' ? operands[1].value : undefined;
    const direction = STRINGS.has(form.semantics)
      ? this.#pointers(form.repeat === 'compare' || form.semantics === 'ins')
      : [];
    const decoded = decode(Uint8Array.from(encoding.bytes), mode);
    const cut = typeof decoded === 'string' ? [] : this.#cut(decoded);
    return this.#code([...direction, ...encoding.bytes, ...cut], undefinedFlags(form.semantics, amount));
  }

  /** `stays`: not where nothing is, since KVM's emulator shows its own way of reading ahead there. Direction and a small count; mostly both addresses, in data or where it begins and ends. */
  #pointers(stays: boolean): number[] {
    const random = this.#random;
    const place = (): bigint =>
      BigInt(random.once(8) && this.#mode === 64 && !stays ? NOWHERE : DATA + 0x100 + random.below(DATA_BYTES - 0x200));
    const addresses =
      random.once(6) && !stays && this.#mode !== 16 ? [] : [...this.#load(6, place()), ...this.#load(7, place())];
    return [random.once(3) ? 0xfd : 0xfc, ...this.#load(1, BigInt(random.below(12))), ...addresses];
  }

  #operand(spec: OperandSpec, bits: Bits, word: Bits): Operand {
    const random = this.#random;
    const size: Bits = ({ b: 8, w: 16, d: 32, v: bits, n: word } as const)[spec.at(-1) ?? ''] ?? bits;
    const fixed = (index: number, of: Bits): Operand => ({
      kind: 'register',
      file: 'general',
      index,
      bits: of,
      high: false,
    });
    const immediate = (of: Bits, cut: Bits = of): Operand => ({
      kind: 'immediate',
      value: BigInt.asUintN(of, BigInt.asIntN(cut, this.#value())),
      bits: of,
    });
    switch (spec[0]) {
      case 'E':
        return random.once(2) ? this.#memory(size) : this.#register(size);
      case 'M':
        return this.#memory(0);
      case 'I':
        return spec === 'Ib'
          ? immediate(8)
          : immediate(bits, spec === 'Is' ? 8 : spec === 'Iz' && bits === 64 ? 32 : bits);
      case '1':
        return { kind: 'immediate', value: 1n, bits: 8 };
      case 'A':
        return fixed(0, 8);
      case 'C':
        return fixed(1, 8);
      case 'D':
        return fixed(2, 16);
      case 'r':
        return fixed(0, bits);
      default:
        return this.#register(size);
    }
  }

  #register(bits: Bits): Operand {
    const random = this.#random;
    const high = bits === 8 && random.once(5);
    const index = high ? random.below(4) : random.below(this.#mode === 64 ? 16 : bits === 8 ? 4 : 8);
    // The stack pointer says where the stack is.
    return { kind: 'register', file: 'general', index: index === RSP ? 3 : index, bits, high };
  }

  #memory(bits: Bits | 0): MemoryOperand {
    const random = this.#random;
    const near = random.once(10) ? STACK - 64 + random.below(64) : DATA + random.below(DATA_BYTES - 16);
    const place = random.once(25) && this.#mode !== 16 ? NOWHERE + random.below(64) : near;
    const common = { kind: 'memory', bits, scale: 1, index: NO_REGISTER } as const;
    if (this.#mode === 64 && random.once(3)) {
      // Through rsi or rdi, which mostly point to data.
      return {
        ...common,
        base: random.pick([6, 7]),
        displacement: random.below(64) - 32,
        addressBits: random.pick([64, 64, 32]),
      };
    }
    return { ...common, base: NO_REGISTER, displacement: place | 0, addressBits: this.#mode };
  }
}
