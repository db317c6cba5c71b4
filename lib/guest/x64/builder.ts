import { GuestBuilder } from '../builder.ts';
import type { ProgramFrame } from '../frame.ts';
import type { Integer } from '../numbers.ts';
import { toUnsigned } from '../numbers.ts';
import type { Operand, Value } from '../value.ts';
import type { Assembler } from './assembler.ts';
import type { X64Generator } from './generator.ts';
import type { Register64 } from './operands.ts';

export interface CpuidValues {
  readonly eax: Value;
  readonly ebx: Value;
  readonly ecx: Value;
  readonly edx: Value;
}

export interface MapGpaRangeOptions {
  /** The state that the range shall have. */
  readonly private: boolean;
  /** Preferred page size, a hint for the host (default 4K). */
  readonly size?: '4K' | '2M' | '1G';
  /** Further attribute bits, passed on unchanged. */
  readonly attributes?: Integer;
}

const MAP_GPA_RANGE = 12n;
const PAGE_SIZE_BITS = { '4K': 0n, '2M': 1n, '1G': 2n } as const;
const ATTRIBUTE_PRIVATE = 0x10n;
type PortSize = 1 | 2 | 4;
const ACCUMULATOR = { 1: 'al', 2: 'ax', 4: 'eax' } as const;

/** The operations of x86-64 guests: everything of {@link GuestBuilder}, ports, MSRs, CPUID and plain instructions. */
export class X64Builder extends GuestBuilder {
  readonly #generator: X64Generator;

  constructor(frame: ProgramFrame, reportGpa: number, generator: X64Generator) {
    super(frame, reportGpa);
    this.#generator = generator;
  }

  /** Asks the host to make `pages` 4 KiB pages private or shared (KVM_HC_MAP_GPA_RANGE); 0 means done. */
  mapGpaRange(gpa: Operand, pages: Operand, options: MapGpaRangeOptions): Value {
    const size = PAGE_SIZE_BITS[options.size ?? '4K'];
    const attributes = size | (options.private ? ATTRIBUTE_PRIVATE : 0n) | BigInt(options.attributes ?? 0);
    return this.hypercall(MAP_GPA_RANGE, gpa, pages, attributes);
  }

  /** Writes the low `size` bytes (default 4) to an I/O port: a KVM_EXIT_IO. */
  out(port: Integer, value: Operand, size: PortSize = 4): void {
    const number = toUnsigned(port, 16, 'out port');
    const source = this.frame.source(value, 'out value');
    this.frame.note(`out port 0x${number.toString(16)}`);
    const a = this.#generator.get('rax', source).assembler;
    a.mov('edx', number).out('dx', ACCUMULATOR[size]);
  }

  /** Reads `size` bytes (default 4) from an I/O port, zero-extended: a KVM_EXIT_IO that the host answers. */
  in(port: Integer, size: PortSize = 4): Value {
    const number = toUnsigned(port, 16, 'in port');
    this.frame.note(`in port 0x${number.toString(16)}`);
    this.#asm.xor('eax', 'eax').mov('edx', number).in(ACCUMULATOR[size], 'dx');
    return this.#keep('rax');
  }

  /** Values of 32 bits, zero-extended. */
  cpuid(leaf: Integer, subleaf: Integer = 0): CpuidValues {
    const [eax, ecx] = [toUnsigned(leaf, 32, 'cpuid leaf'), toUnsigned(subleaf, 32, 'cpuid subleaf')];
    this.frame.note(`cpuid 0x${eax.toString(16)}`);
    this.#asm.mov('eax', eax).mov('ecx', ecx).cpuid();
    return { eax: this.#keep('rax'), ebx: this.#keep('rbx'), ecx: this.#keep('rcx'), edx: this.#keep('rdx') };
  }

  readMsr(index: Integer): Value {
    const number = toUnsigned(index, 32, 'readMsr index');
    this.frame.note(`readMsr 0x${number.toString(16)}`);
    this.#asm.mov('ecx', number).rdmsr().shl('rdx', 32).or('rax', 'rdx');
    return this.#keep('rax');
  }

  writeMsr(index: Integer, value: Operand): void {
    const number = toUnsigned(index, 32, 'writeMsr index');
    const source = this.frame.source(value, 'writeMsr value');
    this.frame.note(`writeMsr 0x${number.toString(16)}`);
    const a = this.#generator.get('rax', source).assembler;
    a.mov('rdx', 'rax').shr('rdx', 32).mov('ecx', number).wrmsr();
  }

  /**
   * Instructions written by hand. rbp must keep its value and the direction flag must stay clear; all other registers
   * are free, and nothing is in them before.
   */
  asm(write: (assembler: Assembler) => void): void {
    this.frame.note('asm');
    write(this.#asm);
  }

  /** The assembler, as long as the program is being written. */
  get #asm(): Assembler {
    // Asking the frame first gives the same error as every other operation after the end.
    void this.frame.code;
    return this.#generator.assembler;
  }

  #keep(register: Register64): Value {
    const value = this.frame.newValue();
    this.#generator.put(value.slot, register);
    return value;
  }
}
