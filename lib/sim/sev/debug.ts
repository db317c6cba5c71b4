/** DBG_DECRYPT and DBG_ENCRYPT: memory of a guest whose policy allows it, in pieces of any length. arch/x86/kvm/svm/sev.c, sev_dbg_crypt */
import { KVM_SEV, kvm_sev_dbg } from '../../uapi/sev.ts';
import { EFAULT, EINVAL } from '../errno.ts';
import { PAGE_SIZE } from '../page.ts';
import type { SevCommand } from './command.ts';
import type { SevBase } from './sev-base.ts';
import type { SevGuest } from './sev-firmware.ts';

type Issue = (ask: (guest: SevGuest) => number) => number;
const WRAP = 1n << 64n;
const BLOCK = 16;

interface Page {
  readonly bytes: Uint8Array;
  readonly frame: number;
}

export function debugCrypt(technology: SevBase, command: SevCommand, issue: Issue): number {
  const bytes = command.params(kvm_sev_dbg.size);
  if (bytes === undefined) return -EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [source, target] = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
  const length = view.getUint32(16, true);
  if (length === 0 || source === 0n || target === 0n) return -EINVAL;
  if (source + BigInt(length) >= WRAP || target + BigInt(length) >= WRAP) return -EINVAL;
  const decrypts = command.id === KVM_SEV.value.KVM_SEV_DBG_DECRYPT;
  for (let done = 0; done < length; ) {
    const from = source + BigInt(done);
    const to = target + BigInt(done);
    const [fromOffset, toOffset] = [Number(from & 4095n), Number(to & 4095n)];
    const part = Math.min(length - done, PAGE_SIZE - fromOffset, PAGE_SIZE - toOffset);
    const origin = onePage(technology, from, false);
    if (typeof origin === 'number') return origin;
    const destination = onePage(technology, to, true);
    if (typeof destination === 'number') return destination;
    const result = issue((guest) => {
      const code = guest.debug();
      if (code !== 0) return code;
      if (decrypts) {
        const plain = around(technology, origin, fromOffset, part);
        destination.bytes.set(plain.subarray(fromOffset, fromOffset + part), toOffset);
      } else {
        // Whole blocks: what lies around the piece keeps its plaintext.
        const plain = around(technology, destination, toOffset, part);
        plain.set(origin.bytes.subarray(fromOffset, fromOffset + part), toOffset);
        const [first, last] = blocks(toOffset, part);
        technology.cipher.encrypt(plain, destination.frame, first, last);
        destination.bytes.set(plain.subarray(first, last), first);
      }
      return 0;
    });
    if (result !== 0) return result;
    done += part;
  }
  return 0;
}

/** Pins one page, against the limit as well. */
function onePage(technology: SevBase, address: bigint, write: boolean): Page | number {
  const range = technology.range(address, 1n);
  if (typeof range === 'number') return range;
  const pages = technology.userPages(range.from, range.to, write);
  if (typeof pages === 'number') return pages;
  return pages[0] ?? -EFAULT;
}

const blocks = (offset: number, length: number): readonly [first: number, last: number] => [
  offset - (offset % BLOCK),
  Math.ceil((offset + length) / BLOCK) * BLOCK,
];

/** A copy of the page in which the blocks around a piece are plaintext. */
function around({ cipher }: SevBase, { bytes, frame }: Page, offset: number, length: number): Uint8Array {
  const copy = bytes.slice();
  const [first, last] = blocks(offset, length);
  cipher.decrypt(copy, frame, first, last);
  return copy;
}
