/** Random straight-line code from the instruction table, which leaves alone what it needs to run: rsp, r13, r14, r15. */
import { decode } from '../../../../lib/guest/x64/decode.ts';
import { encodeForm } from '../../../../lib/guest/x64/encode.ts';
import type { InstructionForm, Semantics } from '../../../../lib/guest/x64/form.ts';
import { INSTRUCTIONS } from '../../../../lib/guest/x64/instructions.ts';
import { FAR, isMismatch } from '../../../../lib/guest/x64/match.ts';
import {
  type Bits,
  CONDITIONS,
  type MemoryOperand,
  NO_REGISTER,
  type Operand,
} from '../../../../lib/guest/x64/operands.ts';
import { ALL_STATUS, type OperandChoices, operandFor, undefinedFlags } from '../../../support/x64-operands.ts';

/** Where memory operands point: r15 holds the middle, r14 a small index. */
export const SCRATCH = 0x10_0000;
export const SCRATCH_SIZE = 0x3000;
export const SCRATCH_MIDDLE = SCRATCH + 0x1000;

const LEFT_OUT = new Set<Semantics>([
  ...([
    'jmp',
    'call',
    'ret',
    'jcc',
    'loop',
    'jcxz',
    'hlt',
    'in',
    'out',
    'ins',
    'outs',
    'leave',
    'hypercall',
    'int3',
    'ud2',
  ] as const),
  ...(['mov-control', 'mov-segment', 'rdtsc', 'rdmsr', 'wrmsr', 'cpuid', 'invlpg', 'popf', 'sti', 'cli'] as const),
  ...(['lgdt', ...FAR, 'vmgexit', 'pvalidate', 'tdcall'] as const),
]);
const STRINGS = new Set<Semantics>(['stos', 'movs', 'lods', 'scas', 'cmps']);
export const SAFE: readonly InstructionForm[] = INSTRUCTIONS.filter(
  (form) => !LEFT_OUT.has(form.semantics) && form.only !== 'legacy',
);

const REGISTERS = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12];
const INTERESTING = [0n, 1n, -1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0x7fff_ffffn, 0x8000_0000n, 1n << 63n];

/** Takes one choice after the other from a list of numbers; a list that is used up gives zeros. */
export class Choices {
  readonly #numbers: readonly number[];
  #at = 0;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  next(below: number): number {
    return (this.#numbers[this.#at++] ?? 0) % below;
  }

  of<T>(list: readonly T[]): T {
    return list[this.next(list.length)] as T;
  }

  value(): bigint {
    if (this.next(2) === 0) return this.of(INTERESTING);
    return (BigInt(this.next(2 ** 31)) << 33n) ^ (BigInt(this.next(2 ** 31)) << 11n) ^ BigInt(this.next(2 ** 31));
  }
}

/** Near a page's start or end now and then. */
function displacement(choose: Choices): number {
  return choose.next(4) === 0 ? 0xff0 + choose.next(24) : choose.next(0x200) - 0x100;
}

function memory(choose: Choices, bits: Bits | 0): MemoryOperand {
  const shape = choose.next(5);
  const common = { kind: 'memory', bits, scale: 1, index: NO_REGISTER } as const;
  if (shape === 0) {
    const absolute = SCRATCH_MIDDLE + displacement(choose);
    return { ...common, base: NO_REGISTER, displacement: absolute, addressBits: 64 };
  }
  const addressBits = shape === 1 ? 32 : 64;
  if (shape === 2) {
    const scale = choose.of([1, 2, 4, 8] as const);
    return { ...common, base: 15, index: 14, scale, displacement: displacement(choose), addressBits };
  }
  return { ...common, base: 15, displacement: displacement(choose), addressBits };
}

function register(choose: Choices, bits: Bits): Operand {
  if (bits === 8 && choose.next(5) === 0) {
    return { kind: 'register', file: 'general', index: choose.next(4), bits, high: true };
  }
  return { kind: 'register', file: 'general', index: choose.of(REGISTERS), bits, high: false };
}

const choicesOf = (choose: Choices): OperandChoices => ({
  inMemory: () => choose.next(2) === 0,
  memory: (bits) => memory(choose, bits),
  register: (bits) => register(choose, bits),
  value: () => choose.value(),
});

function little(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
}

/** rdi, rsi to somewhere in the scratch memory and rcx to a small count, before a string instruction. */
function pointers(choose: Choices): number[] {
  const place = (): number => SCRATCH_MIDDLE + displacement(choose);
  const backwards = choose.next(3) === 0 ? 0xfd : 0xfc;
  return [0xbf, ...little(place(), 4), 0xbe, ...little(place(), 4), 0xb9, ...little(choose.next(20), 4), backwards];
}

