/** Bytes of a few instructions that random code is put together from. */
import type { Mode } from '../../lib/guest/x64/operands.ts';

export const little = (value: bigint, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

/** mov r32, value. */
export const load = (mode: Mode, register: number, value: bigint): number[] => [
  ...(mode === 16 ? [0x66] : []),
  0xb8 + register,
  ...little(value, 4),
];

/** mod and rm of an operand at a fixed place, with `reg`. */
export function placed(mode: Mode, reg: number, at: number): number[] {
  if (mode === 16) return [0x06 | (reg << 3), ...little(BigInt(at), 2)];
  const address = little(BigInt(at), 4);
  return mode === 64 ? [0x04 | (reg << 3), 0x25, ...address] : [0x05 | (reg << 3), ...address];
}
