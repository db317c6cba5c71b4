/** KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS and KVM_SET_SREGS, on decoded structs. */
import type { kvm_regs, kvm_sregs } from '../../uapi/kvm-x86-regs.ts';
import { isCr4 } from './control.ts';
import { type Cpuid, physicalBits } from './cpuid.ts';
import { isApicBase } from './msrs.ts';
import { getFlags, getPair, RIP_LOW, SEGMENT_BASES, setFlags, setPair } from './registers.ts';
import { CR0, CR4, EFER, SEGMENT, type Segment, type SegmentName, type State } from './state.ts';

export type Regs = ReturnType<typeof kvm_regs.decode>;
export type Sregs = ReturnType<typeof kvm_sregs.decode>;

/** In the order of the encoding. */
const GENERAL = [
  ...(['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const),
] as const;
const SEGMENT_NAMES = Object.keys(SEGMENT) as SegmentName[];

export function readRegs({ r }: State): Regs {
  const regs: Partial<Record<keyof Regs, bigint>> = {};
  for (const [i, name] of GENERAL.entries()) regs[name] = getPair(r, 2 * i);
  regs.rip = getPair(r, RIP_LOW);
  regs.rflags = BigInt(getFlags(r) >>> 0);
  return regs as Regs;
}

export function writeRegs({ r }: State, regs: Regs): void {
  for (const [i, name] of GENERAL.entries()) setPair(r, 2 * i, regs[name]);
  setPair(r, RIP_LOW, regs.rip);
  setFlags(r, Number(regs.rflags & 0xffff_ffffn));
}

export function readSregs(state: State): Sregs {
  const segment = (name: SegmentName): Segment => {
    const index = SEGMENT[name];
    return { ...state.segment(index), base: getPair(state.r, SEGMENT_BASES + 2 * index) };
  };
  const table = ({ base, limit }: { base: bigint; limit: number }) => ({ base, limit, padding: [0, 0, 0] });
  return {
    cs: segment('cs'),
    ds: segment('ds'),
    es: segment('es'),
    fs: segment('fs'),
    gs: segment('gs'),
    ss: segment('ss'),
    tr: { ...state.tr },
    ldt: { ...state.ldt },
    gdt: table(state.gdt),
    idt: table(state.idt),
    cr0: state.cr0,
    cr2: state.cr2,
    cr3: state.cr3,
    cr4: state.cr4,
    cr8: state.cr8,
    efer: state.efer,
    apic_base: state.apicBase,
    interrupt_bitmap: [0n, 0n, 0n, 0n],
  };
}

/** Whether KVM takes the combination; what it refuses is EINVAL. */
export function areValid(sregs: Sregs, cpuid: Cpuid): boolean {
  const { cr0, cr3, cr4, efer, cs } = sregs;
  const has = (value: bigint, bit: bigint) => (value & bit) !== 0n;
  if (has(efer, EFER.lme) && has(cr0, CR0.pg)) {
    if (!has(cr4, CR4.pae) || !has(efer, EFER.lma)) return false;
    if (cr3 >> BigInt(physicalBits(cpuid)) !== 0n) return false;
  } else if (has(efer, EFER.lma) || cs.l !== 0) return false;
  if (!isCr4(cr4, cpuid) || cr0 >> 32n !== 0n) return false;
  if (has(cr0, CR0.pg) && !has(cr0, CR0.pe)) return false;
  if (has(cr0, CR0.nw) && !has(cr0, CR0.cd)) return false;
  return isApicBase(sregs.apic_base, cpuid);
}

export function writeSregs(state: State, sregs: Sregs): void {
  for (const name of SEGMENT_NAMES) state.setSegment(SEGMENT[name], { ...sregs[name] });
  state.tr = { ...sregs.tr };
  state.ldt = { ...sregs.ldt };
  state.gdt = { base: sregs.gdt.base, limit: sregs.gdt.limit };
  state.idt = { base: sregs.idt.base, limit: sregs.idt.limit };
  state.cr0 = sregs.cr0;
  state.cr2 = sregs.cr2;
  state.cr3 = sregs.cr3;
  state.cr4 = sregs.cr4;
  // What has other bits is ignored.
  if (sregs.cr8 <= 15n) state.cr8 = sregs.cr8;
  state.efer = sregs.efer;
  state.apicBase = sregs.apic_base;
  state.refresh();
}
