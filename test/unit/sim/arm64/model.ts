/** What A64 instructions mean, written for reading: big numbers, straight from the manual's pseudocode. Nothing is shared with the vCPU. */
import { decode, type Instruction } from '../../../../lib/guest/a64/decode.ts';
import type { MemoryOperand, Operand } from '../../../../lib/guest/a64/operands.ts';

export interface ModelState {
  readonly x: bigint[];
  sp: bigint;
  n: boolean;
  z: boolean;
  c: boolean;
  v: boolean;
  pc: bigint;
  /** Guest memory. */
  readonly memory: DataView;
}

const uint = (value: bigint, bits: number): bigint => BigInt.asUintN(bits, value);
const sint = (value: bigint, bits: number): bigint => BigInt.asIntN(bits, value);
const ones = (bits: number): bigint => (1n << BigInt(bits)) - 1n;

function ror(value: bigint, by: number, bits: number): bigint {
  return uint((value >> BigInt(by)) | (value << BigInt(bits - by)), bits);
}

function readRegister(s: ModelState, index: number, bits: number, sp = false): bigint {
  if (index === 31) return sp ? uint(s.sp, bits) : 0n;
  return uint(s.x[index] ?? 0n, bits);
}

function writeRegister(s: ModelState, operand: Operand | undefined, value: bigint): void {
  if (operand?.kind !== 'register') throw new Error('no destination');
  const cut = uint(value, operand.bits);
  if (operand.index !== 31) s.x[operand.index] = cut;
  else if (operand.sp) s.sp = cut;
}

/** The number that an operand stands for. */
function read(s: ModelState, operand: Operand | undefined, bits: number): bigint {
  switch (operand?.kind) {
    case 'register':
      return readRegister(s, operand.index, operand.bits, operand.sp);
    case 'immediate':
      return uint(operand.value, bits);
    case 'shifted': {
      const value = readRegister(s, operand.index, bits);
      const by = operand.amount;
      if (operand.shift === 'lsl') return uint(value << BigInt(by), bits);
      if (operand.shift === 'lsr') return value >> BigInt(by);
      if (operand.shift === 'asr') return uint(sint(value, bits) >> BigInt(by), bits);
      return ror(value, by, bits);
    }
    case 'extended': {
      const size = { b: 8, h: 16, w: 32, x: 64 }[operand.extend.slice(3) as 'b' | 'h' | 'w' | 'x'];
      const value = readRegister(s, operand.index, 64);
      const extended = operand.extend.startsWith('s') ? sint(value, size) : uint(value, size);
      return uint(extended << BigInt(operand.amount), bits);
    }
    default:
      throw new Error(`no source: ${operand?.kind}`);
  }
}

function addWithCarry(s: ModelState, a: bigint, b: bigint, carry: bigint, bits: number, flags: boolean): bigint {
  const result = uint(a + b + carry, bits);
  if (flags) {
    s.n = sint(result, bits) < 0n;
    s.z = result === 0n;
    s.c = a + b + carry !== result;
    s.v = sint(a, bits) + sint(b, bits) + carry !== sint(result, bits);
  }
  return result;
}

function holds(s: ModelState, condition: string): boolean {
  switch (condition) {
    case 'eq':
      return s.z;
    case 'ne':
      return !s.z;
    case 'cs':
      return s.c;
    case 'cc':
      return !s.c;
    case 'mi':
      return s.n;
    case 'pl':
      return !s.n;
    case 'vs':
      return s.v;
    case 'vc':
      return !s.v;
    case 'hi':
      return s.c && !s.z;
    case 'ls':
      return !(s.c && !s.z);
    case 'ge':
      return s.n === s.v;
    case 'lt':
      return s.n !== s.v;
    case 'gt':
      return s.n === s.v && !s.z;
    case 'le':
      return !(s.n === s.v && !s.z);
    default:
      return true;
  }
}

/** DecodeBitMasks for bit fields: which bits of the result come from the source, and up to where it reaches. */
function bitfield(s: ModelState, { form, operands }: Instruction): bigint {
  const { bits } = form;
  const from = read(s, operands[1], bits);
  const [rotate, last] = [Number(read(s, operands[2], 64)), Number(read(s, operands[3], 64))];
  let result = form.mnemonic === 'bfm' ? read(s, operands[0], bits) : 0n;
  const width = last >= rotate ? last - rotate + 1 : last + 1;
  const place = last >= rotate ? 0 : bits - rotate;
  const field = (from >> BigInt(last >= rotate ? rotate : 0)) & ones(width);
  result = (result & ~(ones(width) << BigInt(place))) | (field << BigInt(place));
  const negative = ((from >> BigInt(last)) & 1n) === 1n;
  if (form.mnemonic === 'sbfm' && negative) result |= ones(bits) & ~ones(place + width);
  return uint(result, bits);
}

