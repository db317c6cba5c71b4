/** Page tables: 32-bit, PAE, four and five levels. */
import { isReserved32, isReserved64, type PagingTraits } from './reserved.ts';
import { CR0, CR4, EFER, type State } from './state.ts';
import { VECTOR } from './stop.ts';

/** How the walker reaches the words of page tables. */
export interface TableMemory {
  /** The page that holds a table; undefined where nothing is there. Throws when the vCPU must stop. */
  tablePage(gfn: number): DataView | undefined;
  /** Writes a table's entry back; where it cannot be written the change is dropped. */
  setTableByte(gfn: number, offset: number, value: number): void;
}

export type Access = 'read' | 'write' | 'fetch';

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const LARGE = 0x80;
const NO_EXECUTE = 0x8000_0000;
/** Bits 12 to 51 are an address. */
const HIGH_ADDRESS = 0xf_ffff;

const ERROR = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

function fault(state: State, low: number, high: number, access: Access, cause: number): never {
  const nx = (state.efer & EFER.nxe) !== 0n && (state.cr4 & CR4.pae) !== 0n;
  const reportsFetch = access === 'fetch' && (nx || (state.cr4 & CR4.smep) !== 0n);
  const bits = (access === 'write' ? ERROR.write : 0) | (reportsFetch ? ERROR.fetch : 0);
  state.cr2 = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  throw state.exception(VECTOR.page, cause | bits | (state.cpl === 3 ? ERROR.user : 0));
}

interface Level {
  readonly gfn: number;
  readonly offset: number;
  readonly low: number;
}

/**
 * The page frame for a linear address; sets accessed and dirty bits as a processor does. Throws a page fault. Without `traits` reserved bits
 * are those of every processor: what is an address is for the machine to say.
 */
export function walk(
  state: State,
  memory: TableMemory,
  low: number,
  high: number,
  access: Access,
  traits?: PagingTraits,
): number {
  const pae = (state.cr4 & CR4.pae) !== 0n;
  const { long } = state;
  const indexBits = pae ? 9 : 10;
  const levels = long ? (state.linearBits === 57 ? 5 : 4) : pae ? 3 : 2;
  const nx = pae && (state.efer & EFER.nxe) !== 0n;
  // The page's number, not its address: 57 bits are more than a number holds exactly.
  const page = (high & 0x1ff_ffff) * 2 ** 20 + (low >>> 12);
  const path: Level[] = [];
  let table = Number((state.cr3 >> 12n) & (long ? 0xff_ffff_ffffn : 0xf_ffffn));
  // In PAE mode the first table is 32 bytes long and need not start a page.
  let start = pae && !long ? Number(state.cr3 & 0xfe0n) : 0;
  let rights = WRITABLE | USER;
  let noExecute = false;
  for (let level = levels; ; level--) {
    const span = 2 ** ((level - 1) * indexBits);
    const index = Math.floor(page / span) % (pae ? (level === 3 && !long ? 4 : 512) : 1024);
    const offset = start + index * (pae ? 8 : 4);
    const view = memory.tablePage(table);
    if (view === undefined) fault(state, low, high, access, 0);
    const entry = view.getUint32(offset, true);
    const entryHigh = pae ? view.getUint32(offset + 4, true) : 0;
    if ((entry & PRESENT) === 0) fault(state, low, high, access, 0);
    if (entryHigh >= NO_EXECUTE) {
      if (!nx) fault(state, low, high, access, ERROR.present | ERROR.reserved);
      noExecute = true;
    }
    const pointer = pae && !long && level === 3;
    if (!pointer) rights &= entry;
    path.push({ gfn: table, offset, low: entry });
    const frame = (entryHigh & HIGH_ADDRESS) * 2 ** 20 + (entry >>> 12);
    const large = (entry & LARGE) !== 0 && level > 1 && !pointer && (pae || (state.cr4 & CR4.pse) !== 0n);
    const read = { low: entry, high: entryHigh, level, large };
    const bad = pae ? traits !== undefined && !pointer && isReserved64(read, traits, long) : isReserved32(read);
    if (bad || (large && level > 3)) fault(state, low, high, access, ERROR.present | ERROR.reserved);
    if (level > 1 && !large) {
      table = frame;
      start = 0;
      continue;
    }
    check(state, low, high, access, rights, noExecute);
    mark(memory, path, access === 'write', pae && !long);
    if (level === 1) return frame;
    const inside = page % span;
    if (!pae) return (entry >>> 22) * 1024 + ((entry >> 13) & 0xff) * 2 ** 20 + inside;
    return frame - (frame % span) + inside;
  }
}

function check(state: State, low: number, high: number, access: Access, rights: number, noExecute: boolean): void {
  const userPage = (rights & USER) !== 0;
  const user = state.cpl === 3;
  const refused =
    (user && !userPage) ||
    (access === 'fetch' && (noExecute || (!user && userPage && (state.cr4 & CR4.smep) !== 0n))) ||
    (access === 'write' && (rights & WRITABLE) === 0 && (user || (state.cr0 & CR0.wp) !== 0n)) ||
    (access !== 'fetch' && !user && userPage && (state.cr4 & CR4.smap) !== 0n && !state.smapOverride);
  if (refused) fault(state, low, high, access, ERROR.present);
}

function mark(memory: TableMemory, path: readonly Level[], dirty: boolean, skipFirst: boolean): void {
  for (const [i, { gfn, offset, low }] of path.entries()) {
    if (skipFirst && i === 0) continue;
    const wanted = low | ACCESSED | (dirty && i === path.length - 1 ? DIRTY : 0);
    if (wanted !== low) memory.setTableByte(gfn, offset, wanted & 0xff);
  }
}
