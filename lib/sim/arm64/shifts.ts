/** Shifts of 64 bits in two words, by 0 to 63; the lower half is the answer, the upper one goes to HIGH. */
import { HIGH } from './registers.ts';

export function shiftLeft(r: Int32Array, low: number, high: number, by: number): number {
  if (by === 0) {
    r[HIGH] = high;
    return low | 0;
  }
  if (by >= 32) {
    r[HIGH] = low << (by - 32);
    return 0;
  }
  r[HIGH] = (high << by) | (low >>> (32 - by));
  return low << by;
}

export function shiftRight(r: Int32Array, low: number, high: number, by: number): number {
  if (by === 0) {
    r[HIGH] = high;
    return low | 0;
  }
  if (by >= 32) {
    r[HIGH] = 0;
    return (high >>> (by - 32)) | 0;
  }
  r[HIGH] = high >>> by;
  return (low >>> by) | (high << (32 - by));
}

export function shiftRightSigned(r: Int32Array, low: number, high: number, by: number): number {
  if (by === 0) {
    r[HIGH] = high;
    return low | 0;
  }
  if (by >= 32) {
    r[HIGH] = high >> 31;
    return high >> (by - 32);
  }
  r[HIGH] = high >> by;
  return (low >>> by) | (high << (32 - by));
}
