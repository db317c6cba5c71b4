/** The kinds of field that a kernel struct is made of: how each is read, written and shown. All little endian. */

export type Int = number | bigint;

/** Names for the values of a field: either bits that combine or values that exclude each other. */
export interface NameSet {
  readonly name: string;
  readonly kind: 'bits' | 'values';
  /** The architecture, where the values differ between them. */
  readonly arch?: 'x86' | 'arm64';
  readonly entries: Map<string, bigint>;
}

/** `Out` is what decoding gives, `In` what encoding takes. */
export interface Field<Out, In = Out> {
  readonly size: number;
  readonly align: number;
  read(view: DataView, offset: number, where: string): Out;
  write(view: DataView, offset: number, value: In, where: string): void;
  /** For traces and errors: never throws, whatever the bytes. */
  show(view: DataView, offset: number): string;
  /** True when every byte is zero: padding and unused fields are left out of traces then. */
  isZero(view: DataView, offset: number): boolean;
  /** What an array consists of. */
  readonly element?: Field<unknown, never>;
  /** Names shown for the value, if there are any. */
  readonly names?: NameSet;
  /** The value is a file descriptor: what carries a struct to another process must translate it. */
  readonly isFd?: true;
}

type Width = 1 | 2 | 4 | 8;

function allZero(view: DataView, offset: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (view.getUint8(offset + i) !== 0) return false;
  return true;
}

function rawUnsigned(view: DataView, offset: number, width: Width): bigint {
  switch (width) {
    case 1:
      return BigInt(view.getUint8(offset));
    case 2:
      return BigInt(view.getUint16(offset, true));
    case 4:
      return BigInt(view.getUint32(offset, true));
    case 8:
      return view.getBigUint64(offset, true);
  }
}

/** Checks that `value` is an integer that `width` bytes hold. `where` names the struct and field in the error. */
export function toInteger(value: Int, width: Width, signed: boolean, where: string): bigint {
  if (typeof value !== 'number' && typeof value !== 'bigint') {
    throw new TypeError(`${where} must be a number or a bigint, got ${value === null ? 'null' : typeof value}`);
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`${where} must be an integer below 2^53 (larger ones as bigint), got ${value}`);
  }
  const big = BigInt(value);
  const bits = width * 8;
  const held = signed ? BigInt.asIntN(bits, big) : BigInt.asUintN(bits, big);
  if (held !== big) throw new RangeError(`${where} must fit ${signed ? 's' : 'u'}${bits}, got ${big}`);
  return big;
}

function nameOf(value: bigint, names: NameSet): string | undefined {
  for (const [name, entry] of names.entries) if (entry === value) return name;
  return undefined;
}

/** `GUEST_MEMFD_FLAG_MMAP|0x8`, the name of a value, or plain hexadecimal. */
export function showNamed(value: bigint, names: NameSet | undefined): string {
  if (names === undefined) return value < 10n ? value.toString() : `0x${value.toString(16)}`;
  if (names.kind === 'values') {
    return nameOf(value, names) ?? `0x${value.toString(16)}`;
  }
  if (value === 0n) return nameOf(value, names) ?? '0';
  if (value === 0n) for (const [name, entry] of names.entries) if (entry === 0n) return name;
  const parts: string[] = [];
  let rest = value;
  for (const [name, bit] of names.entries) {
    if (bit !== 0n && (rest & bit) === bit) {
      parts.push(name);
      rest &= ~bit;
    }
  }
  if (rest !== 0n) parts.push(`0x${rest.toString(16)}`);
  return parts.join('|');
}

function writeBig(view: DataView, offset: number, width: Width, big: bigint): void {
  const unsigned = BigInt.asUintN(width * 8, big);
  switch (width) {
    case 1:
      view.setUint8(offset, Number(unsigned));
      break;
    case 2:
      view.setUint16(offset, Number(unsigned), true);
      break;
    case 4:
      view.setUint32(offset, Number(unsigned), true);
      break;
    case 8:
      view.setBigUint64(offset, unsigned, true);
      break;
  }
}

/** An integer of 0 to 2^53 - 1 that the field holds: no bigint needed on the way. */
function writeNumber(view: DataView, offset: number, width: Width, value: number): void {
  switch (width) {
    case 1:
      view.setUint8(offset, value);
      break;
    case 2:
      view.setUint16(offset, value, true);
      break;
    case 4:
      view.setUint32(offset, value, true);
      break;
    case 8:
      view.setUint32(offset, value % 2 ** 32, true);
      view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
      break;
  }
}

