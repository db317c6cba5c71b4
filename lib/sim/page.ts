/** Pages: how memory is counted everywhere in the simulation. A page number of any 64-bit file offset fits a JavaScript number. */

export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12n;
const OFFSET_MASK = 4095n;

/** What a page that was never written reads as. Shared by everybody: never to be written. */
export const ZERO_PAGE = new Uint8Array(PAGE_SIZE);

/** Number of the page that holds byte `at`. */
export const pageOf = (at: bigint): number => Number(at >> PAGE_SHIFT);

/** Pages that `bytes` bytes reach into. */
export const pagesIn = (bytes: bigint): number => Number((bytes + OFFSET_MASK) >> PAGE_SHIFT);

/** Offset of byte `at` in its page. */
export const offsetIn = (at: bigint): number => Number(at & OFFSET_MASK);

export const isAligned = (at: bigint): boolean => (at & OFFSET_MASK) === 0n;
