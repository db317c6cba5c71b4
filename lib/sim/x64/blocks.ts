/** Decoded code: blocks of instructions that run one after another, kept as long as the bytes are the same. */
import { decode, type Instruction } from '../../guest/x64/decode.ts';
import { compile, endsBlock, setsRip } from './compile.ts';
import { undefinedOpcode } from './invalid.ts';
import type { Machine, Operation } from './machine.ts';
import * as registers from './registers.ts';
import { SEGMENT, type State } from './state.ts';
import { VECTOR } from './stop.ts';

const { at, SEGMENT_BASES } = registers;

const CACHE_SIZE = 4096;
/** Long enough to spread the cost of entering a block, short enough that partly run ones waste little. */
const MOST_INSTRUCTIONS = 32;
const LONGEST_INSTRUCTION = 15;

/** A run of bytes in one page. */
interface Part {
  readonly view: DataView;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Block {
  readonly ripLow: number;
  readonly ripHigh: number;
  readonly operations: readonly Operation[];
  /** Where each instruction starts, from the start of the block; one more for the end. */
  readonly offsets: readonly number[];
  /** Whether the last instruction sets rip itself. */
  readonly setsRip: boolean;
  readonly parts: readonly Part[];
  /** The first part's words, for a comparison that is quick enough to be made every time. */
  readonly words: Int32Array;
  /** `codeSerial` of the state and `serial` of the MMU when the block was last known to be at its address. */
  readonly codeSerial: number;
  mmuSerial: number;
}

export class Blocks {
  readonly #machine: Machine;
  readonly #state: State;
  readonly #cache: (Block | undefined)[] = new Array(CACHE_SIZE).fill(undefined);

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#state = machine.state;
  }

