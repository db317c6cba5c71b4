/** Reads little-endian numbers and notes an overrun instead of throwing: a decoder meets one at the end of any page. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  at: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Whether anything was read behind the end; what was read there is 0. */
  get overrun(): boolean {
    return this.at > this.end;
  }

  /** The next byte without moving. */
  peek(): number {
    return this.at < this.end ? (this.bytes[this.at] ?? 0) : 0;
  }

  uint8(): number {
    const value = this.peek();
    this.at += 1;
    return value;
  }

  int8(): number {
    return (this.uint8() << 24) >> 24;
  }

  int16(): number {
    const low = this.uint8();
    return ((low | (this.uint8() << 8)) << 16) >> 16;
  }

  int32(): number {
    const low = this.uint8() | (this.uint8() << 8);
    return low | (this.uint8() << 16) | (this.uint8() << 24);
  }

  /** A signed number of `bits` bits. */
  signed(bits: 8 | 16 | 32 | 64): bigint {
    if (bits === 8) return BigInt(this.int8());
    if (bits === 16) return BigInt(this.int16());
    if (bits === 32) return BigInt(this.int32());
    const low = BigInt.asUintN(32, BigInt(this.int32()));
    return (BigInt(this.int32()) << 32n) | low;
  }
}
