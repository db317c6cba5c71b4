import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBitmask, encodeBitmask } from '../../../../lib/guest/a64/bitmask.ts';
import { decode } from '../../../../lib/guest/a64/decode.ts';
import { instructionText } from '../../../../lib/guest/a64/disassemble.ts';
import { encode } from '../../../../lib/guest/a64/encode.ts';
import { INSTRUCTIONS } from '../../../../lib/guest/a64/instructions.ts';
import { assemble, binutilsMissing, objdump } from './binutils.ts';
import { samples } from './samples.ts';

const ALL = samples(40);

describe('the A64 instruction table', () => {
  it('has samples of every row', () => {
    const covered = new Set(ALL.map(({ instruction }) => instruction.form));
    expect(INSTRUCTIONS.filter((form) => !covered.has(form)).map((form) => form.mnemonic)).toEqual([]);
  });

  it('encodes what it decoded to an instruction that decodes the same', () => {
    for (const { instruction } of ALL) {
      const again = decode(encode(instruction.form.mnemonic, instruction.operands));
      expect(again).toEqual(instruction);
    }
  });

  it('answers arbitrary words without throwing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (word) => {
        const found = decode(word);
        if (found === undefined) return;
        expect((word & found.form.mask) >>> 0).toBe(found.form.value);
        expect(instructionText(found)).not.toBe('');
      }),
      { numRuns: 5000 },
    );
  });

  it('decodes each word of bitmask immediates back to itself', () => {
    for (const bits of [32, 64] as const) {
      const values = new Set<bigint>();
      for (let fields = 0; fields < 1 << 13; fields++) {
        const parts = { n: fields >> 12, immr: (fields >> 6) & 63, imms: fields & 63 };
        const value = bits === 32 && parts.n === 1 ? undefined : decodeBitmask(parts, bits);
        if (value === undefined) continue;
        values.add(value);
        const again = encodeBitmask(value, bits);
        expect(again && decodeBitmask(again, bits)).toBe(value);
      }
      // As many as the architecture has: e × (e - 1) of each element size e.
      expect(values.size).toBe(bits === 64 ? 5334 : 1302);
    }
    expect(encodeBitmask(0n, 64)).toBeUndefined();
    expect(encodeBitmask((1n << 64n) - 1n, 64)).toBeUndefined();
    expect(encodeBitmask(0xffff_ffffn, 32)).toBeUndefined();
    expect(encodeBitmask(0x1234n, 64)).toBeUndefined();
  });
});

const missing = binutilsMissing();

describe.skipIf(missing !== undefined)(`GNU binutils for AArch64${missing ? ` (${missing})` : ''}`, () => {
  const defined = ALL.filter(
    ({ instruction }) => !isUnpredictable(instruction.form.mnemonic, instructionText(instruction)),
  );

  it('assembles our text to our words', () => {
    const usable = defined.flatMap(({ instruction }) => {
      const text = instructionText(instruction, 0);
      const word = encode(instruction.form.mnemonic, instruction.operands);
      // A target is a number in our text and a symbol to GNU as: let it be relative to the instruction.
      const relative = instruction.operands.find((operand) => operand.kind === 'relative');
      if (instruction.form.mnemonic === 'adrp') return [];
      if (relative?.kind !== 'relative') return [{ text, word }];
      const sign = relative.displacement < 0 ? '-' : '+';
      const target = `. ${sign} ${Math.abs(relative.displacement)}`;
      return [{ text: text.replace(/0x[0-9a-f]+$/, target), word }];
    });
    const words = assemble(usable.map(({ text }) => text));
    expect(words.length).toBe(usable.length);
    const different = usable.flatMap(({ text, word }, i) =>
      words[i] === word ? [] : [`${text}: ${word.toString(16)}, GNU as ${words[i]?.toString(16)}`],
    );
    expect(different).toEqual([]);
  });

  it('calls our words by our names', () => {
    const texts = objdump(Uint32Array.from(defined, ({ word }) => word));
    expect(texts.length).toBe(defined.length);
    const different = defined.flatMap(({ instruction }, i) => {
      const [ours, theirs] = [instructionText(instruction, 4 * i), texts[i] ?? ''];
      return mnemonicOf(theirs) === mnemonicOf(ours) ? [] : [`${ours}: ${theirs}`];
    });
    expect(different).toEqual([]);
  });
});

const HINTS = ['nop', 'yield', 'wfe', 'wfi', 'sev', 'sevl'];

function mnemonicOf(text: string): string {
  const hint = /^hint #0x(\d)$/.exec(text);
  if (hint !== null) return HINTS[Number(hint[1])] ?? text;
  return text.split(' ')[0] ?? '';
}

/** Encodings that decode, but that assemblers refuse to make: writeback to a register that is also transferred, and the like. */
function isUnpredictable(mnemonic: string, text: string): boolean {
  const registers = [...text.matchAll(/\b[xw](\d+|zr)\b|\bsp\b/g)].map(([name]) => name.replace(/^[xw]/, ''));
  const repeats = new Set(registers).size < registers.length;
  if (/^(ldp|ldpsw|stp|stl?xr)/.test(mnemonic)) return repeats;
  if (/^(ldr|str)/.test(mnemonic) && /(\]!|\], #)/.test(text)) return repeats;
  return /^msr pstate/.test(text);
}
