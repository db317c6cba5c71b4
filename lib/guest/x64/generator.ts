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
import { END_PORT, type GuestTechnology } from '../technology.ts';
import type { Memory } from './assembler.ts';
import { Assembler, Label } from './assembler.ts';
import type { Bits, Condition, Register64 } from './operands.ts';
import { registerGhcb, tdvmcall } from './secure.ts';

/** The instruction that traps to KVM: Intel processors know the first, AMD processors the second. */
export type HypercallInstruction = 'vmcall' | 'vmmcall';

const CONDITION: Readonly<Record<Relation, Condition>> = { eq: 'e', ne: 'ne', lt: 'b', le: 'be', gt: 'a', ge: 'ae' };
const HYPERCALL_PARAMETERS: readonly Register64[] = ['rbx', 'rcx', 'rdx', 'rsi'];
/** TDG.VP.VMCALL<Instruction.IO>. */
const TDVMCALL_IO = 30;
const FRAME_ALIGNMENT = 4096;
/** Larger frames would need addresses beyond a signed 32-bit displacement; nothing sensible comes near. */
const MAX_SLOTS = 1 << 20;

/** 64-bit code. rbp holds the frame all the time; every operation may use all other registers. */
export class X64Generator implements CodeGenerator {
  readonly assembler: Assembler;
  readonly #hypercall: HypercallInstruction;
  readonly #technology: GuestTechnology;
  readonly #frame: Label;

