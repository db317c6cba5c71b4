import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode } from '../../../lib/guest/x64/decode.ts';
import { instructionText } from '../../../lib/guest/x64/disassemble.ts';
import { encode, encodeForm } from '../../../lib/guest/x64/encode.ts';
import { INSTRUCTIONS } from '../../../lib/guest/x64/instructions.ts';
import { isMismatch } from '../../../lib/guest/x64/match.ts';
import { CONDITIONS } from '../../../lib/guest/x64/operands.ts';
import { binutilsMissing, normalise, objdump } from './binutils.ts';
import { MODES, samples } from './samples.ts';

const ALL = [...samples(INSTRUCTIONS)];

describe('the instruction table', () => {
  it('has samples for every form', () => {
    const covered = new Set(ALL.map((sample) => sample.form));
    expect(INSTRUCTIONS.filter((form) => !covered.has(form))).toEqual([]);
  });

  it('decodes every form to what was encoded', () => {
    for (const { form, mode, operands, encoding } of ALL) {
      const decoded = decode(Uint8Array.from(encoding.bytes), mode);
      expect(decoded).toMatchObject({ form, operands, length: encoding.bytes.length });
    }
  });

  it('calls every cut-off instruction truncated', () => {
    for (const { mode, encoding, form } of ALL) {
      for (let length = 0; length < encoding.bytes.length; length++) {
        const decoded = decode(Uint8Array.from(encoding.bytes.slice(0, length)), mode);
        if (decoded !== 'truncated')
          expect.fail(`${form.mnemonic} [${encoding.bytes.slice(0, length)}] in ${mode}: ${decoded}`);
      }
    }
  });

  it('never picks a longer encoding than the form it was asked for', () => {
    for (const { form, operands, options, encoding } of ALL) {
      const { bits: _, ...rest } = options;
      const withoutSize = form.operands.length > 0 ? rest : options;
      if (form.width === 'stack' && form.operands[0]?.startsWith('I')) continue;
      expect(encode(form.mnemonic, operands, withoutSize).bytes.length).toBeLessThanOrEqual(encoding.bytes.length);
    }
  });

  it('answers arbitrary bytes without throwing, and re-encodes what it decodes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 16 }), fc.constantFrom(...MODES), (bytes, mode) => {
        const decoded = decode(bytes, mode);
        if (typeof decoded === 'string') return;
        expect(decoded.length).toBeLessThanOrEqual(bytes.length);
        const { form, operands, repeat, lock, condition: code, bits } = decoded;
        const condition = code === undefined ? undefined : CONDITIONS[code];
        const options = {
          mode,
          lock,
          ...(form.width === 'fixed' ? {} : { bits }),
          ...(repeat === undefined ? {} : { repeat }),
          ...(condition === undefined ? {} : { condition }),
        };
        // The bytes may differ (idle prefixes, longer displacements), the instruction may not.
        const encoding = encodeForm(form, operands, options);
        if (isMismatch(encoding)) expect.fail(`${form.mnemonic}: ${encoding.text}`);
        expect(decode(Uint8Array.from(encoding.bytes), mode)).toMatchObject({ form, operands, bits, repeat, lock });
      }),
      { numRuns: 20_000, verbose: true },
    );
  });

  it('accepts each condition in each conditional instruction', () => {
    for (let code = 0; code < 16; code++) {
      expect(decode(Uint8Array.of(0x70 + code, 0), 64)).toMatchObject({ condition: code, form: { semantics: 'jcc' } });
      expect(decode(Uint8Array.of(0x0f, 0x90 + code, 0xc0), 64)).toMatchObject({ condition: code });
      expect(decode(Uint8Array.of(0x0f, 0x40 + code, 0xc0), 32)).toMatchObject({ condition: code });
    }
  });
});

const missing = binutilsMissing();

describe.each(MODES)(`GNU objdump as second opinion, %i-bit${missing === undefined ? '' : ` (${missing})`}`, (mode) => {
  it.skipIf(missing !== undefined)('reads the same instructions', () => {
    const own = ALL.filter((sample) => sample.mode === mode);
    const bytes = Uint8Array.from(own.flatMap(({ encoding }) => [...encoding.bytes]));
    const theirs = new Map(objdump(bytes, mode).map((line) => [line.address, line]));
    let address = 0;
    for (const { encoding } of own) {
      const decoded = decode(bytes, mode, address);
      if (typeof decoded === 'string') expect.fail(`${decoded} at ${address}`);
      const line = theirs.get(address);
      const text = normalise(instructionText(decoded, mode, address));
      expect({ length: encoding.bytes.length, text }).toEqual({ length: line?.length, text: line?.text });
      address += encoding.bytes.length;
    }
  });
});