  /** The block at rip. Throws what fetching its first instruction throws. */
  at(ripLow: number, ripHigh: number): Block {
    const slot = (ripLow ^ (ripLow >>> 12)) & (CACHE_SIZE - 1);
    const known = this.#cache[slot];
    if (
      known !== undefined &&
      known.ripLow === ripLow &&
      known.ripHigh === ripHigh &&
      known.codeSerial === this.#state.codeSerial &&
      (known.mmuSerial === this.#machine.mmu.serial || this.#isStillThere(known)) &&
      isUnchanged(known)
    ) {
      return known;
    }
    const block = this.#build(ripLow, ripHigh);
    this.#cache[slot] = block;
    return block;
  }

  /** The linear address of an offset in the code segment. */
  #linear(low: number, high: number, by: number): readonly [low: number, high: number] {
    const sum = (low >>> 0) + by;
    if (this.#state.codeBits === 64) return [sum | 0, (high + (sum > 0xffff_ffff ? 1 : 0)) | 0];
    return [(sum + at(this.#state.r, SEGMENT_BASES + 2 * SEGMENT.cs)) | 0, 0];
  }

  #page(low: number, high: number): DataView {
    const { mmu, state } = this.#machine;
    const found = mmu.fetches.find(low, high, 1) ?? mmu.resolve(low, high, 'fetch');
    if (typeof found === 'number') throw state.abandon({ kind: 'emulation', bytes: new Uint8Array() });
    return found;
  }

  /** After translations were forgotten: whether the block's address still leads to its pages. */
  #isStillThere(block: Block): boolean {
    let by = 0;
    for (const part of block.parts) {
      const [low, high] = this.#linear(block.ripLow, block.ripHigh, by);
      const view = this.#page(low, high);
      if (view.buffer !== part.view.buffer || view.byteOffset !== part.view.byteOffset) return false;
      by += part.bytes.length;
    }
    block.mmuSerial = this.#machine.mmu.serial;
    return true;
  }

  #build(ripLow: number, ripHigh: number): Block {
    const { mmu } = this.#machine;
    const [low, high] = this.#linear(ripLow, ripHigh, 0);
    if (!this.#isInSegment(ripLow, 1)) throw this.#state.exception(VECTOR.protection, 0);
    const view = this.#page(low, high);
    const offset = low & 4095;
    const bytes = new Uint8Array(view.buffer, view.byteOffset, 4096);
    const operations: Operation[] = [];
    const offsets = [0];
    let length = 0;
    let last: Instruction | undefined;
    while (operations.length < MOST_INSTRUCTIONS) {
      const decoded = decode(bytes, this.#state.codeBits, offset + length);
      if (typeof decoded === 'string') {
        if (last !== undefined) break;
        return decoded === 'truncated'
          ? this.#acrossPages(ripLow, ripHigh, view)
          : this.#unknown(bytes.subarray(offset, offset + LONGEST_INSTRUCTION));
      }
      if (!this.#isInSegment(ripLow, length + decoded.length)) {
        if (last !== undefined) break;
        throw this.#state.exception(VECTOR.protection, 0);
      }
      operations.push(this.#compile(ripLow, ripHigh, length, decoded));
      length += decoded.length;
      offsets.push(length);
      last = decoded;
      if (endsBlock(decoded.form.semantics) || offset + length > 4095) break;
    }
    const part: Part = { view, offset, bytes: bytes.slice(offset, offset + length) };
    mmu.addCode(view);
    return this.#finish(ripLow, ripHigh, operations, offsets, last, [part]);
  }

  /** One instruction that begins in one page and ends in the next. */
  #acrossPages(ripLow: number, ripHigh: number, view: DataView): Block {
    const [low] = this.#linear(ripLow, ripHigh, 0);
    const inFirst = 4096 - (low & 4095);
    const [nextLow, nextHigh] = this.#linear(ripLow, ripHigh, inFirst);
    const next = this.#page(nextLow, nextHigh);
    const bytes = new Uint8Array(LONGEST_INSTRUCTION);
    bytes.set(new Uint8Array(view.buffer, view.byteOffset + (low & 4095), inFirst));
    bytes.set(new Uint8Array(next.buffer, next.byteOffset, LONGEST_INSTRUCTION - inFirst), inFirst);
    const decoded = decode(bytes, this.#state.codeBits);
    if (typeof decoded === 'string') return this.#unknown(bytes);
    if (!this.#isInSegment(ripLow, decoded.length)) throw this.#state.exception(VECTOR.protection, 0);
    const operation = this.#compile(ripLow, ripHigh, 0, decoded);
    this.#machine.mmu.addCode(view);
    this.#machine.mmu.addCode(next);
    return this.#finish(ripLow, ripHigh, [operation], [0, decoded.length], decoded, [
      { view, offset: low & 4095, bytes: bytes.slice(0, inFirst) },
      { view: next, offset: 0, bytes: bytes.slice(inFirst, decoded.length) },
    ]);
  }

  #finish(
    ripLow: number,
    ripHigh: number,
    operations: readonly Operation[],
    offsets: readonly number[],
    last: Instruction | undefined,
    parts: readonly Part[],
  ): Block {
    const first = parts[0]?.bytes ?? new Uint8Array();
    const words = new Int32Array(first.length >> 2);
    for (let i = 0; i < words.length; i++) words[i] = wordAt(first, 4 * i);
    return {
      ripLow,
      ripHigh,
      operations,
      offsets,
      setsRip: last !== undefined && setsRip(last.form.semantics),
      parts,
      words,
      codeSerial: this.#state.codeSerial,
      mmuSerial: this.#machine.mmu.serial,
    };
  }

  #isInSegment(ripLow: number, length: number): boolean {
    return this.#state.codeBits === 64 || (ripLow >>> 0) + length - 1 <= this.#state.segment(SEGMENT.cs).limit;
  }

  #compile(ripLow: number, ripHigh: number, by: number, instruction: Instruction): Operation {
    const sum = (ripLow >>> 0) + by + instruction.length;
    const nextHigh = this.#state.codeBits === 64 && sum > 0xffff_ffff ? (ripHigh + 1) | 0 : ripHigh;
    return compile({ machine: this.#machine, instruction, nextLow: sum | 0, nextHigh });
  }

  /** Never kept: it changes nothing and stops. */
  #unknown(bytes: Uint8Array): never {
    const state = this.#state;
    if (undefinedOpcode(bytes, state.codeBits)) throw state.exception(VECTOR.undefined);
    throw state.abandon({ kind: 'emulation', bytes: bytes.slice() });
  }
}

function wordAt(bytes: Uint8Array, index: number): number {
  const byte = (i: number): number => bytes[index + i] ?? 0;
  return byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
}

/** Compares the bytes every time: a host writes to guest memory without saying so. */
function isUnchanged(block: Block): boolean {
  const { words, parts } = block;
  const first = parts[0];
  if (first === undefined) return false;
  const { view, offset, bytes } = first;
  for (let i = 0; i < words.length; i++) {
    if (view.getInt32(offset + 4 * i, true) !== words[i]) return false;
  }
  for (let i = 4 * words.length; i < bytes.length; i++) {
    if (view.getUint8(offset + i) !== bytes[i]) return false;
  }
  const second = parts[1];
  if (second === undefined) return true;
  return second.bytes.every((byte, i) => second.view.getUint8(second.offset + i) === byte);
}
