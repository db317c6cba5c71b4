/**
 * The page of the reset vector, for guests that start there in 32-bit protected mode without paging: it loads page tables and goes on in 64-bit
 * code. TDX starts vCPUs so. Intel TDX Module Base Architecture Specification, initial state of guest GPRs and CRs.
 */

import type { MemoryImage } from '../start.ts';
import { Assembler } from './assembler.ts';

export const RESET_PAGE = 0xffff_f000;
const PAGE_SIZE = 4096;
const AT = { code: 0, gdt: 0x800, pointer: 0x820, stack: 0x900, vector: 0xff0 } as const;
/** Present, 64-bit, executable, read, accessed already. */
const CODE_64 = 0x00af_9b00_0000_ffffn;
const CODE_SELECTOR = 8;
const CR4_PAE = 0x20;
const CR0_PG = 0x8000_0000;

export function resetPage(entry: number, cr3: number): MemoryImage {
  const bytes = new Uint8Array(PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  const a = new Assembler(32, RESET_PAGE + AT.code);
  a.mov('esp', RESET_PAGE + AT.stack);
  a.mov('eax', 'cr4').or('eax', CR4_PAE).mov('cr4', 'eax');
  a.mov('eax', cr3).mov('cr3', 'eax');
  a.mov('eax', 'cr0').or('eax', CR0_PG).mov('cr0', 'eax');
  a.lgdt({ disp: RESET_PAGE + AT.pointer });
  a.mov('eax', CODE_SELECTOR).push('eax').mov('eax', entry).push('eax').retf();
  bytes.set(a.bytes(), AT.code);
  view.setBigUint64(AT.gdt + CODE_SELECTOR, CODE_64, true);
  view.setUint16(AT.pointer, 15, true);
  view.setUint32(AT.pointer + 2, RESET_PAGE + AT.gdt, true);
  // jmp with a distance of 32 bits.
  view.setUint8(AT.vector, 0xe9);
  view.setInt32(AT.vector + 1, AT.code - (AT.vector + 5), true);
  return { gpa: RESET_PAGE, bytes };
}