function integer<Out extends Int>(
  width: Width,
  signed: boolean,
  convert: (big: bigint, where: string) => Out,
  names?: NameSet,
): Field<Out, Int> {
  const limit = 2 ** (signed ? width * 8 - 1 : width * 8);
  const raw = (view: DataView, offset: number): bigint => {
    const unsigned = rawUnsigned(view, offset, width);
    return signed ? BigInt.asIntN(width * 8, unsigned) : unsigned;
  };
  const field: Field<Out, Int> = {
    size: width,
    align: width,
    read: (view, offset, where) => convert(raw(view, offset), where),
    write: (view, offset, value, where) => {
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < limit) {
        writeNumber(view, offset, width, value);
      } else {
        writeBig(view, offset, width, toInteger(value, width, signed, where));
      }
    },
    show: (view, offset) => {
      const value = raw(view, offset);
      return signed ? value.toString() : showNamed(value, names);
    },
    isZero: (view, offset) => allZero(view, offset, width),
  };
  return names === undefined ? field : { ...field, names };
}

const asNumber = (big: bigint): number => Number(big);
const asBigint = (big: bigint): bigint => big;

function asSafeNumber(big: bigint, where: string): number {
  if (big > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`${where} is 0x${big.toString(16)}, more than a number holds exactly`);
  }
  return Number(big);
}

export const u8 = integer(1, false, asNumber);
export const u16 = integer(2, false, asNumber);
export const u32 = integer(4, false, asNumber);
export const s8 = integer(1, true, asNumber);
export const s16 = integer(2, true, asNumber);
export const s32 = integer(4, true, asNumber);
/** A file descriptor: 32 bits that the headers call unsigned; -1 can be given, and is shown as such. */
export const fd: Field<number, Int> = { ...s32, isFd: true };
export const s64 = integer(8, true, asBigint);
/** A register, mask or anything whose top bits may be set: decoded as bigint. */
export const u64 = integer(8, false, asBigint);
/** A gpa, hva, offset or size, in bytes: decoded as number; a value of 2^53 or more is a RangeError, never rounded. */
export const address = integer(8, false, asSafeNumber);

/** A field whose values or bits have names. */
export const named = {
  u8: (names: NameSet) => integer(1, false, asNumber, names),
  u16: (names: NameSet) => integer(2, false, asNumber, names),
  u32: (names: NameSet) => integer(4, false, asNumber, names),
  u64: (names: NameSet) => integer(8, false, asBigint, names),
};

/** `length` bytes, decoded as a copy; shorter input is padded with zeros. `align` is that of the type in C, for unions. */
export function bytes(length: number, align = 1): Field<Uint8Array, Uint8Array> {
  return {
    size: length,
    align,
    read: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, length).slice(),
    write: (view, offset, value, where) => {
      if (!(value instanceof Uint8Array)) throw new TypeError(`${where} must be a Uint8Array`);
      if (value.length > length) throw new RangeError(`${where} holds ${length} bytes, got ${value.length}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, length).fill(0).set(value);
    },
    show: (view, offset) => {
      const shown = [...new Uint8Array(view.buffer, view.byteOffset + offset, Math.min(length, 16))];
      const hex = shown.map((b) => b.toString(16).padStart(2, '0')).join('');
      return `"${hex}${length > 16 ? '…' : ''}"`;
    },
    isZero: (view, offset) => allZero(view, offset, length),
  };
}

/** A fixed array. Encoding takes up to `length` elements; the rest is zero. */
export function array<Out, In>(element: Field<Out, In>, length: number): Field<Out[], readonly In[]> {
  const at = (offset: number, index: number) => offset + index * element.size;
  return {
    size: element.size * length,
    align: element.align,
    element: element as Field<unknown, never>,
    read: (view, offset, where) =>
      Array.from({ length }, (_, i) => element.read(view, at(offset, i), `${where}[${i}]`)),
    write: (view, offset, value, where) => {
      if (!Array.isArray(value)) throw new TypeError(`${where} must be an array`);
      if (value.length > length) throw new RangeError(`${where} holds ${length} elements, got ${value.length}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, element.size * length).fill(0);
      value.forEach((item: In, i) => {
        element.write(view, at(offset, i), item, `${where}[${i}]`);
      });
    },
    show: (view, offset) => {
      const items: string[] = [];
      let last = length;
      while (last > 0 && element.isZero(view, at(offset, last - 1))) last--;
      for (let i = 0; i < Math.min(last, 8); i++) items.push(element.show(view, at(offset, i)));
      if (last > 8) items.push('…');
      return `[${items.join(', ')}]`;
    },
    isZero: (view, offset) => allZero(view, offset, element.size * length),
  };
}
