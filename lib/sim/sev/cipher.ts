/**
 * The encryption of memory, as a model: a keyed permutation of 16-byte blocks that differs by page frame and by place in the page, as AES
 * with a physical-address tweak does on the processor. It shows what encryption does to whoever looks or writes without the key (a changed
 * byte spoils its block, a page at another place is another text); it protects nothing. The permutation is Chaskey's, between two
 * additions of key and tweak.
 */
import { PAGE_SIZE } from '../page.ts';

const ROUNDS = 8;
export const BLOCK = 16;

const rotl = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
const mix = (a: number, b: number): number => {
  let h = Math.imul(a ^ (b + 0x9e37_79b9), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return h ^ (h >>> 16);
};

export class Cipher {
  readonly #key: Int32Array;

  /** @param seed number of the key: equal seeds are equal keys. */
  constructor(seed: number) {
    this.#key = Int32Array.from({ length: 4 }, (_, i) => mix(seed, 0x5e7 + i));
  }

  /** Encrypts blocks of `page` in place, from byte `from` to `to`; both are multiples of 16. `frame` is where the page lies. */
  encrypt(page: Uint8Array, frame: number, from = 0, to = PAGE_SIZE): void {
    this.#each(page, frame, from, to, forward);
  }

  decrypt(page: Uint8Array, frame: number, from = 0, to = PAGE_SIZE): void {
    this.#each(page, frame, from, to, backward);
  }

  #each(page: Uint8Array, frame: number, from: number, to: number, permute: (v: Int32Array) => void): void {
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const v = new Int32Array(4);
    const pad = new Int32Array(4);
    const base = mix(frame | 0, Math.floor(frame / 2 ** 32));
    for (let at = from; at < to; at += BLOCK) {
      for (let i = 0; i < 4; i++) {
        pad[i] = (this.#key[i] ?? 0) ^ mix(base + at, i);
        v[i] = view.getInt32(at + 4 * i, true) ^ (pad[i] ?? 0);
      }
      permute(v);
      for (let i = 0; i < 4; i++) view.setInt32(at + 4 * i, (v[i] ?? 0) ^ (pad[i] ?? 0), true);
    }
  }
}

function forward(v: Int32Array): void {
  let [a = 0, b = 0, c = 0, d = 0] = v;
  for (let round = 0; round < ROUNDS; round++) {
    a = (a + b) | 0;
    b = rotl(b, 5) ^ a;
    a = rotl(a, 16);
    c = (c + d) | 0;
    d = rotl(d, 8) ^ c;
    a = (a + d) | 0;
    d = rotl(d, 13) ^ a;
    c = (c + b) | 0;
    b = rotl(b, 7) ^ c;
    c = rotl(c, 16);
  }
  v.set([a, b, c, d]);
}

function backward(v: Int32Array): void {
  let [a = 0, b = 0, c = 0, d = 0] = v;
  for (let round = 0; round < ROUNDS; round++) {
    c = rotl(c, 16);
    b = rotl(b ^ c, 25);
    c = (c - b) | 0;
    d = rotl(d ^ a, 19);
    a = (a - d) | 0;
    d = rotl(d ^ c, 24);
    c = (c - d) | 0;
    a = rotl(a, 16);
    b = rotl(b ^ a, 27);
    a = (a - b) | 0;
  }
  v.set([a, b, c, d]);
}