/** pushf; and qword [rsp], mask; popf: what is undefined becomes 0, so that nothing later depends on it. */
function masking(mask: number): number[] {
  return mask === 0 ? [] : [0x9c, 0x48, 0x81, 0x24, 0x24, ...little(~mask >>> 0, 4), 0x9d];
}

/** One instruction as bytes, with what it needs before and after; empty when the choices fit no encoding. */
export function randomInstruction(numbers: readonly number[], keepUndefined = false): number[] {
  const choose = new Choices(numbers);
  const form = choose.of(SAFE);
  const sizes: readonly Bits[] =
    form.width === 'byte' ? [8] : form.width === 'stack' ? [64, 16] : form.width === 'fixed' ? [64] : [16, 32, 64];
  const bits = choose.of(sizes);
  const condition = form.conditional ? choose.of(CONDITIONS) : undefined;
  const repeat = form.repeat === undefined ? undefined : choose.of([undefined, 'rep', 'repne'] as const);
  const operands = form.operands.map((spec) => operandFor(spec, bits, 64, choicesOf(choose)));
  const lock = form.lock === true && operands[0]?.kind === 'memory' && choose.next(4) === 0;
  const encoding = encodeForm(form, operands, {
    mode: 64,
    lock,
    ...(form.width === 'fixed' ? {} : { bits }),
    ...(condition === undefined ? {} : { condition }),
    ...(repeat === undefined ? {} : { repeat }),
  });
  if (isMismatch(encoding)) return [];
  // A segment override with a base of its own.
  const segment = operands.some((o) => o.kind === 'memory') && !lock && choose.next(8) === 0 ? [0x64] : [];
  const before = STRINGS.has(form.semantics) ? pointers(choose) : [];
  const amount = operands[1]?.kind === 'immediate' ? operands[1].value : undefined;
  const mask = keepUndefined ? 0 : undefinedFlags(form.semantics, amount);
  return [...before, ...segment, ...encoding.bytes, ...masking(mask)];
}

const STACK = 0x2_8000;
const HLT = 0xf4;
const FREE = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12'] as const;

/** A program with the registers and the scratch memory that it starts with; r13 is 0. */
export interface RandomCase {
  readonly code: Uint8Array;
  readonly regs: Readonly<Record<string, bigint>>;
  readonly scratch: Uint8Array;
}

/** The start values come from `seeds`, one instruction from each list of numbers. */
export function randomCase(
  instructions: readonly (readonly number[])[],
  seeds: readonly number[],
  rip: number,
): RandomCase {
  const choose = new Choices(seeds);
  const regs: Record<string, bigint> = { r13: 0n, r14: 5n, r15: BigInt(SCRATCH_MIDDLE), rsp: BigInt(STACK) };
  for (const name of FREE) regs[name] = BigInt.asUintN(64, choose.value());
  regs.rflags = BigInt(choose.next(2 ** 12) & ALL_STATUS) | 2n;
  regs.rip = BigInt(rip);
  const factor = choose.next(251);
  const scratch = Uint8Array.from({ length: SCRATCH_SIZE }, (_, i) => (i * 37 + (i >> 4) * factor) & 0xff);
  const code = instructions.flatMap((numbers) => randomInstruction(numbers));
  return { code: Uint8Array.from([...code, HLT]), regs, scratch };
}

/** Depends on the host, changes what comes after, or ends the code. */
const NOT_ALONE = new Set<Semantics>([
  ...(['hypercall', 'int3', 'rdtsc', 'cpuid', 'rdmsr', 'wrmsr', 'mov-control'] as const),
  ...(['lgdt', ...FAR, 'vmgexit', 'pvalidate', 'tdcall'] as const),
  // KVM's emulator refuses REX.R beside a segment register, processors ignore it.
  'mov-segment',
  ...(['jmp', 'jcc', 'jcxz', 'call', 'loop', 'ret'] as const),
]);

/** The one instruction that the bytes begin with, most registers pointing into the scratch memory. */
export function bytesCase(bytes: readonly number[], seeds: readonly number[], rip: number): RandomCase | undefined {
  const padded = Uint8Array.from([...bytes, ...new Array(15).fill(HLT)]);
  const decoded = decode(padded, 64);
  if (typeof decoded === 'string' || NOT_ALONE.has(decoded.form.semantics)) return undefined;
  const { regs, scratch } = randomCase([], seeds, rip);
  const pointing = Object.fromEntries(
    (['rax', 'rbx', 'rsi', 'rdi', 'rbp', 'r8', 'r9', 'r13'] as const).map((name, i) => [
      name,
      BigInt(SCRATCH + 0x800 + 0x100 * i),
    ]),
  );
  const code = Uint8Array.from([...padded.subarray(0, decoded.length), HLT]);
  return { code, regs: { ...regs, ...pointing, rcx: 3n, rdx: 7n }, scratch };
}
