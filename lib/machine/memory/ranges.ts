/** Lists of ranges: checked, sorted, coalesced. */
import { PAGE_SIZE } from '../../memory/mapping.ts';
import type { GuestRange } from './words.ts';

export const isPages = (value: number): boolean => Number.isSafeInteger(value) && value % PAGE_SIZE === 0;

export const showRange = ({ gpa, size }: GuestRange): string => `0x${gpa.toString(16)}+0x${size.toString(16)}`;

/** RangeError for what is not whole pages, or beyond what a number holds. */
export function checkRange(what: string, { gpa, size }: GuestRange): void {
  if (isPages(gpa) && gpa >= 0 && isPages(size) && size > 0 && Number.isSafeInteger(gpa + size)) return;
  throw new RangeError(`${what}: gpa ${gpa} and size ${size} must be whole pages of ${PAGE_SIZE} bytes`);
}

/** Appends a range; grows the last one when they touch. */
export function append(list: { gpa: number; size: number }[], { gpa, size }: GuestRange): void {
  const last = list[list.length - 1];
  if (last !== undefined && last.gpa + last.size >= gpa) {
    last.size = Math.max(last.size, gpa + size - last.gpa);
  } else list.push({ gpa, size });
}

/** The same pages, in ascending order, as few ranges as can be. */
export function coalesce(ranges: readonly GuestRange[]): readonly GuestRange[] {
  if (ranges.length === 1) return ranges;
  const list: { gpa: number; size: number }[] = [];
  for (const range of [...ranges].sort((a, b) => a.gpa - b.gpa)) append(list, range);
  return list;
}
