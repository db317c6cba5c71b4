import type { MemoryOperand, Mode, RegisterOperand } from './operands.ts';
import { NO_REGISTER, RIP } from './operands.ts';
import type { ByteReader } from './reader.ts';

/** ModRM, SIB and displacement of one instruction, with the REX bits they need. */
export interface ModrmEncoding {
  readonly bytes: readonly number[];
  readonly rexR: boolean;
  readonly rexX: boolean;
  readonly rexB: boolean;
  /** Position of the displacement in `bytes`; its size is 0 when there is none. */
  readonly displacementAt: number;
  readonly displacementSize: 0 | 1 | 2 | 4;
}

/** The base and index registers that 16-bit ModRM.rm values stand for: bx = 3, bp = 5, si = 6, di = 7. */
const PAIRS_16: readonly (readonly [base: number, index: number])[] = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, NO_REGISTER],
  [7, NO_REGISTER],
  [5, NO_REGISTER],
  [3, NO_REGISTER],
];

function littleEndian(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => (value >> (8 * i)) & 0xff);
}

/** Returns the reason as text when the address cannot be expressed. */
export function encodeModrm(reg: number, rm: RegisterOperand | MemoryOperand, mode: Mode): ModrmEncoding | string {
  const field = (reg & 7) << 3;
  const rexR = reg > 7;
  if (rm.kind === 'register') {
    const number = rm.index + (rm.high ? 4 : 0);
    const bytes = [0xc0 | field | (number & 7)];
    return { bytes, rexR, rexX: false, rexB: number > 7, displacementAt: 1, displacementSize: 0 };
  }
  return rm.addressBits === 16 ? encode16(field, rexR, rm, mode) : encode32(field, rexR, rm, mode);
}

function encode16(field: number, rexR: boolean, rm: MemoryOperand, mode: Mode): ModrmEncoding | string {
  if (mode === 64) return '16-bit addresses do not exist in 64-bit code';
  if (rm.scale !== 1) return '16-bit addresses have no scale';
  const done = (mod: number, code: number, size: 0 | 1 | 2): ModrmEncoding => ({
    bytes: [(mod << 6) | field | code, ...littleEndian(rm.displacement, size)],
    rexR,
    rexX: false,
    rexB: false,
    displacementAt: 1,
    displacementSize: size,
  });
  if (rm.base === NO_REGISTER && rm.index === NO_REGISTER) return done(0, 6, 2);
  const code = PAIRS_16.findIndex(([base, index]) => base === rm.base && index === rm.index);
  if (code < 0) return '16-bit addresses use bx or bp with si or di, or one of the four';
  if (rm.displacement === 0 && code !== 6) return done(0, code, 0);
  return rm.displacement >= -128 && rm.displacement <= 127 ? done(1, code, 1) : done(2, code, 2);
}

function encode32(field: number, rexR: boolean, rm: MemoryOperand, mode: Mode): ModrmEncoding | string {
  const { base, index, displacement } = rm;
  if (rm.addressBits === 64 && mode !== 64) return '64-bit addresses exist in 64-bit code only';
  if (index === 4) return 'the stack pointer cannot be an index';
  if (base === RIP && (mode !== 64 || index !== NO_REGISTER)) return 'rip stands alone, in 64-bit code';
  const hasBase = base !== NO_REGISTER;
  const hasIndex = index !== NO_REGISTER;
  // Without a base the short form means rip-relative in 64-bit code; the long way round through SIB stays absolute.
  const sib = base !== RIP && (hasIndex || (base & 7) === 4 || (!hasBase && mode === 64));
  let mod = 0;
  let size: 0 | 1 | 4 = 4;
  if (hasBase && base !== RIP) {
    // rbp and r13 with mod 0 are taken by the forms without a base, so they always carry a displacement.
    if (displacement === 0 && (base & 7) !== 5) size = 0;
    else if (displacement >= -128 && displacement <= 127) [mod, size] = [1, 1];
    else mod = 2;
  }
  const low = hasBase && base !== RIP ? base & 7 : 5;
  const bytes = [(mod << 6) | field | (sib ? 4 : low)];
  if (sib) bytes.push((Math.log2(rm.scale) << 6) | ((hasIndex ? index & 7 : 4) << 3) | low);
  const displacementAt = bytes.length;
  bytes.push(...littleEndian(displacement, size));
  return {
    bytes,
    rexR,
    rexX: hasIndex && index > 7,
    rexB: hasBase && base !== RIP && base > 7,
    displacementAt,
    displacementSize: size,
  };
}

/** Decodes the memory form of a ModRM byte; the reader stands behind that byte. */
export function decodeMemory(
  reader: ByteReader,
  modrm: number,
  rex: number,
  addressBits: 16 | 32 | 64,
  mode: Mode,
): Omit<MemoryOperand, 'bits'> {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (addressBits === 16) {
    const [base, index] =
      mod === 0 && rm === 6 ? [NO_REGISTER, NO_REGISTER] : (PAIRS_16[rm] ?? [NO_REGISTER, NO_REGISTER]);
    const displacement = mod === 1 ? reader.int8() : mod === 2 || (mod === 0 && rm === 6) ? reader.int16() : 0;
    return { kind: 'memory', base, index, scale: 1, displacement, addressBits };
  }
  let base = rm;
  let index = NO_REGISTER;
  let scale: 1 | 2 | 4 | 8 = 1;
  const sib = rm === 4;
  if (sib) {
    const byte = reader.uint8();
    base = byte & 7;
    const number = ((byte >> 3) & 7) | ((rex & 2) << 2);
    // Index 4 without REX.X means none; r12 (12) is a valid index. A scale without an index changes nothing.
    if (number !== 4) {
      index = number;
      scale = ([1, 2, 4, 8] as const)[(byte >> 6) & 3] ?? 1;
    }
  }
  if (mod === 0 && base === 5) {
    const displacement = reader.int32();
    return { kind: 'memory', base: !sib && mode === 64 ? RIP : NO_REGISTER, index, scale, displacement, addressBits };
  }
  const displacement = mod === 1 ? reader.int8() : mod === 2 ? reader.int32() : 0;
  return { kind: 'memory', base: base | ((rex & 1) << 3), index, scale, displacement, addressBits };
}
