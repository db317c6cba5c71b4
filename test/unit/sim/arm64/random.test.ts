/** Random programs, executed by the vCPU and by the model. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode } from '../../../../lib/guest/a64/decode.ts';
import { instructionText } from '../../../../lib/guest/a64/disassemble.ts';
import type { InstructionForm } from '../../../../lib/guest/a64/form.ts';
import { INSTRUCTIONS } from '../../../../lib/guest/a64/instructions.ts';
import { A64Cpu, getPair, PC, setPair } from '../../../../lib/sim/arm64/index.ts';
import { type ModelState, step } from './model.ts';
import { LIMITS, Ram } from './ram.ts';

const CODE = 0x1000;
/** x20 and x21 point into it and sp to its middle; instructions that would move it are left out. */
const DATA = 0x8000;
const POINTERS = [20, 21] as const;
/** x22 is the index of register offsets. */
const KEPT: ReadonlySet<number> = new Set([...POINTERS, 22]);

const isMemory = (form: InstructionForm): boolean =>
  ['load', 'store', 'load-pair', 'store-pair'].includes(form.semantics);
const BRANCHES: ReadonlySet<string> = new Set(['b', 'bl', 'b.cond', 'cbz', 'cbnz', 'tbz', 'tbnz']);
const NEITHER = /^(mrs|msr|hvc|smc|svc|brk|eret|br|blr|ret|wf|nop|yield|sev|dmb|dsb|isb|clrex)/;

const COMPUTING = INSTRUCTIONS.filter(
  (form) =>
    !isMemory(form) && !BRANCHES.has(form.mnemonic) && !NEITHER.test(form.mnemonic) && !form.semantics.includes('-'),
);
const MEMORY = INSTRUCTIONS.filter(isMemory);
const JUMPS = INSTRUCTIONS.filter((form) => BRANCHES.has(form.mnemonic));

/** Registers that hold pointers are no destinations of what computes. */
function isHarmless(word: number): boolean {
  const instruction = decode(word);
  if (instruction === undefined) return false;
  const [to] = instruction.operands;
  return to?.kind !== 'register' || (!KEPT.has(to.index) && !to.sp);
}

/** The word with fields set: bases that point somewhere, offsets that stay near and aligned, distances of a few words forward. */
function tamed(word: number, form: InstructionForm, small: number): number {
  const set = (name: string, value: number, old: number): number => {
    const field = form.fields.get(name);
    if (field === undefined) return old;
    const mask = (2 ** field.width - 1) << field.at;
    return ((old & ~mask) | ((value << field.at) & mask)) >>> 0;
  };
  let result = word;
  if (isMemory(form)) {
    const size = form.access?.size ?? 8;
    result = set('Rn', POINTERS[small & 1] ?? 20, result);
    result = set('imm12', small & 31, result);
    // Writeback would wear the pointers' alignment away: whole words only.
    result = set('imm9', 16 * ((small & 3) - 1), result);
    result = set('imm7', (16 / size) * ((small & 3) - 1), result);
    result = set('Rm', 22, result);
    result = set('option', 3, result);
    result = set('Rt', small % 19, result);
    result = set('Rt2', 19, result);
  }
  const distance = 1 + (small & 3);
  for (const name of ['imm26', 'imm19', 'imm14']) result = set(name, distance, result);
  return result;
}

const wordOf = (forms: readonly InstructionForm[]): fc.Arbitrary<number> =>
  fc
    .tuple(fc.constantFrom(...forms), fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 0, max: 255 }))
    .map(([form, random, small]) => tamed((form.value | (random & ~form.mask)) >>> 0, form, small))
    .filter(isHarmless);

const interesting = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, (1n << 32n) - 1n, 1n << 31n, (1n << 31n) - 1n),
);

const program = fc.record({
  words: fc.array(
    fc.oneof(
      { weight: 6, arbitrary: wordOf(COMPUTING) },
      { weight: 3, arbitrary: wordOf(MEMORY) },
      { weight: 1, arbitrary: wordOf(JUMPS) },
    ),
    { minLength: 1, maxLength: 40 },
  ),
  registers: fc.array(interesting, { minLength: 31, maxLength: 31 }),
  flags: fc.integer({ min: 0, max: 15 }),
});

describe('random programs', () => {
  it('do on the vCPU what the model says', () => {
    fc.assert(
      fc.property(program, ({ words, registers, flags }) => {
        const ram = new Ram(0x1_0000);
        const model = start(registers, flags);
        for (let i = 0; i < 0x4000; i++) ram.bytes[DATA - 0x2000 + i] = model.memory.getUint8(DATA - 0x2000 + i);
        for (const [i, word] of words.entries()) ram.view.setUint32(CODE + 4 * i, word, true);
        const cpu = new A64Cpu(0, LIMITS);
        for (const [i, value] of model.x.entries()) setPair(cpu.state.r, 2 * i, value);
        cpu.state.pstate = 0x3c5n | (BigInt(flags) << 28n);
        cpu.state.setStack(1, model.sp);
        setPair(cpu.state.r, PC, BigInt(CODE));
        const end = BigInt(CODE + 4 * words.length);
        let steps = 0;
        while (model.pc < end) {
          step(model, words[Number(model.pc - BigInt(CODE)) / 4] ?? 0);
          steps++;
        }
        const text = words.map((word) => instructionText(decode(word) ?? never())).join('\n');
        expect(cpu.run(ram, steps), text).toEqual({ kind: 'budget' });
        const seen = {
          x: model.x.map((_, i) => getPair(cpu.state.r, 2 * i)),
          sp: cpu.state.getStack(1),
          pc: getPair(cpu.state.r, PC),
          nzcv: Number(cpu.state.pstate >> 28n),
        };
        const { x, sp, pc, n, z, c, v } = model;
        const nzcv = (n ? 8 : 0) + (z ? 4 : 0) + (c ? 2 : 0) + (v ? 1 : 0);
        expect(seen, text).toEqual({ x, sp, pc, nzcv });
        const data = new Uint8Array(model.memory.buffer, DATA - 0x2000, 0x4000);
        expect(Buffer.compare(ram.bytes.subarray(DATA - 0x2000, DATA + 0x2000), data), text).toBe(0);
      }),
      { numRuns: 1500 },
    );
  });
});

function never(): never {
  throw new Error('not in the table');
}

function start(registers: readonly bigint[], flags: number): ModelState {
  const x = [...registers];
  x[20] = BigInt(DATA);
  x[21] = BigInt(DATA + 0x800);
  x[22] = 16n;
  const memory = new DataView(new ArrayBuffer(0x1_0000));
  for (let i = 0; i < 0x1_0000; i++) memory.setUint8(i, (i * 167 + (i >> 8)) & 255);
  const bit = (n: number): boolean => ((flags >> n) & 1) === 1;
  return { x, sp: BigInt(DATA), n: bit(3), z: bit(2), c: bit(1), v: bit(0), pc: BigInt(CODE), memory };
}
