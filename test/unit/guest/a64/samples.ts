/** Random words of every row of the table. */
import { decode, type Instruction } from '../../../../lib/guest/a64/decode.ts';
import { INSTRUCTIONS } from '../../../../lib/guest/a64/instructions.ts';

/** xorshift32: the same words at every run. */
export function randomWords(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

export interface Sample {
  readonly word: number;
  readonly instruction: Instruction;
}

/** At least one word of each row that decodes as this row; reserved encodings are passed over. */
export function samples(each: number): Sample[] {
  const next = randomWords(0x1234_5678);
  return INSTRUCTIONS.flatMap((form) => {
    const found: Sample[] = [];
    for (let tries = 0; tries < 200 * each && found.length < each; tries++) {
      const word = (form.value | (next() & ~form.mask)) >>> 0;
      const instruction = decode(word);
      if (instruction?.form === form) found.push({ word, instruction });
    }
    return found;
  });
}