function reverse(value: bigint, bits: number, unit: number, group: number): bigint {
  let result = 0n;
  for (let at = 0; at < bits; at += unit) {
    const inGroup = at % group;
    const to = at - inGroup + (group - unit - inGroup);
    result |= ((value >> BigInt(at)) & ones(unit)) << BigInt(to);
  }
  return result;
}

function leadingZeros(value: bigint, bits: number): bigint {
  let count = 0;
  while (count < bits && ((value >> BigInt(bits - 1 - count)) & 1n) === 0n) count++;
  return BigInt(count);
}

/** The address of an access; the base is changed as the addressing mode says. */
function address(s: ModelState, memory: MemoryOperand): bigint {
  const base = readRegister(s, memory.base, 64, true);
  if (memory.index !== undefined) return uint(base + read(s, memory.index, 64), 64);
  const sum = uint(base + BigInt(memory.offset), 64);
  if (memory.indexing !== 'offset') {
    if (memory.base === 31) s.sp = sum;
    else s.x[memory.base] = sum;
  }
  return memory.indexing === 'post' ? base : sum;
}

function loadBytes(s: ModelState, at: bigint, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(s.memory.getUint8(Number(at) + i));
  return value;
}

function storeBytes(s: ModelState, at: bigint, size: number, value: bigint): void {
  for (let i = 0; i < size; i++) s.memory.setUint8(Number(at) + i, Number((value >> BigInt(8 * i)) & 0xffn));
}

function access(s: ModelState, { form, operands }: Instruction): void {
  const pair = form.semantics.endsWith('-pair');
  const registers = operands.slice(0, pair ? 2 : 1);
  const memory = operands[pair ? 2 : 1];
  if (memory?.kind !== 'memory' || form.access === undefined) throw new Error('no address');
  const { size, signed } = form.access;
  const values = registers.map((operand) => read(s, operand, 64));
  const at = address(s, memory);
  registers.forEach((operand, i) => {
    const place = at + BigInt(i * size);
    if (form.semantics.startsWith('store')) storeBytes(s, place, size, values[i] ?? 0n);
    else {
      const value = loadBytes(s, place, size);
      writeRegister(s, operand, signed ? sint(value, 8 * size) : value);
    }
  });
}

function compute(s: ModelState, instruction: Instruction): bigint | undefined {
  const { form, operands } = instruction;
  const { bits, mnemonic } = form;
  const a = (): bigint => read(s, operands[1], bits);
  const b = (): bigint => read(s, operands[2], bits);
  const inverted = (): bigint => uint(~b(), bits);
  const carry = s.c ? 1n : 0n;
  const by = (): number => Number(b() % BigInt(bits));
  const logic = (value: bigint, flags: boolean): bigint => {
    if (flags) [s.n, s.z, s.c, s.v] = [sint(value, bits) < 0n, value === 0n, false, false];
    return value;
  };
  const long = (index: number): bigint => {
    const value = read(s, operands[index], 32);
    return mnemonic.startsWith('s') ? sint(value, 32) : value;
  };
  const chosen = (): boolean => operands[3]?.kind === 'condition' && holds(s, operands[3].condition);
  switch (mnemonic) {
    case 'add':
      return addWithCarry(s, a(), b(), 0n, bits, false);
    case 'adds':
      return addWithCarry(s, a(), b(), 0n, bits, true);
    case 'sub':
      return addWithCarry(s, a(), inverted(), 1n, bits, false);
    case 'subs':
      return addWithCarry(s, a(), inverted(), 1n, bits, true);
    case 'adc':
      return addWithCarry(s, a(), b(), carry, bits, false);
    case 'adcs':
      return addWithCarry(s, a(), b(), carry, bits, true);
    case 'sbc':
      return addWithCarry(s, a(), inverted(), carry, bits, false);
    case 'sbcs':
      return addWithCarry(s, a(), inverted(), carry, bits, true);
    case 'and':
      return a() & b();
    case 'ands':
      return logic(a() & b(), true);
    case 'bic':
      return a() & inverted();
    case 'bics':
      return logic(a() & inverted(), true);
    case 'orr':
      return a() | b();
    case 'orn':
      return a() | inverted();
    case 'eor':
      return a() ^ b();
    case 'eon':
      return a() ^ inverted();
    case 'movz':
      return a() << b();
    case 'movn':
      return ~(a() << b());
    case 'movk':
      return (read(s, operands[0], bits) & ~(0xffffn << b())) | (a() << b());
    case 'ubfm':
    case 'sbfm':
    case 'bfm':
      return bitfield(s, instruction);
    case 'extr':
      return ((a() << BigInt(bits)) | b()) >> read(s, operands[3], 64);
    case 'lslv':
      return a() << BigInt(by());
    case 'lsrv':
      return a() >> BigInt(by());
    case 'asrv':
      return sint(a(), bits) >> BigInt(by());
    case 'rorv':
      return ror(a(), by(), bits);
    case 'madd':
      return read(s, operands[3], bits) + a() * b();
    case 'msub':
      return read(s, operands[3], bits) - a() * b();
    case 'smaddl':
    case 'umaddl':
      return read(s, operands[3], 64) + long(1) * long(2);
    case 'smsubl':
    case 'umsubl':
      return read(s, operands[3], 64) - long(1) * long(2);
    case 'smulh':
      return (sint(a(), 64) * sint(b(), 64)) >> 64n;
    case 'umulh':
      return (a() * b()) >> 64n;
    case 'udiv':
      return b() === 0n ? 0n : a() / b();
    case 'sdiv':
      return b() === 0n ? 0n : sint(a(), bits) / sint(b(), bits);
    case 'rbit':
      return reverse(a(), bits, 1, bits);
    case 'rev16':
      return reverse(a(), bits, 8, 16);
    case 'rev32':
      return reverse(a(), bits, 8, 32);
    case 'rev':
      return reverse(a(), bits, 8, bits);
    case 'clz':
      return leadingZeros(a(), bits);
    case 'cls': {
      const same = sint(a(), bits) < 0n ? uint(~a(), bits) : a();
      return leadingZeros(same, bits) - 1n;
    }
    case 'csel':
      return chosen() ? a() : b();
    case 'csinc':
      return chosen() ? a() : b() + 1n;
    case 'csinv':
      return chosen() ? a() : ~b();
    case 'csneg':
      return chosen() ? a() : -b();
    case 'adr':
    case 'adrp': {
      const [, operand] = operands;
      if (operand?.kind !== 'relative') throw new Error('no distance');
      return (mnemonic === 'adrp' ? s.pc & ~0xfffn : s.pc) + BigInt(operand.displacement);
    }
    default:
      return undefined;
  }
}

