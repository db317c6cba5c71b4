/** Reading, writing and seeking in a file whose contents are pages. */
import { EFAULT, ENXIO, EPERM } from '../errno.ts';
import { offsetIn, PAGE_SIZE, pageOf } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import type { Frame } from '../physical.ts';

/** Bytes read; holes read as zeros and stay holes. */
export function readPages(
  pages: PageStore,
  into: Uint8Array,
  at: bigint,
  size: bigint,
  reached: number = into.length,
): number {
  if (at >= size || into.length === 0) return 0;
  if (reached === 0) return -EFAULT;
  const left = size - at;
  const length = left < BigInt(reached) ? Number(left) : reached;
  let done = 0;
  let page = pageOf(at);
  let offset = offsetIn(at);
  while (done < length) {
    const part = Math.min(PAGE_SIZE - offset, length - done);
    pages.reclaim(page);
    into.set(pages.peek(page).subarray(offset, offset + part), done);
    done += part;
    page++;
    offset = 0;
  }
  return done;
}

/** Part of a page on its way into a pipe. */
export interface PagePart {
  readonly bytes: Uint8Array;
  /** The page that it is part of; undefined for the zero page. */
  readonly frame?: Frame | undefined;
}

/** Parts of pages for a pipe: what lies in the file, up to its size; the zero page for holes. */
export function splicePages(pages: PageStore, at: bigint, length: number, size: bigint): PagePart[] {
  const left = size - at;
  const most = left < BigInt(length) ? Number(left) : length;
  const parts: PagePart[] = [];
  let offset = offsetIn(at);
  let page = pageOf(at);
  for (let done = 0; done < most; page++) {
    const part = Math.min(PAGE_SIZE - offset, most - done);
    const frame = pages.isFilled(page) ? { store: pages, page } : undefined;
    parts.push({ bytes: pages.peek(page).subarray(offset, offset + part), frame });
    done += part;
    offset = 0;
  }
  return parts;
}

export interface PageWrite {
  /** The pages that end at or before it may be written, as far as they are whole parts of what is to be written. */
  readonly room: bigint;
  /** How many bytes can be read from where they come. */
  readonly reached: number;
  /** A page is looked for only once some of its bytes were found to be readable. */
  readonly prefaults: boolean;
}

/**
 * Page by page, as generic_perform_write: bytes written, or the errno of what stopped the first page. A page whose bytes cannot be read is
 * there all the same.
 */
export function writePages(
  pages: PageStore,
  from: Uint8Array,
  at: bigint,
  { room, reached, prefaults }: PageWrite,
): number {
  let done = 0;
  let page = pageOf(at);
  let offset = offsetIn(at);
  while (done < from.length) {
    const part = Math.min(PAGE_SIZE - offset, from.length - done);
    const readable = Math.min(part, reached - done);
    if (readable === 0 && prefaults) return done > 0 ? done : -EFAULT;
    if (at + BigInt(done + part) > room) return done > 0 ? done : -EPERM;
    pages.reclaim(page);
    pages.write(page).set(from.subarray(done, done + readable), offset);
    done += readable;
    if (readable < part) return done > 0 ? done : -EFAULT;
    page++;
    offset = 0;
  }
  return done;
}

/** The page behind which no offset fits 63 bits: mapping_seek_hole_data overflows there, and finds no data in it. */
const LAST_PAGE = 2 ** 51 - 1;

/** SEEK_DATA and SEEK_HOLE: mapping_seek_hole_data. Pages that were only fallocated count as holes. */
export function seekPages(pages: PageStore, from: bigint, size: bigint, data: boolean): bigint {
  if (from < 0n || from >= size) return -BigInt(ENXIO);
  const start = pageOf(from);
  const found = data ? pages.nextFilled(start) : pages.nextHole(start);
  const page = data && found === LAST_PAGE ? Number.POSITIVE_INFINITY : found;
  if (page === start) return from;
  const at = page === Number.POSITIVE_INFINITY ? size : BigInt(page) * BigInt(PAGE_SIZE);
  if (at < size) return at;
  return data ? -BigInt(ENXIO) : size;
}
