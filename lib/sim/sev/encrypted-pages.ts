/**
 * The two faces of encrypted memory. What lies in memory is ciphertext; a guest that reaches a page with its key works on plaintext of it
 * until the vCPU stops executing, when what it wrote goes back. A page has one face at a time: reaching for the other one writes back first.
 */
import { PAGE_SIZE } from '../page.ts';
import type { Cipher } from './cipher.ts';

interface Known {
  /** What lay in memory when `plain` was made of it. */
  readonly cipher: Uint8Array;
  readonly plain: Uint8Array;
}

interface Open extends Known {
  raw: Uint8Array;
  written: boolean;
}

/** Plaintexts kept for the next entry: of the frames used last. */
const KEPT = 256;

const same = (a: Uint8Array, b: Uint8Array): boolean => {
  const [x, y] = [words(a), words(b)];
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
};
const words = (page: Uint8Array): BigUint64Array =>
  page.byteOffset % 8 === 0
    ? new BigUint64Array(page.buffer, page.byteOffset, PAGE_SIZE / 8)
    : new BigUint64Array(page.slice().buffer);

export class EncryptedPages {
  readonly #cipher: Cipher;
  readonly #changed: () => void;
  readonly #open = new Map<number, Open>();
  readonly #kept = new Map<number, Known>();

  /** @param changed called when pages that were handed out are no longer the ones to use. */
  constructor(cipher: Cipher, changed: () => void) {
    this.#cipher = cipher;
    this.#changed = changed;
  }

  /** The page with the key, for use until `close`. `raw` may be a common zero page unless it is to be written. */
  plain(frame: number, raw: Uint8Array, write: boolean): Uint8Array {
    const open = this.#open.get(frame) ?? this.#decrypt(frame, raw);
    open.raw = raw;
    open.written ||= write;
    return open.plain;
  }

  #decrypt(frame: number, raw: Uint8Array): Open {
    const kept = this.#kept.get(frame);
    if (kept !== undefined && same(kept.cipher, raw)) {
      const open = { ...kept, raw, written: false };
      this.#open.set(frame, open);
      return open;
    }
    // Into the old bytes, since decoded instructions are tied to them.
    const plain = kept?.plain ?? new Uint8Array(PAGE_SIZE);
    plain.set(raw);
    this.#cipher.decrypt(plain, frame);
    const open = { cipher: raw.slice(), plain, raw, written: false };
    this.#open.set(frame, open);
    return open;
  }

  /** To be called before the page is used as it lies in memory. */
  expose(frame: number): void {
    const open = this.#open.get(frame);
    if (open === undefined) return;
    this.#writeBack(frame, open);
    this.#open.delete(frame);
    this.#changed();
  }

  /** Memory is what the guest made of it, and pages are asked for again. */
  close(): void {
    if (this.#open.size === 0) return;
    for (const [frame, open] of this.#open) this.#writeBack(frame, open);
    this.#open.clear();
    this.#changed();
  }

  #writeBack(frame: number, { raw, cipher, plain, written }: Open): void {
    if (written) {
      raw.set(plain);
      this.#cipher.encrypt(raw, frame);
      cipher.set(raw);
    }
    this.#kept.delete(frame);
    this.#kept.set(frame, { cipher, plain });
    if (this.#kept.size <= KEPT) return;
    const oldest = this.#kept.keys().next();
    if (!oldest.done) this.#kept.delete(oldest.value);
  }
}
