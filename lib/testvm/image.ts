/** What a kernel image says about itself, from its first bytes. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { TestArch } from './words.ts';

export interface ImageInfo {
  readonly arch: TestArch;
  readonly format: 'bzImage' | 'Image' | 'EFI zboot' | 'gzip' | 'ELF';
  /** As the image has it: `7.3.4 (builder@host) #1 SMP …`. Only bzImages carry it in their headers. */
  readonly version?: string;
}

/** Not a kernel that QEMU could start. */
export class NotAKernelError extends Error {
  constructor(path: string, why: string) {
    super(`${path} is not a kernel image: ${why}`);
    this.name = 'NotAKernelError';
  }
}

const HEAD = 0x10000;
const ELF_MACHINES: Readonly<Record<number, TestArch>> = { 62: 'x64', 183: 'arm64' };

/** Layouts: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot-header.S. */
export function readImage(path: string): ImageInfo {
  const head = Buffer.alloc(HEAD);
  if (!statSync(path).isFile()) throw new NotAKernelError(path, 'not a regular file');
  const fd = openSync(path, 'r');
  let size: number;
  try {
    size = readSync(fd, head, 0, HEAD, 0);
  } finally {
    closeSync(fd);
  }
  const text = (at: number, length: number): string => head.toString('latin1', at, at + length);
  if (size >= 0x250 && text(0x202, 4) === 'HdrS') {
    const at = head.readUInt16LE(0x20e) + 0x200;
    const version = at > 0x200 && at < size ? text(at, 200).split('\0')[0] : undefined;
    return { arch: 'x64', format: 'bzImage', ...(version === undefined ? {} : { version }) };
  }
  if (size >= 64 && text(0x38, 4) === 'ARM\x64') return { arch: 'arm64', format: 'Image' };
  if (text(0, 4) === 'MZ\0\0' && text(4, 4) === 'zimg') return { arch: 'arm64', format: 'EFI zboot' };
  if (text(0, 4) === '\x7fELF') {
    const arch = ELF_MACHINES[head.readUInt16LE(18)];
    if (arch === undefined) throw new NotAKernelError(path, `an ELF file for machine ${head.readUInt16LE(18)}`);
    return { arch, format: 'ELF' };
  }
  // QEMU unpacks Image.gz by itself; x86 kernels are not packed that way.
  if (head[0] === 0x1f && head[1] === 0x8b) return { arch: 'arm64', format: 'gzip' };
  throw new NotAKernelError(path, 'no header of a bzImage, Image, vmlinux or compressed Image');
}
