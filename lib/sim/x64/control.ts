/** mov to and from control registers, and the modes that they switch. */
import type { Cpuid } from './cpuid.ts';
import type { Machine } from './machine.ts';
import { CR0, CR4, EFER, SEGMENT, type State } from './state.ts';
import { VECTOR } from './stop.ts';

/** VME to OSXMMEXCPT: every processor has them. */
const CR4_ALWAYS = 0x7ffn;
/** Those, UMIP, LA57, FSGSBASE, PCID, OSXSAVE, SMEP, SMAP and PKE. */
const CR4_OF_KVM = 0x77_1fffn;
/** Bits that depend on what CPUID says: leaf, index, register and bit there. arch/x86/kvm/x86.h, __cr4_reserved_bits */
const CR4_BY_CPUID: readonly (readonly [
  bit: bigint,
  leaf: number,
  index: number,
  register: 'eax' | 'ebx' | 'ecx',
  position: number,
])[] = [
  [1n << 11n, 7, 0, 'ecx', 2],
  [1n << 12n, 7, 0, 'ecx', 16],
  [1n << 13n, 1, 0, 'ecx', 5],
  [1n << 16n, 7, 0, 'ebx', 0],
  [1n << 17n, 1, 0, 'ecx', 17],
  [1n << 18n, 1, 0, 'ecx', 26],
  [1n << 20n, 7, 0, 'ebx', 7],
  [1n << 21n, 7, 0, 'ebx', 20],
  [1n << 22n, 7, 0, 'ecx', 3],
  [1n << 28n, 7, 1, 'eax', 26],
];

/** Whether the guest's processor has all the bits of a CR4. */
export function isCr4(value: bigint, cpuid: Cpuid): boolean {
  // Nothing was said of the processor: what KVM itself takes.
  if (cpuid.entries.length === 0) return (value & ~CR4_OF_KVM) === 0n;
  let allowed = CR4_ALWAYS;
  for (const [bit, leaf, index, register, position] of CR4_BY_CPUID) {
    const entry = cpuid.entries.find((one) => one.function === leaf && (leaf === 1 || one.index === index));
    if (((entry?.[register] ?? 0) >>> position) % 2 === 1) allowed |= bit;
  }
  return (value & ~allowed) === 0n;
}

const MAX_PHYSICAL_BITS = 52;
const CR0_KNOWN = 0xe005_003fn;

export function readControl(state: State, index: number): bigint {
  switch (index) {
    case 0:
      return state.cr0;
    case 2:
      return state.cr2;
    case 3:
      return state.cr3;
    case 4:
      return state.cr4;
    default:
      return state.cr8;
  }
}

/** Throws #GP for values that the processor refuses. */
export function writeControl({ state, mmu, cpuid, emulated }: Machine, index: number, value: bigint): void {
  switch (index) {
    case 0:
      writeCr0(state, value);
      break;
    case 2:
      state.cr2 = value;
      return;
    case 3:
      writeCr3(state, value, emulated ? cpuid.paging.physicalBits : MAX_PHYSICAL_BITS);
      break;
    case 4:
      writeCr4(state, cpuid, value);
      break;
    default:
      if (value >> 4n !== 0n) throw state.exception(VECTOR.protection, 0);
      state.cr8 = value;
      return;
  }
  mmu.flush();
  state.refresh();
}

function writeCr0(state: State, value: bigint): void {
  const refuse = () => state.exception(VECTOR.protection, 0);
  if (value >> 32n !== 0n) throw refuse();
  const has = (bit: bigint) => (value & bit) !== 0n;
  if (has(CR0.pg) && !has(CR0.pe)) throw refuse();
  if (has(CR0.nw) && !has(CR0.cd)) throw refuse();
  const wasPaging = (state.cr0 & CR0.pg) !== 0n;
  if (has(CR0.pg) && !wasPaging && (state.efer & EFER.lme) !== 0n) {
    if ((state.cr4 & CR4.pae) === 0n || state.segment(SEGMENT.cs).l === 1) throw refuse();
    state.efer |= EFER.lma;
  }
  if (!has(CR0.pg) && wasPaging) {
    if (state.codeBits === 64) throw refuse();
    state.efer &= ~EFER.lma;
  }
  // The coprocessor type bit cannot be cleared.
  state.cr0 = (value & CR0_KNOWN) | 0x10n;
}

function writeCr3(state: State, value: bigint, physicalBits: number): void {
  // Bit 63 only says that translations may be kept.
  const address = value & ~(1n << 63n);
  if (state.long && address >> BigInt(physicalBits) !== 0n) throw state.exception(VECTOR.protection, 0);
  state.cr3 = address;
}

function writeCr4(state: State, cpuid: Cpuid, value: bigint): void {
  const refuse = () => state.exception(VECTOR.protection, 0);
  if (!isCr4(value, cpuid)) throw refuse();
  if (state.long && (value & CR4.pae) === 0n) throw refuse();
  if (state.long && ((value ^ state.cr4) & CR4.la57) !== 0n) throw refuse();
  state.cr4 = value;
}
