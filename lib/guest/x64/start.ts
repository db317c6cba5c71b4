import type { Integer } from '../numbers.ts';
import { formatHex } from '../numbers.ts';
import type { GuestProgram } from '../program.ts';
import type { MemoryImage } from '../start.ts';
import { SIDE_BIT, type SideBit } from '../technology.ts';
import type { ModeRegisters } from './modes.ts';
import { longMode } from './modes.ts';
import { identityPageTables } from './paging.ts';
import { RESET_PAGE, resetPage } from './reset-page.ts';

/** Interrupts off, direction up; bit 1 always reads as one. */
const RFLAGS_INITIAL = 2n;

/** Everything that a host sets before the first KVM_RUN. */
export interface StartState {
  /** To be written to guest memory: the program and its page tables. */
  readonly memory: readonly MemoryImage[];
  /** To be merged into what KVM_GET_SREGS answers. */
  readonly sregs: ModeRegisters;
  /** To be merged into what KVM_GET_REGS answers. */
  readonly regs: { readonly rip: bigint; readonly rsp: bigint; readonly rflags: bigint };
}

export interface StartOptions {
  /** Where the page tables go (default 0x1000); they must not overlap the program. */
  readonly pageTables?: Integer;
  /** How page tables say private and shared. Default: as the program's technology has it. */
  readonly sides?: SideBit;
  /** Initial stack pointer: programs of operations use no stack, `asm` might (default 0). */
  readonly stack?: Integer;
}

/**
 * How to start a program in long mode. A TDX program starts at the reset vector by itself: its memory has a page there, and the registers are
 * not the host's to set.
 * Throws RangeError when page tables and program overlap. */
export function startState(program: GuestProgram, options: StartOptions = {}): StartState {
  const sides = options.sides ?? SIDE_BIT[program.technology];
  const at = options.pageTables ?? 0x1000;
  // The reset vector's page goes on executing when paging is on.
  const ranges = [...program.touches, ...(program.technology === 'tdx' ? [{ gpa: RESET_PAGE, size: 4096 }] : [])];
  const tables = identityPageTables({ at, ranges, ...(sides === undefined ? {} : { sides }) });
  const end = tables.gpa + tables.usedBytes;
  if (tables.gpa < program.base + program.size && program.base < end) {
    throw new RangeError(`the page tables (${formatHex(tables.gpa)} to ${formatHex(end)}) overlap the program`);
  }
  return {
    memory: [
      ...(program.technology === 'tdx' ? [resetPage(program.entry, tables.cr3)] : []),
      { gpa: program.base, bytes: program.bytes },
      { gpa: tables.gpa, bytes: tables.bytes },
    ],
    sregs: longMode(tables.cr3),
    regs: { rip: BigInt(program.entry), rsp: BigInt(options.stack ?? 0), rflags: RFLAGS_INITIAL },
  };
}
