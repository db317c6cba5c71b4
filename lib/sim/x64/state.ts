/** The architectural state of one vCPU and the mode that follows from it. */

import { at, FLAG, OTHER_FLAGS, SEGMENT_BASES, setPair, WORDS } from './registers.ts';
import { type Abandoned, EXCEPTION, NO_ERROR_CODE, STOPPED, type Stop } from './stop.ts';

/** The fields of struct kvm_segment, as lib/uapi decodes them. */
export interface Segment {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
  padding: number;
}

export interface DescriptorTable {
  base: bigint;
  limit: number;
}

export const SEGMENT = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;
export type SegmentName = keyof typeof SEGMENT;

export const CR0 = { pe: 1n, mp: 2n, wp: 0x1_0000n, nw: 0x2000_0000n, cd: 0x4000_0000n, pg: 0x8000_0000n } as const;
export const CR4 = { pse: 0x10n, pae: 0x20n, la57: 0x1000n, smep: 0x10_0000n, smap: 0x20_0000n } as const;
export const EFER = { sce: 1n, lme: 0x100n, lma: 0x400n, nxe: 0x800n } as const;

export function realModeSegment(selector: number, base: bigint, type: number, s = 1): Segment {
  const rest = { dpl: 0, db: 0, l: 0, g: 0, avl: 0, unusable: 0, padding: 0 };
  return { base, limit: 0xffff, selector, type, present: 1, s, ...rest };
}

/** Everything that KVM_GET_SREGS shows, and what is derived from it for speed. */
export class State {
  readonly r: Int32Array = new Int32Array(WORDS);
  /** es, cs, ss, ds, fs, gs. Replace entries by {@link setSegment} only: their bases are kept in `r` as well. */
  readonly segments: Segment[] = [];
  tr: Segment = realModeSegment(0, 0n, 11, 0);
  ldt: Segment = realModeSegment(0, 0n, 2, 0);
  gdt: DescriptorTable = { base: 0n, limit: 0xffff };
  idt: DescriptorTable = { base: 0n, limit: 0xffff };
  cr0 = 0x6000_0010n;
  cr2 = 0n;
  cr3 = 0n;
  cr4 = 0n;
  cr8 = 0n;
  efer = 0n;
  apicBase = 0xfee0_0900n;

  /** 16, 32 or 64: how code is decoded. */
  codeBits: 16 | 32 | 64 = 16;
  long = false;
  protected = false;
  cpl = 0;
  /** Stack pointer width outside 64-bit code. */
  stackBits: 16 | 32 | 64 = 16;
  /** Bits that a linear address has below its sign extension. */
  linearBits = 48;
  /** Counts changes of what decoded blocks depend on besides memory: mode, address size, code segment. */
  codeSerial = 0;
  #codeDepends = '';
  /** The stop that {@link STOPPED} or EVENT_STOP announces. */
  stop: Stop = { kind: 'budget' };
  /** The exception that {@link EXCEPTION} announces. */
  vector = 0;
  errorCode: number = NO_ERROR_CODE;
  /** How far behind rip the exception's frame points: the instruction's length for int3, 0 for faults. */
  trapLength = 0;

  /** Type of the task segment of a new vCPU: SVM begins with a busy one of 16 bits, VMX with one of 32 bits. */
  readonly #taskType: number;

  constructor(taskType: 3 | 11 = 11) {
    this.#taskType = taskType;
    this.reset();
  }

  /** As KVM_CREATE_VCPU leaves a vCPU. */
  reset(): void {
    const { r } = this;
    r.fill(0);
    setPair(r, 4, 0x600n);
    r[34] = 0xfff0;
    r[40] = 1;
    r[42] = 1;
    for (const index of [0, 2, 3, 4, 5]) this.setSegment(index, realModeSegment(0, 0n, 3));
    this.setSegment(SEGMENT.cs, realModeSegment(0xf000, 0xffff_0000n, 11));
    this.tr = realModeSegment(0, 0n, this.#taskType, 0);
    this.ldt = realModeSegment(0, 0n, 2, 0);
    this.gdt = { base: 0n, limit: 0xffff };
    this.idt = { base: 0n, limit: 0xffff };
    this.cr0 = 0x6000_0010n;
    this.cr2 = this.cr3 = this.cr4 = this.cr8 = this.efer = 0n;
    this.apicBase = 0xfee0_0900n;
    this.refresh();
  }

  segment(index: number): Segment {
    const segment = this.segments[index];
    if (segment === undefined) throw new RangeError(`no segment register ${index}`);
    return segment;
  }

  setSegment(index: number, segment: Segment): void {
    this.segments[index] = segment;
    setPair(this.r, SEGMENT_BASES + 2 * index, segment.base);
  }

  /** Derives the mode anew; to be called after control registers, EFER, cs or ss changed. */
  refresh(): void {
    const cs = this.segment(SEGMENT.cs);
    const ss = this.segment(SEGMENT.ss);
    this.protected = (this.cr0 & CR0.pe) !== 0n;
    this.long = (this.efer & EFER.lma) !== 0n;
    const is64 = this.long && cs.l === 1;
    this.codeBits = is64 ? 64 : cs.db === 1 ? 32 : 16;
    this.stackBits = is64 ? 64 : ss.db === 1 ? 32 : 16;
    this.linearBits = (this.cr4 & CR4.la57) === 0n ? 48 : 57;
    this.cpl = !this.protected ? 0 : (at(this.r, OTHER_FLAGS) & FLAG.virtual8086) !== 0 ? 3 : ss.dpl;
    const depends = `${this.codeBits} ${this.linearBits} ${cs.base} ${cs.limit}`;
    if (depends !== this.#codeDepends) this.codeSerial++;
    this.#codeDepends = depends;
  }

  /** The AC flag lets supervisor code at user pages (SMAP). */
  get smapOverride(): boolean {
    return (at(this.r, OTHER_FLAGS) & FLAG.alignment) !== 0;
  }

  /** Gives up the instruction: an exception is delivered instead. To be thrown: `throw state.exception(…)`. */
  exception(vector: number, errorCode: number = NO_ERROR_CODE): Abandoned {
    this.vector = vector;
    this.errorCode = errorCode;
    this.trapLength = 0;
    return EXCEPTION;
  }

  /** An exception that is reported behind its instruction. To be thrown. */
  trap(vector: number, length: number): Abandoned {
    const abandoned = this.exception(vector);
    this.trapLength = length;
    return abandoned;
  }

  /** Gives up the instruction and stops; it runs again from its start. To be thrown. */
  abandon(stop: Stop): Abandoned {
    this.stop = stop;
    return STOPPED;
  }
}
