import type {
  AccessSize,
  BinaryOperation,
  CodeGenerator,
  CodeLabel,
  MismatchSlots,
  Relation,
  Source,
} from '../generator.ts';
import { formatHex } from '../numbers.ts';
import type { PatternUnits } from '../pattern.ts';
import { EXCEPTION_TAGS, HALT_TAG, reportAddress } from '../report.ts';
import { Assembler, Label } from './assembler.ts';
import type { Condition, Register } from './operands.ts';

const CONDITION: Readonly<Record<Relation, Condition>> = { eq: 'eq', ne: 'ne', lt: 'cc', le: 'ls', gt: 'hi', ge: 'cs' };
const FRAME: Register = 'x28';
const FRAME_ALIGNMENT = 4096;
const MAX_SLOTS = 1 << 20;
/** Slots that a load with a number as offset reaches. */
const NEAR_SLOTS = 4096;
/** SMCCC: x0 has the function, x1 to x6 its parameters. */
const PARAMETERS = ['x1', 'x2', 'x3', 'x4', 'x5', 'x6'] as const;

const VECTOR_TABLE = 2048;
const VECTORS = 16;
const VECTOR_SIZE = 128;

/** A64 code without translation of addresses. x28 holds the frame all the time; every operation may use all other registers. */
export class A64Generator implements CodeGenerator {
  readonly assembler: Assembler;
  readonly #frame: Label;
  readonly #vectors: Label;
  readonly #reportGpa: number;

  constructor(base: number, reportGpa: number) {
    this.assembler = new Assembler(base);
    this.#reportGpa = reportGpa;
    this.#frame = this.assembler.label('frame');
    this.#vectors = this.assembler.label('vectors');
    // Without a table of its own an exception would go to whatever the host left at gpa 0, and most often round in circles there.
    this.assembler.adr('x0', this.#vectors).msr('vbar_el1', 'x0').isb().adr(FRAME, this.#frame);
  }

  get offset(): number {
    return this.assembler.offset;
  }

  label(name: string): Label {
    return this.assembler.label(name);
  }

  bind(label: CodeLabel): void {
    this.assembler.bind(own(label));
  }

  get(register: Register, source: Source): this {
    if ('slot' in source) this.#slot('ldr', register, source.slot);
    else this.assembler.mov(register, source.constant);
    return this;
  }

  put(to: number, register: Register): void {
    this.#slot('str', register, to);
  }

  #slot(access: 'ldr' | 'str', register: Register, slot: number): void {
    const a = this.assembler;
    if (slot < NEAR_SLOTS) a[access](register, { base: FRAME, offset: 8 * slot });
    else a.mov('x9', slot)[access](register, { base: FRAME, index: 'x9', amount: 3 });
  }

  move(to: number, from: Source): void {
    this.get('x0', from).put(to, 'x0');
  }

  load(to: number, address: Source, size: AccessSize): void {
    aligned(address, size, 'load');
    this.get('x1', address).#loadUnit('x0', size);
    this.put(to, 'x0');
  }

