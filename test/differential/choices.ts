/** What random commands choose their flags from: lists with the usual more than once. */

export const PROTS = [0, 1, 2, 3, 3, 3, 3, 3, 3, 5, 7];
export const BAD_PROTS = [8, 9, 0x10, 0x7000_0000, 0x100_0000, 0x200_0000, 0x300_0000, 0x100_0001];
/**
 * Without those that take memory away from the host (100, 101), the one that depends on its huge pages (25) and those that depend on
 * its mood (20, 21: what is reclaimed).
 */
export const ADVICE = [
  0, 1, 2, 3, 4, 4, 4, 8, 9, 9, 9, 9, 10, 11, 12, 13, 16, 17, 18, 19, 22, 22, 23, 23, 24, 102, 103, 5, 99, -1,
];
export const MAP_FLAGS = [0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x8_0000, 0x80_0000, 0x200_0000];
export const FALLOC = [0, 0, 1, 1, 3, 3, 3, 3];
export const FALLOC_ODD = [2, 4, 8, 9, 0x10, 0x11, 0x20, 0x40, 0x41, 0x80, 0x81, 0x13, 0x100, 0x8000_0001];
export const MFD_ODD = [
  0, 1, 3, 8, 0x10, 0x12, 0xa, 0x18, 0x20, 0x100, 4, 6, 0x5400_0004, 0x7800_0006, 0x4000_0004, 0x5400_0000,
];
export const HUGE_FLAGS = [0x40000, 0x5404_0000, 0x7804_0000, 0x4004_0000];
export const HUGE_LENGTHS = [0n, 2n ** 40n, 2n ** 42n, 2n ** 47n, 2n ** 56n, 2n ** 63n, 2n ** 64n - 1n];
export const POLICY_MODES = [
  0, 1, 2, 3, 4, 5, 6, 7, 999, 0x8002, 0x4002, 0xc002, 0x2002, 0x2005, 0x2001, 0x8001, 0x4001, 0x8004,
];
/** Nodemasks, byte by byte: there is node 0, there may be more. */
export const NODEMASKS: readonly (readonly number[])[] = [
  [],
  [1, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0, 0],
  [1, 0, 0, 0, 0, 0, 0, 0],
  [1, 0, 0, 0, 0, 0, 0, 0],
  [3, 0, 0, 0, 0, 0, 0, 0],
  [2, 0, 0, 0, 0, 0, 0, 0],
  [1, 0, 0, 0, 0, 0, 0, 0x80, 1, 0],
];
