/** What the guest programs of a lifecycle do and what memory must hold: computed on the host from what was really written. */
import { type GuestProgram, patternBytes, program, type Value } from '../guest/index.ts';
import { INITIAL, PAGE, PRIVATE_GPA, type Stage } from './stage.ts';
import { Unexpected } from './words.ts';

const MASK = (1n << 64n) - 1n;
/** Multiplier of Knuth's MMIX generator: makes a value that no host write contains. */
const MULTIPLIER = 6364136223846793005n;
const REFILL = 0x5a;

export function checkContents(what: string, actual: bigint, expected: bigint): void {
  if (actual === expected) return;
  throw new Unexpected(`${what} is 0x${actual.toString(16)}, must be 0x${expected.toString(16)}`);
}

function sumWords(bytes: Uint8Array): bigint {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  let sum = 0n;
  for (const word of words) sum += word;
  return sum & MASK;
}

/** The private memory as it must be when the guest starts: the initial contents, and what the host could still write afterwards. */
function initialBytes(stage: Stage): Uint8Array {
  const bytes = patternBytes(PRIVATE_GPA, stage.size, INITIAL);
  if (stage.design.promises.hostAccessAfterComplete === 'ok')
    bytes.fill(0xdd, stage.size - PAGE, stage.size - PAGE + 8);
  return bytes;
}

/** The guest adds up all words. */
export const checksumProgram = (stage: Stage): GuestProgram =>
  program({ arch: stage.arch }, (g) => g.report(0, g.checksum(PRIVATE_GPA, stage.size)));

export const expectedChecksum = (stage: Stage): bigint => sumWords(initialBytes(stage));

/** Where the guest keeps its own value: the second page. */
const OWN = PRIVATE_GPA + PAGE;

/** The guest multiplies the first word, stores the product, reads it back and reports it. */
export function writeProgram(stage: Stage): { program: GuestProgram; value: bigint } {
  const view = new DataView(initialBytes(stage).buffer);
  const value = (view.getBigUint64(0, true) * MULTIPLIER + 1n) & MASK;
  const write = program({ arch: stage.arch }, (g) => {
    g.store(OWN, g.load(PRIVATE_GPA).mul(MULTIPLIER).add(1));
    g.report(1, g.load(OWN));
  });
  return { program: write, value };
}

export function punchedProgram(stage: Stage): GuestProgram {
  const { offset, length } = stage.converted;
  return program({ arch: stage.arch }, (g) => g.report(2, g.checksum(PRIVATE_GPA + offset, length)));
}

/** The guest checks the host's refill, then answers with its sum in the first word. */
export function sharedProgram(stage: Stage): { program: GuestProgram; answer: bigint } {
  const { offset, length } = stage.converted;
  const gpa = PRIVATE_GPA + offset;
  const answer = sumWords(new Uint8Array(length).fill(REFILL));
  const check = program({ arch: stage.arch }, (g) => {
    g.check(gpa, length, REFILL);
    g.store(gpa, g.checksum(gpa, length));
    g.report(3, g.load(gpa));
  });
  return { program: check, answer };
}

/** Pages around the converted range, and the guest's own value, must be as they were. */
export function hostSees(stage: Stage): { program: GuestProgram; detail: string } {
  const { offset, length } = stage.converted;
  const before = PRIVATE_GPA + offset - PAGE;
  const after = PRIVATE_GPA + offset + length;
  const { value } = writeProgram(stage);
  const check = program({ arch: stage.arch }, (g) => {
    g.check(before, PAGE, INITIAL);
    g.check(after, PAGE, INITIAL);
    g.check(OWN, 8, value);
  });
  return {
    program: check,
    detail: "the pages before and after the converted range and the guest's own value are as they were",
  };
}

/** Shared memory of the guest that contents pass through when their place changes sides. */
const BOUNCE = 0x8_0000;
const BOUNCE_SIZE = 0x1_0000;

/** The guest carries all initial contents over: out of the shared side, conversion, into the private side; piece by piece. */
export function acceptProgram(stage: Stage): GuestProgram {
  return program({ arch: 'x64' }, (g) => {
    const piece = (gpa: Value | number, length: number): void => {
      g.copy(BOUNCE, gpa, length);
      g.mapGpaRange(gpa, length / PAGE, { private: true });
      g.copy(gpa, BOUNCE, length);
    };
    const whole = Math.floor(stage.size / BOUNCE_SIZE);
    const rest = stage.size % BOUNCE_SIZE;
    g.touch(BOUNCE, BOUNCE_SIZE);
    g.touch(PRIVATE_GPA, stage.size);
    g.repeat(whole, (i) => piece(i.mul(BOUNCE_SIZE).add(PRIVATE_GPA), BOUNCE_SIZE));
    if (rest > 0) piece(PRIVATE_GPA + whole * BOUNCE_SIZE, rest);
  });
}

/** The guest asks for the converted range to change its state. */
export function conversionProgram(stage: Stage, to: 'private' | 'shared'): GuestProgram {
  const { offset, length } = stage.converted;
  return program({ arch: 'x64' }, (g) => {
    g.report(4, g.mapGpaRange(PRIVATE_GPA + offset, length / PAGE, { private: to === 'private' }));
  });
}
