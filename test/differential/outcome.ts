/** What came of a command, as text that two kernels must agree on. */
import { errnoName } from '../../lib/kernel/errno.ts';

export type Outcome = string;

/** `EINVAL`, or the value; `value` replaces one that each kernel chooses for itself. */
export const errnoOrValue = (result: number, value?: string): Outcome =>
  result < 0 ? errnoName(-result) : (value ?? String(result));

/** Bytes in short: runs of equal bytes, or a hash where there are many. */
export function digest(bytes: Uint8Array): string {
  let hash = 0x811c9dc5;
  let runs = 0;
  let last = -1;
  for (const byte of bytes) {
    if (byte !== last) runs++;
    last = byte;
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return runs <= 1 ? `${bytes.length}x${Math.max(last, 0)}` : `${bytes.length}#${hash.toString(16)}`;
}
