import type { GpaRange, Integer } from '../numbers.ts';
import { formatHex, toGpa, toRange } from '../numbers.ts';
import { SHARED_ALIAS, type SideBit } from '../technology.ts';

const PAGE = 4096;
const LARGE_PAGE = 2 ** 21;
const ENTRIES = 512;
/** Half of 48-bit virtual addresses is not usable for identity mapping: the upper one is sign-extended. */
const IDENTITY_LIMIT = 2 ** 47;

const PRESENT_WRITABLE = 0x3n;
const LARGE = 0x80n;

/** Low memory is always mapped: programs, stacks and tables usually live there. */
export const LOW_MEMORY: GpaRange = { gpa: 0, size: LARGE_PAGE };

export interface PageTableOptions {
  /** Guest physical address of the tables: page-aligned. */
  readonly at: Integer;
  /** What to map, in bytes; rounded outwards to 2 MiB pages. */
  readonly ranges: Iterable<GpaRange>;
  /** Protected guests: ranges are mapped as private memory, and once more {@link SHARED_ALIAS} higher as shared memory. */
  readonly sides?: SideBit | undefined;
  /** Room for the tables in bytes; RangeError when they need more. */
  readonly capacity?: number;
}

export interface PageTables {
  readonly gpa: number;
  /** Contents for `gpa`. */
  readonly bytes: Uint8Array;
  readonly usedBytes: number;
  /** Value for the CR3 register. */
  readonly cr3: number;
}

/**
 * Four-level page tables that map the given ranges (and {@link LOW_MEMORY}) to themselves, writable and executable, in
 * 2 MiB pages. Only what is asked for is mapped: one table page per GiB touched.
 */
export function identityPageTables(options: PageTableOptions): PageTables {
  const gpa = toGpa(options.at, 'page tables');
  if (gpa % PAGE !== 0) throw new RangeError(`page tables: ${formatHex(gpa)} is not page-aligned`);
  const tables: BigUint64Array[] = [new BigUint64Array(ENTRIES)];
  // Which table an entry of another leads to; reading addresses back out of entries would only obscure it.
  const children = new Map<string, number>();

  const { sides } = options;
  const mark = sides === undefined ? 0n : 1n << BigInt(sides.bit);
  const main = sides?.marks === 'private' ? mark : 0n;

  const child = (parent: number, entry: number): number => {
    const key = `${parent}/${entry}`;
    const known = children.get(key);
    if (known !== undefined) return known;
    const index = tables.push(new BigUint64Array(ENTRIES)) - 1;
    children.set(key, index);
    setEntry(tables, parent, entry, BigInt(gpa + index * PAGE) | PRESENT_WRITABLE | main);
    return index;
  };

  const map = (at: number, page: number, bits: bigint): void => {
    const directory = child(child(0, Math.floor(at / ENTRIES / ENTRIES)), Math.floor(at / ENTRIES) % ENTRIES);
    setEntry(tables, directory, at % ENTRIES, BigInt(page * LARGE_PAGE) | PRESENT_WRITABLE | LARGE | bits);
  };

  for (const range of [LOW_MEMORY, ...options.ranges]) {
    const { gpa: start, size } = toRange(range.gpa, range.size, 'mapped range');
    const limit = sides === undefined ? IDENTITY_LIMIT : SHARED_ALIAS;
    if (start + size > limit) {
      throw new RangeError(`mapped range: ${formatHex(start + size)} exceeds ${Math.log2(limit)} bits`);
    }
    for (let page = Math.floor(start / LARGE_PAGE); page * LARGE_PAGE < start + size; page++) {
      map(page, page, main);
      if (sides !== undefined) map(page + SHARED_ALIAS / LARGE_PAGE, page, mark ^ main);
    }
  }

  const bytes = new Uint8Array(tables.length * PAGE);
  if (options.capacity !== undefined && bytes.length > options.capacity) {
    throw new RangeError(`page tables: ${bytes.length} bytes are needed, ${options.capacity} given`);
  }
  const view = new DataView(bytes.buffer);
  for (const [index, table] of tables.entries()) {
    for (const [entry, value] of table.entries()) view.setBigUint64(index * PAGE + entry * 8, value, true);
  }
  return { gpa, bytes, usedBytes: bytes.length, cr3: gpa };
}

function setEntry(tables: readonly BigUint64Array[], table: number, entry: number, value: bigint): void {
  const target = tables[table];
  if (target !== undefined) target[entry] = value;
}
