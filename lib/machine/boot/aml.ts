/** As much of ACPI's machine language as a table of devices needs. ACPI 6.5, chapters 19.6 and 20. */

const SEGMENT = 4;
const text = (value: string): number[] => [...value].map((character) => character.charCodeAt(0));
const little = (value: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 0xff);

/** PkgLength counts itself. */
function packaged(op: readonly number[], body: readonly number[]): number[] {
  for (let size = 1; size <= 4; size++) {
    const length = body.length + size;
    if (size === 1 && length < 0x40) return [...op, length, ...body];
    if (size > 1 && length < 2 ** (8 * size - 4)) {
      const first = ((size - 1) << 6) | (length & 0x0f);
      return [...op, first, ...little(Math.floor(length / 16), size - 1), ...body];
    }
  }
  throw new RangeError('AML package too long');
}

/** A name of up to four characters, or one from the root on: `\_S5`. */
function name(value: string): number[] {
  const root = value.startsWith('\\');
  return [...(root ? [0x5c] : []), ...text(value.slice(root ? 1 : 0).padEnd(SEGMENT, '_'))];
}

export const integer = (value: number): number[] => {
  if (value === 0 || value === 1) return [value];
  if (value < 0x100) return [0x0a, value];
  return value < 0x1_0000 ? [0x0b, ...little(value, 2)] : [0x0c, ...little(value, 4)];
};

export const string = (value: string): number[] => [0x0d, ...text(value), 0];

/** A plug-and-play id such as `PNP0501`, packed. */
export function eisaId(id: string): number[] {
  const letters = text(id.slice(0, 3)).reduce((sum, code) => sum * 32 + (code - 0x40), 0);
  const number = Number.parseInt(id.slice(3), 16);
  return [0x0c, letters >> 8, letters & 0xff, number >> 8, number & 0xff];
}

export const named = (what: string, object: readonly number[]): number[] => [0x08, ...name(what), ...object];
export const list = (items: readonly (readonly number[])[]): number[] =>
  packaged([0x12], [items.length, ...items.flat()]);
export const scope = (what: string, body: readonly number[]): number[] => packaged([0x10], [...name(what), ...body]);
export const device = (what: string, body: readonly number[]): number[] =>
  packaged([0x5b, 0x82], [...name(what), ...body]);

const END_TAG = [0x79, 0];

export const resources = (items: readonly (readonly number[])[]): number[] => {
  const bytes = [...items.flat(), ...END_TAG];
  return packaged([0x11], [...integer(bytes.length), ...bytes]);
};
/** Ports, decoded in 16 bits. */
export const io = (port: number, size: number): number[] => [0x47, 1, ...little(port, 2), ...little(port, 2), 1, size];
/** An ISA interrupt: edge, active high. */
export const isaIrq = (irq: number): number[] => [0x22, ...little(1 << irq, 2)];
export const memory32 = (base: number, size: number): number[] => [
  0x86,
  9,
  0,
  1,
  ...little(base, 4),
  ...little(size, 4),
];
const CONSUMER = 0x01;
const EDGE = 0x02;
/** A global interrupt: active high, exclusive. */
export const interrupt = (gsi: number, trigger: 'edge' | 'level' = 'edge'): number[] => [
  0x89,
  6,
  0,
  trigger === 'edge' ? CONSUMER | EDGE : CONSUMER,
  1,
  ...little(gsi, 4),
];