function conditionalCompare(s: ModelState, { form, operands }: Instruction): void {
  const [n, m, nzcv, condition] = operands;
  if (condition?.kind !== 'condition' || nzcv?.kind !== 'immediate') throw new Error('no condition');
  if (!holds(s, condition.condition)) {
    const flags = Number(nzcv.value);
    [s.n, s.z, s.c, s.v] = [(flags & 8) !== 0, (flags & 4) !== 0, (flags & 2) !== 0, (flags & 1) !== 0];
    return;
  }
  const { bits } = form;
  const b = read(s, m, bits);
  if (form.mnemonic === 'ccmn') addWithCarry(s, read(s, n, bits), b, 0n, bits, true);
  else addWithCarry(s, read(s, n, bits), uint(~b, bits), 1n, bits, true);
}

/** Where a branch leads, or undefined when it is not taken or none. */
function branch(s: ModelState, { form, operands }: Instruction): bigint | undefined {
  const distance = operands.find((operand) => operand.kind === 'relative');
  const there = distance?.kind === 'relative' ? uint(s.pc + BigInt(distance.displacement), 64) : s.pc;
  const tested = (): bigint => read(s, operands[0], form.bits);
  const bit = (): boolean => ((tested() >> read(s, operands[1], 64)) & 1n) === 1n;
  switch (form.mnemonic) {
    case 'b':
      return there;
    case 'bl':
      s.x[30] = s.pc + 4n;
      return there;
    case 'b.cond':
      return operands[0]?.kind === 'condition' && holds(s, operands[0].condition) ? there : undefined;
    case 'cbz':
      return tested() === 0n ? there : undefined;
    case 'cbnz':
      return tested() !== 0n ? there : undefined;
    case 'tbz':
      return bit() ? undefined : there;
    case 'tbnz':
      return bit() ? there : undefined;
    default:
      return undefined;
  }
}

/** Executes one word. */
export function step(s: ModelState, word: number): void {
  const instruction = decode(word);
  if (instruction === undefined) throw new Error(`0x${word.toString(16)} is not in the table`);
  const { semantics, mnemonic } = instruction.form;
  const value = compute(s, instruction);
  let next = s.pc + 4n;
  if (value !== undefined) writeRegister(s, instruction.operands[0], value);
  else if (/^(load|store)/.test(semantics)) access(s, instruction);
  else if (mnemonic === 'ccmp' || mnemonic === 'ccmn') conditionalCompare(s, instruction);
  else next = branch(s, instruction) ?? next;
  s.pc = next;
}
