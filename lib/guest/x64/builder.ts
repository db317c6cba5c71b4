import { GuestBuilder } from '../builder.ts';
import type { ProgramFrame } from '../frame.ts';
import type { Integer } from '../numbers.ts';
import { toGpa, toUnsigned } from '../numbers.ts';
import { reportAddress } from '../report.ts';
import { type GuestTechnology, SHARED_ALIAS, SIDE_BIT } from '../technology.ts';
import { type Operand, Value } from '../value.ts';
import type { Assembler } from './assembler.ts';
import type { X64Generator } from './generator.ts';
import type { Register64 } from './operands.ts';
import { exchange, ghcbWrite, msrProtocol, tdvmcall } from './secure.ts';

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
const PAGE = 4096n;
const SHARED = 1n << BigInt(SIDE_BIT.tdx?.bit ?? 0);
/** GHCB MSR: page state change. */
const PAGE_STATE = 0x014n;
const NO_UPDATE = 255;
const TDVMCALL = { mmio: 48, mapGpa: 0x1_0001 } as const;
const TDCALL_ACCEPT = 6;

type PortSize = 1 | 2 | 4;
const ACCUMULATOR = { 1: 'al', 2: 'ax', 4: 'eax' } as const;

/** The operations of x86-64 guests: everything of {@link GuestBuilder}, ports, MSRs, CPUID and plain instructions. */
export class X64Builder extends GuestBuilder {
  readonly #generator: X64Generator;
  readonly #technology: GuestTechnology;

  constructor(frame: ProgramFrame, reportGpa: number, generator: X64Generator, technology: GuestTechnology = 'none') {
    super(frame, reportGpa);
    this.#generator = generator;
    this.#technology = technology;
  }

  /** Sealed guests cannot write where there is no memory: they hand over what they would have written. */
  protected override send(tag: number, value: Operand): void {
    if (this.#technology !== 'tdx' && this.#technology !== 'sev-es' && this.#technology !== 'sev-snp') {
      super.send(tag, value);
      return;
    }
    const gpa = BigInt(reportAddress(tag, this.reportGpa));
    const a = this.#generator.get('rax', this.frame.source(value, 'report')).assembler;
    if (this.#technology !== 'tdx') {
      ghcbWrite(a, gpa);
      return;
    }
    a.mov('r15', 'rax')
      .mov('r12d', 8)
      .mov('r13d', 1)
      .mov('r14', gpa | SHARED);
    tdvmcall(a, TDVMCALL.mmio);
  }

  /**
   * Asks the host to make pages private or shared in the technology's own way, and does the guest's part: SEV-SNP page by page by the GHCB MSR,
   * with PVALIDATE; TDX with MapGPA, accepting pages that became private. Others by KVM_HC_MAP_GPA_RANGE. 0 means done.
   */
  mapGpaRange(gpa: Operand, pages: Operand, options: MapGpaRangeOptions): Value {
    if (this.#technology === 'sev-snp') return this.#changePages(gpa, pages, options.private);
    if (this.#technology !== 'tdx') return this.#askByHypercall(gpa, pages, options);
    const start = this.variable(gpa);
    const size = pages instanceof Value ? pages.mul(PAGE) : BigInt(pages) * PAGE;
    const result = this.variable(this.mapGpa(options.private ? start : start.or(SHARED), size));
    if (options.private) {
      this.when(result.eq(0), () => {
        this.repeat(pages, (i, leave) => {
          result.set(this.acceptPage(start.add(i.mul(PAGE))));
          this.when(result.ne(0), leave);
        });
      });
    }
    return result;
  }

  /**
   * The address at which a protected guest reaches the shared side of `gpa`; plain guests have none. For constants a number, for values a
   * value.
   */
  shared(gpa: Operand): Operand {
    return gpa instanceof Value ? gpa.add(SHARED_ALIAS) : toGpa(gpa, 'shared gpa') + SHARED_ALIAS;
  }

  #changePages(gpa: Operand, pages: Operand, isPrivate: boolean): Value {
    const start = this.variable(gpa);
    const result = this.variable(0);
    this.repeat(pages, (i, leave) => {
      const page = start.add(i.mul(PAGE));
      if (!isPrivate) result.set(this.pvalidate(page, false));
      this.when(result.eq(0), () => result.set(this.pageState(page, isPrivate)));
      if (isPrivate) this.when(result.eq(0), () => result.set(this.pvalidate(page, true)));
      this.when(result.ne(0), leave);
    });
    return result;
  }

  /** SEV-SNP: asks the hypervisor for one page by the GHCB MSR. The error code of the answer; 0 means done. */
  pageState(gpa: Operand, isPrivate: boolean): Value {
    const request = BigInt(isPrivate ? 1 : 2) << 52n;
    const value = this.variable(gpa).or(request | PAGE_STATE);
    this.frame.note('page state');
    const a = this.#generator.get('rax', this.frame.source(value, 'page state')).assembler;
    exchange(a.mov('rdx', 'rax').shr('rdx', 32)).mov('eax', 'edx');
    return this.#keep('rax');
  }

  /** SEV-SNP: 0 means done, 255 that the page was in that state already, others are the processor's codes. The page must be mapped. */
  pvalidate(gpa: Operand, valid: boolean): Value {
    const source = this.frame.address(gpa, 4096, 'pvalidate');
    this.frame.note('pvalidate');
    const a = this.#generator.get('rax', source).assembler;
    a.xor('ecx', 'ecx')
      .mov('edx', valid ? 1 : 0)
      .pvalidate();
    a.mov('ecx', NO_UPDATE).cmov('b', 'eax', 'ecx');
    return this.#keep('rax');
  }

  /** SEV-ES and SEV-SNP: one request of the GHCB's MSR protocol; its answer. */
  ghcbRequest(request: Integer): Value {
    const value = toUnsigned(request, 64, 'GHCB request');
    this.frame.note(`GHCB request 0x${value.toString(16)}`);
    msrProtocol(this.#asm, value).shl('rdx', 32).or('rax', 'rdx');
    return this.#keep('rax');
  }

  /** TDX: TDG.VP.VMCALL<MapGPA>; a gpa with the shared bit asks for shared memory. The status. */
  mapGpa(gpa: Operand, size: Operand): Value {
    const [start, length] = [this.frame.source(gpa, 'mapGpa gpa'), this.frame.source(size, 'mapGpa size')];
    this.frame.note('MapGPA');
    const a = this.#generator.get('r12', start).get('r13', length).assembler;
    tdvmcall(a, TDVMCALL.mapGpa);
    return this.#keep('r10');
  }

  /** TDX: TDG.MEM.PAGE.ACCEPT of 4 KiB. The status of the TDX module. */
  acceptPage(gpa: Operand): Value {
    const source = this.frame.address(gpa, 4096, 'acceptPage');
    this.frame.note('accept page');
    this.#generator.get('rcx', source).assembler.mov('eax', TDCALL_ACCEPT).tdcall();
    return this.#keep('rax');
  }

  /** KVM_HC_MAP_GPA_RANGE. */
  #askByHypercall(gpa: Operand, pages: Operand, options: MapGpaRangeOptions): Value {
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