  constructor(base: number, hypercall: HypercallInstruction, technology: GuestTechnology = 'none') {
    this.#technology = technology;
    this.assembler = new Assembler(64, base);
    this.#hypercall = hypercall;
    this.#frame = this.assembler.label('frame');
    // String instructions count upwards only when told; the state at entry is the host's business, so say it.
    this.assembler.cld().mov('rbp', this.#frame);
    if (technology === 'sev-snp') registerGhcb(this.assembler);
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

  /** Loads a register in the shortest way. */
  get(register: Register64, source: Source): this {
    const a = this.assembler;
    if ('slot' in source) a.mov(register, slot(source.slot));
    // A 32-bit move clears the upper half.
    else if (source.constant < 1n << 32n) a.mov(LOW_HALF[register] ?? register, source.constant);
    else a.mov(register, source.constant);
    return this;
  }

  put(to: number, register: Register64): void {
    this.assembler.mov(slot(to), register);
  }

  move(to: number, from: Source): void {
    this.get('rax', from).put(to, 'rax');
  }

  load(to: number, address: Source, size: AccessSize): void {
    const a = this.get('rsi', address).assembler;
    const memory: Memory = { base: 'rsi', size };
    if (size === 8) a.mov('rax', memory);
    else if (size === 4) a.mov('eax', memory);
    else a.movzx('eax', memory);
    this.put(to, 'rax');
  }

  store(address: Source, value: Source, size: AccessSize): void {
    const register = ({ 1: 'al', 2: 'ax', 4: 'eax', 8: 'rax' } as const)[size];
    this.get('rax', value).get('rdi', address).assembler.mov({ base: 'rdi' }, register);
  }

  binary(operation: BinaryOperation, to: number, left: Source, right: Source): void {
    const a = this.get('rax', left).get('rcx', right).assembler;
    if (operation === 'mul') a.imul('rax', 'rcx');
    else if (operation === 'shl' || operation === 'shr') a[operation]('rax', 'cl');
    else a[operation]('rax', 'rcx');
    this.put(to, 'rax');
  }

  jump(label: CodeLabel): void {
    this.assembler.jmp(own(label));
  }

  branch(relation: Relation, left: Source, right: Source, label: CodeLabel): void {
    const a = this.get('rax', left).get('rcx', right).assembler;
    a.cmp('rax', 'rcx').jcc(CONDITION[relation], own(label));
  }

  fill(address: Source, length: Source, pattern: PatternUnits): void {
    const a = this.get('rdi', address).assembler;
    this.#count(length, pattern.unit);
    if (!pattern.byAddress) {
      this.get('rax', { constant: pattern.value });
      a.stos(bitsOf(pattern.unit), 'rep');
      return;
    }
    const [again, done] = [a.label(), a.label()];
    this.get('rbx', { constant: pattern.value });
    a.test('rcx', 'rcx').jcc('e', done);
    a.bind(again).mov('rax', 'rdi').xor('rax', 'rbx').stos(64).loop(again).bind(done);
  }

  check(address: Source, length: Source, pattern: PatternUnits, passed: CodeLabel, mismatch: MismatchSlots): void {
    const a = this.get('rsi', address).assembler;
    const again = a.label();
    this.#count(length, pattern.unit);
    this.get('rbx', { constant: pattern.value });
    a.xor('eax', 'eax').mov('rdx', 'rbx');
    a.test('rcx', 'rcx').jcc('e', own(passed));
    // Each unit is read once and compared in a register: what is reported is what was read, even if it changes meanwhile.
    a.bind(again);
    if (pattern.byAddress) a.mov('rdx', 'rsi').xor('rdx', 'rbx');
    a.lods(bitsOf(pattern.unit)).cmp('rax', 'rdx').loope(again);
    a.jcc('e', own(passed)).sub('rsi', pattern.unit);
    this.put(mismatch.gpa, 'rsi');
    this.put(mismatch.expected, 'rdx');
    this.put(mismatch.actual, 'rax');
  }

  checksum(to: number, address: Source, length: Source): void {
    const a = this.get('rsi', address).assembler;
    const [again, done] = [a.label(), a.label()];
    this.#count(length, 8);
    a.xor('ebx', 'ebx').test('rcx', 'rcx').jcc('e', done);
    a.bind(again).lods(64).add('rbx', 'rax').loop(again).bind(done);
    this.put(to, 'rbx');
  }

  copy(to: Source, from: Source, length: Source): void {
    this.get('rdi', to).get('rsi', from);
    const words = 'constant' in length && length.constant % 8n === 0n;
    this.#count(length, words ? 8 : 1);
    this.assembler.movs(words ? 64 : 8, 'rep');
  }

  fetchAdd(old: number, address: Source, value: Source): void {
    this.get('rax', value).get('rdi', address).assembler.lock().xadd({ base: 'rdi' }, 'rax');
    this.put(old, 'rax');
  }

  compareExchange(old: number, address: Source, expected: Source, desired: Source): void {
    this.get('rax', expected).get('rcx', desired).get('rdi', address);
    this.assembler.lock().cmpxchg({ base: 'rdi' }, 'rcx');
    this.put(old, 'rax');
  }

  hypercall(result: number, number: bigint, parameters: readonly Source[]): void {
    if (parameters.length > HYPERCALL_PARAMETERS.length) throw new RangeError('a hypercall has at most 4 parameters');
    for (const [i, register] of HYPERCALL_PARAMETERS.entries()) {
      this.get(register, parameters[i] ?? { constant: 0n });
    }
    this.get('rax', { constant: number }).assembler[this.#hypercall]();
    this.put(result, 'rax');
  }

  fence(): void {
    this.assembler.mfence();
  }

  pause(): void {
    this.assembler.pause();
  }

  halt(): void {
    const again = this.assembler.label();
    // Whoever runs the vCPU again gets the same answer instead of whatever lies behind the program.
    if (this.#technology === 'tdx') {
      const a = this.assembler.bind(again).mov('r12d', 1).mov('r13d', 1).mov('r14d', END_PORT).xor('r15d', 'r15d');
      tdvmcall(a, TDVMCALL_IO).jmp(again);
      return;
    }
    this.assembler.bind(again).hlt().jmp(again);
  }

  finish(slots: number): { code: Uint8Array; frameOffset: number; frameSize: number } {
    if (slots > MAX_SLOTS)
      throw new RangeError(`the program keeps ${formatHex(slots)} values; ${MAX_SLOTS} is the most`);
    const { assembler } = this;
    // Writing next to running code makes processors start over; a page of its own keeps the frame out of the way.
    const end = assembler.base + assembler.offset;
    this.#frame.offset = Math.ceil(end / FRAME_ALIGNMENT) * FRAME_ALIGNMENT - assembler.base;
    return { code: assembler.bytes(), frameOffset: this.#frame.offset, frameSize: 8 * slots };
  }

  /** rcx = number of units in `length` bytes. */
  #count(length: Source, unit: 1 | 8): void {
    if ('constant' in length) this.get('rcx', { constant: length.constant / BigInt(unit) });
    else {
      this.get('rcx', length);
      if (unit === 8) this.assembler.shr('rcx', 3);
    }
  }
}

const LOW_HALF: Partial<Record<Register64, 'eax' | 'ecx' | 'edx' | 'ebx' | 'esi' | 'edi'>> = {
  rax: 'eax',
  rcx: 'ecx',
  rdx: 'edx',
  rbx: 'ebx',
  rsi: 'esi',
  rdi: 'edi',
};

function slot(index: number): Memory {
  return { base: 'rbp', disp: 8 * index };
}

function bitsOf(unit: 1 | 8): Bits {
  return unit === 8 ? 64 : 8;
}

function own(label: CodeLabel): Label {
  if (!(label instanceof Label)) throw new TypeError('this label belongs to another code generator');
  return label;
}
