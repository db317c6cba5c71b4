/** Single instructions: from the table of lib/guest, and from random bytes. */
import { decode, type Instruction } from '../../lib/guest/x64/decode.ts';
import { encodeForm } from '../../lib/guest/x64/encode.ts';
import type { InstructionForm, Semantics, Width } from '../../lib/guest/x64/form.ts';
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
import { type OperandChoices, operandFor, undefinedFlags } from '../support/x64-operands.ts';
import { load } from './cpu-bytes.ts';
import { codeCommand, randomValue } from './cpu-code.ts';
import type { CpuCommand } from './cpu-commands.ts';
import { DATA, DATA_BYTES, NOWHERE, STACK } from './cpu-places.ts';
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
const RSP = 4;

export class Instructions {
  readonly #random: Random;
  readonly #mode: Mode;
  readonly #hardware: boolean;
  readonly #choices: OperandChoices;

  constructor(random: Random, mode: Mode, hardware: boolean) {
    this.#random = random;
    this.#mode = mode;
    this.#hardware = hardware;
    this.#choices = {
      inMemory: () => random.once(2),
      memory: (bits) => this.#memory(bits),
      register: (bits) => this.#register(bits),
      value: () => randomValue(random),
    };
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
  fromBytes(): CpuCommand {
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
      return codeCommand(
        this.#random,
        this.#mode,
        [...bytes.subarray(0, decoded.length), ...this.#cut(decoded)],
        undefinedFlags(semantics, amount),
      );
    }
  }

  /** What KVM's emulator does not do is no matter of comparison where it executes all. */
  #isLeftOut(form: InstructionForm): boolean {
    return !this.#hardware && form.emulation === 'no';
  }

  fromTable(): CpuCommand | undefined {
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
    const operands = form.operands.map((spec) => operandFor(spec, bits, word, this.#choices));
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
    return codeCommand(
      this.#random,
      this.#mode,
      [...direction, ...encoding.bytes, ...cut],
      undefinedFlags(form.semantics, amount),
    );
  }

  /** `stays`: not where nothing is, since KVM's emulator shows its own way of reading ahead there. Direction and a small count; mostly both addresses, in data or where it begins and ends. */
  #pointers(stays: boolean): number[] {
    const random = this.#random;
    const place = (): bigint =>
      BigInt(random.once(8) && this.#mode === 64 && !stays ? NOWHERE : DATA + 0x100 + random.below(DATA_BYTES - 0x200));
    const addresses =
      random.once(6) && !stays && this.#mode !== 16
        ? []
        : [...load(this.#mode, 6, place()), ...load(this.#mode, 7, place())];
    return [random.once(3) ? 0xfd : 0xfc, ...load(this.#mode, 1, BigInt(random.below(12))), ...addresses];
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
