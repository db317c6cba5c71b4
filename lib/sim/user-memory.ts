/**
 * What copy_from_user and copy_to_user are: how ioctl handlers reach the structs that they are given. A pointer is an address of the
 * process, or that of a buffer which exists for the time of one call, since a JavaScript caller's buffers lie in no mapping.
 */
import { copyIn, copyOut } from './access.ts';
import type { AddressSpace } from './address-space.ts';

interface Lent {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

export class UserMemory {
  readonly #space: AddressSpace;
  /** Where lent buffers get their addresses: above every mapping, like a stack. */
  readonly #base: bigint;
  #lent: Lent[] = [];

  constructor(space: AddressSpace, base: number) {
    this.#space = space;
    this.#base = BigInt(base);
  }

  /** Gives `bytes` an address until `returnAll`. */
  lend(bytes: Uint8Array): bigint {
    const last = this.#lent.at(-1);
    // A page lies between two of them, so that reading past the end of one is EFAULT.
    const address = last === undefined ? this.#base : last.address + (BigInt(last.bytes.length + 8191) & ~4095n);
    this.#lent.push({ address, bytes });
    return address;
  }

  /** Ends all loans since `mark`, which is what `mark()` answered before them: calls may nest. */
  returnTo(mark: number): void {
    this.#lent.length = mark;
  }

  mark(): number {
    return this.#lent.length;
  }

  #find(address: bigint, length: number): Uint8Array | undefined {
    for (const { address: start, bytes } of this.#lent) {
      const offset = address - start;
      if (offset < 0n || offset + BigInt(length) > BigInt(bytes.length)) continue;
      return bytes.subarray(Number(offset), Number(offset) + length);
    }
    return undefined;
  }

  /** A copy of `length` bytes; undefined stands for EFAULT. */
  read(address: bigint, length: number): Uint8Array | undefined {
    const lent = this.#find(address, length);
    if (lent !== undefined) return lent.slice();
    const into = new Uint8Array(length);
    if (length === 0) return into;
    if (address > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    return copyOut(this.#space, Number(address), into).done === length ? into : undefined;
  }

  /** False stands for EFAULT; then a part may have been written, as by copy_to_user. */
  write(address: bigint, bytes: Uint8Array): boolean {
    const lent = this.#find(address, bytes.length);
    if (lent !== undefined) {
      lent.set(bytes);
      return true;
    }
    if (bytes.length === 0) return true;
    if (address > BigInt(Number.MAX_SAFE_INTEGER)) return false;
    return copyIn(this.#space, Number(address), bytes).done === bytes.length;
  }

  /** A little-endian number of 8 bytes; undefined stands for EFAULT. */
  readU64(address: bigint): bigint | undefined {
    const bytes = this.read(address, 8);
    return bytes === undefined ? undefined : new DataView(bytes.buffer).getBigUint64(0, true);
  }
}
