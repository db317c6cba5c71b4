/** mov to and from control registers, and the modes that they switch. */
import type { Mmu } from './mmu.ts';
import { CR0, CR4, EFER, SEGMENT, type State } from './state.ts';
import { VECTOR } from './stop.ts';

/** Bits of CR4 that no processor defines. */
const CR4_RESERVED = ~0x17f_7fffn;
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
export function writeControl(state: State, mmu: Mmu, index: number, value: bigint): void {
  switch (index) {
    case 0:
      writeCr0(state, value);
      break;
    case 2:
      state.cr2 = value;
      return;
    case 3:
      writeCr3(state, value);
      break;
    case 4:
      writeCr4(state, value);
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

function writeCr3(state: State, value: bigint): void {
  // Bit 63 only says that translations may be kept.
  const address = value & ~(1n << 63n);
  if (state.long && address >> 52n !== 0n) throw state.exception(VECTOR.protection, 0);
  state.cr3 = address;
}

function writeCr4(state: State, value: bigint): void {
  const refuse = () => state.exception(VECTOR.protection, 0);
  if ((value & CR4_RESERVED) !== 0n) throw refuse();
  if (state.long && (value & CR4.pae) === 0n) throw refuse();
  if (state.long && ((value ^ state.cr4) & CR4.la57) !== 0n) throw refuse();
  state.cr4 = value;
}
