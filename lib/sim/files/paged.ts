/** Reading, writing and seeking in a file whose contents are pages. */
import { ENXIO } from '../errno.ts';
import { offsetIn, PAGE_SIZE, pageOf } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import type { Frame } from '../physical.ts';

/** Bytes read; holes read as zeros and stay holes. */
export function readPages(pages: PageStore, into: Uint8Array, at: bigint, size: bigint): number {
  if (at >= size) return 0;
  const left = size - at;
  const length = left < BigInt(into.length) ? Number(left) : into.length;
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

/** Bytes written: the pages that end at or before `room`, as far as they are whole parts of what is to be written. */
export function writePages(pages: PageStore, from: Uint8Array, at: bigint, room: bigint): number {
  let done = 0;
  let page = pageOf(at);
  let offset = offsetIn(at);
  while (done < from.length) {
    const part = Math.min(PAGE_SIZE - offset, from.length - done);
    if (at + BigInt(done + part) > room) break;
    pages.reclaim(page);
    pages.write(page).set(from.subarray(done, done + part), offset);
    done += part;
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
