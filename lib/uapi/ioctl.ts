/** Request numbers as the kernel encodes them (include/uapi/asm-generic/ioctl.h; x86 and arm64 share it). */

const NONE = 0;
const WRITE = 1;
const READ = 2;

export type Direction = 'none' | 'write' | 'read' | 'read-write';

const DIRECTIONS: readonly Direction[] = ['none', 'write', 'read', 'read-write'];

/** The type byte of every KVM request. */
export const KVMIO = 0xae;

function encode(direction: number, type: number, nr: number, size: number): number {
  if (!Number.isInteger(nr) || nr < 0 || nr > 0xff) throw new RangeError(`nr must be 0..255, got ${nr}`);
  if (!Number.isInteger(type) || type < 0 || type > 0xff) throw new RangeError(`type must be 0..255, got ${type}`);
  if (!Number.isInteger(size) || size < 0 || size > 0x3fff)
    throw new RangeError(`size must be 0..16383 bytes, got ${size}`);
  return ((direction << 30) | (size << 16) | (type << 8) | nr) >>> 0;
}

/** A request without an argument struct. */
export const io = (type: number, nr: number): number => encode(NONE, type, nr, 0);
/** A request that writes to the kernel `size` bytes. */
export const iow = (type: number, nr: number, size: number): number => encode(WRITE, type, nr, size);
/** A request that reads `size` bytes from the kernel. */
export const ior = (type: number, nr: number, size: number): number => encode(READ, type, nr, size);
/** A request whose `size` bytes go both ways. */
export const iowr = (type: number, nr: number, size: number): number => encode(READ | WRITE, type, nr, size);

export interface RequestParts {
  readonly direction: Direction;
  readonly type: number;
  readonly nr: number;
  /** Size of the argument in bytes. */
  readonly size: number;
}

export function decodeRequest(request: number): RequestParts {
  return {
    direction: DIRECTIONS[request >>> 30] ?? 'none',
    size: (request >>> 16) & 0x3fff,
    type: (request >>> 8) & 0xff,
    nr: request & 0xff,
  };
}

/** `_IOWR(0xae, 0xd2, 128)`: what is shown for a request without a name. */
export function describeRequest(request: number): string {
  const { direction, type, nr, size } = decodeRequest(request);
  const macro = { none: '_IO', write: '_IOW', read: '_IOR', 'read-write': '_IOWR' }[direction];
  const tail = direction === 'none' && size === 0 ? '' : `, ${size}`;
  return `${macro}(0x${type.toString(16)}, 0x${nr.toString(16)}${tail})`;
}