  /** From x1. Plain addressing throughout: only such accesses tell KVM what they are when there is no memory. */
  #loadUnit(register: 'x0' | 'x4', size: AccessSize): void {
    const a = this.assembler;
    const low = register === 'x0' ? 'w0' : 'w4';
    if (size === 8) a.ldr(register, { base: 'x1' });
    else if (size === 4) a.ldr(low, { base: 'x1' });
    else if (size === 2) a.ldrh(low, { base: 'x1' });
    else a.ldrb(low, { base: 'x1' });
  }

  /** x0, or its lower part, to the address in x1. */
  #storeUnit(size: AccessSize): void {
    const a = this.assembler;
    if (size === 8) a.str('x0', { base: 'x1' });
    else if (size === 4) a.str('w0', { base: 'x1' });
    else if (size === 2) a.strh('w0', { base: 'x1' });
    else a.strb('w0', { base: 'x1' });
  }

  store(address: Source, value: Source, size: AccessSize): void {
    aligned(address, size, 'store');
    this.get('x0', value).get('x1', address).#storeUnit(size);
  }

  binary(operation: BinaryOperation, to: number, left: Source, right: Source): void {
    const a = this.get('x0', left).get('x1', right).assembler;
    if (operation === 'mul') a.mul('x0', 'x0', 'x1');
    else if (operation === 'shl') a.lslv('x0', 'x0', 'x1');
    else if (operation === 'shr') a.lsrv('x0', 'x0', 'x1');
    else if (operation === 'or') a.orr('x0', 'x0', 'x1');
    else if (operation === 'xor') a.eor('x0', 'x0', 'x1');
    else a[operation]('x0', 'x0', 'x1');
    this.put(to, 'x0');
  }

  jump(label: CodeLabel): void {
    this.assembler.b(own(label));
  }

  branch(relation: Relation, left: Source, right: Source, label: CodeLabel): void {
    this.get('x0', left).get('x1', right).assembler.cmp('x0', 'x1').bcond(CONDITION[relation], own(label));
  }

  fill(address: Source, length: Source, { unit, byAddress, value }: PatternUnits): void {
    aligned(address, unit, 'fill');
    this.get('x1', address).get('x3', { constant: value });
    if (!byAddress) this.assembler.mov('x0', 'x3');
    this.#eachUnit(length, unit, () => {
      if (byAddress) this.assembler.eor('x0', 'x1', 'x3');
      this.#storeUnit(unit);
    });
  }

  /** Counts in x2, with x1 going from unit to unit. */
  #eachUnit(length: Source, unit: 1 | 8, body: () => void): void {
    const a = this.assembler;
    const [again, done] = [a.label('again'), a.label('done')];
    this.#count(length, unit);
    a.cbz('x2', done).bind(again);
    body();
    a.add('x1', 'x1', unit).sub('x2', 'x2', 1).cbnz('x2', again).bind(done);
  }

  check(address: Source, length: Source, pattern: PatternUnits, passed: CodeLabel, mismatch: MismatchSlots): void {
    const { unit, byAddress, value } = pattern;
    aligned(address, unit, 'check');
    const a = this.get('x1', address).get('x3', { constant: value }).assembler;
    const differs = a.label('differs');
    if (!byAddress) a.mov('x0', 'x3');
    // Each unit is read once and compared in a register: what is reported is what was read, even if it changes meanwhile.
    this.#eachUnit(length, unit, () => {
      if (byAddress) a.eor('x0', 'x1', 'x3');
      this.#loadUnit('x4', unit);
      a.cmp('x4', 'x0').bcond('ne', differs);
    });
    a.b(own(passed)).bind(differs);
    this.put(mismatch.gpa, 'x1');
    this.put(mismatch.expected, 'x0');
    this.put(mismatch.actual, 'x4');
  }

  checksum(to: number, address: Source, length: Source): void {
    aligned(address, 8, 'checksum');
    const a = this.get('x1', address).assembler.mov('x3', 0);
    this.#eachUnit(length, 8, () => {
      a.ldr('x0', { base: 'x1' }).add('x3', 'x3', 'x0');
    });
    this.put(to, 'x3');
  }

  copy(to: Source, from: Source, length: Source): void {
    const unit = [to, from, length].every((source) => 'constant' in source && source.constant % 8n === 0n) ? 8 : 1;
    this.get('x5', to).get('x1', from);
    this.#eachUnit(length, unit, () => {
      this.#loadUnit('x0', unit);
      const a = this.assembler;
      if (unit === 8) a.str('x0', { base: 'x5' });
      else a.strb('w0', { base: 'x5' });
      a.add('x5', 'x5', unit);
    });
  }

  fetchAdd(old: number, address: Source, value: Source): void {
    aligned(address, 8, 'fetchAdd');
    const a = this.get('x1', address).get('x2', value).assembler;
    const again = a.label('again');
    a.bind(again).ldaxr('x0', { base: 'x1' }).add('x3', 'x0', 'x2').stlxr('w4', 'x3', { base: 'x1' }).cbnz('w4', again);
    this.put(old, 'x0');
  }

  compareExchange(old: number, address: Source, expected: Source, desired: Source): void {
    aligned(address, 8, 'compareExchange');
    const a = this.get('x1', address).get('x2', expected).get('x3', desired).assembler;
    const [again, done] = [a.label('again'), a.label('done')];
    a.bind(again).ldaxr('x0', { base: 'x1' }).cmp('x0', 'x2').bcond('ne', done);
    a.stlxr('w4', 'x3', { base: 'x1' }).cbnz('w4', again).bind(done);
    this.put(old, 'x0');
  }

  hypercall(result: number, number: bigint, parameters: readonly Source[]): void {
    if (parameters.length > PARAMETERS.length) throw new RangeError('a hypercall has at most 6 parameters on arm64');
    for (const [i, register] of PARAMETERS.entries()) this.get(register, parameters[i] ?? { constant: 0n });
    this.get('x0', { constant: number }).assembler.hvc(0);
    this.put(result, 'x0');
  }

  fence(): void {
    this.assembler.dmb();
  }

  pause(): void {
    this.assembler.yield();
  }

  /** Without an interrupt controller a vCPU that waits for interrupts waits in the kernel for ever; a store leaves it. */
  halt(): void {
    const a = this.assembler;
    const again = a.label('again');
    a.mov('x1', reportAddress(HALT_TAG, this.#reportGpa));
    // Whoever runs the vCPU again gets the same answer instead of whatever lies behind the program.
    a.bind(again).str('xzr', { base: 'x1' }).b(again);
  }

  finish(slots: number): { code: Uint8Array; frameOffset: number; frameSize: number } {
    if (slots > MAX_SLOTS)
      throw new RangeError(`the program keeps ${formatHex(slots)} values; ${MAX_SLOTS} is the most`);
    const { assembler } = this;
    this.#exceptions();
    const end = assembler.base + assembler.offset;
    this.#frame.offset = Math.ceil(end / FRAME_ALIGNMENT) * FRAME_ALIGNMENT - assembler.base;
    return { code: assembler.bytes(), frameOffset: this.#frame.offset, frameSize: 8 * slots };
  }

  /** Any exception is told to the host and ends the program. */
  #exceptions(): void {
    const a = this.assembler;
    const handler = a.label('exception');
    a.bind(handler);
    for (const [register, tag] of [
      ['esr_el1', EXCEPTION_TAGS.SYNDROME],
      ['elr_el1', EXCEPTION_TAGS.PC],
      ['far_el1', EXCEPTION_TAGS.ADDRESS],
    ] as const) {
      a.mrs('x0', register).mov('x1', reportAddress(tag, this.#reportGpa)).str('x0', { base: 'x1' });
    }
    this.halt();
    a.align(VECTOR_TABLE).bind(this.#vectors);
    for (let i = 0; i < VECTORS; i++) {
      const next = a.offset + VECTOR_SIZE;
      a.b(handler);
      // The last entry needs no room behind it.
      while (i < VECTORS - 1 && a.offset < next) a.word(0);
    }
  }

  /** x2 = number of units in `length` bytes. */
  #count(length: Source, unit: 1 | 8): void {
    if ('constant' in length) this.get('x2', { constant: length.constant / BigInt(unit) });
    else {
      this.get('x2', length);
      if (unit === 8) this.assembler.lsr('x2', 'x2', 3);
    }
  }
}

/** Memory is Device memory to a processor without translation: unaligned accesses are faults. Only known addresses can be judged here. */
function aligned(address: Source, size: number, what: string): void {
  if (!('constant' in address) || address.constant % BigInt(size) === 0n) return;
  throw new RangeError(
    `${what} gpa: ${formatHex(address.constant)} is no multiple of ${size}, as arm64 guests without translation need`,
  );
}

function own(label: CodeLabel): Label {
  if (!(label instanceof Label)) throw new TypeError('this label belongs to another code generator');
  return label;
}
