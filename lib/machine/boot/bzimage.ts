/** A bzImage: its setup header, and the protected-mode part that is loaded. Documentation/arch/x86/boot.rst */
import { NotBootableError, viewOf } from './not-a-kernel.ts';

/** Offsets of the setup header, in the file as in the zero page. */
export const HEADER = {
  start: 0x1f1,
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  boot_flag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  kernel_version: 0x20e,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  heap_end_ptr: 0x224,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  relocatable_kernel: 0x234,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  pref_address: 0x258,
  init_size: 0x260,
} as const;

const SECTOR = 512;
/** syssize counts in these; the last one need not be full. */
const PARAGRAPH = 16;
const BOOT_FLAG = 0xaa55;
const OLDEST_SETUP_SECTS = 4;
/** xloadflags. */
const XLF_KERNEL_64 = 0x1;
/** Where the 64-bit entry point is, from the start of the protected-mode part. */
export const ENTRY_64 = 0x200;
const OLDEST_VERSION = 0x020c;

export interface BzImage {
  readonly kind: 'bzImage';
  /** The header as it goes into the zero page, from 0x1f1 on. */
  readonly header: Uint8Array;
  readonly code: Uint8Array;
  /** Where to load `code`, and how much room it needs from there on, in bytes. */
  readonly loadAt: number;
  readonly room: number;
  /** The initramfs ends at or below it. */
  readonly initrdMax: number;
  readonly commandLineSize: number;
  /** `7.3.4 (builder@host) #1 SMP …` */
  readonly version: string | undefined;
}

/** Undefined when it has not the magic of one; NotBootableError for one that cannot be entered in 64-bit mode. */
export function parseBzImage(file: Uint8Array): BzImage | undefined {
  if (file.length < HEADER.init_size + 4) return undefined;
  const view = viewOf(file);
  const magic = String.fromCharCode(...file.subarray(HEADER.magic, HEADER.magic + 4));
  if (magic !== 'HdrS' || view.getUint16(HEADER.boot_flag, true) !== BOOT_FLAG) return undefined;
  const version = view.getUint16(HEADER.version, true);
  if (version < OLDEST_VERSION) {
    throw new NotBootableError(
      `boot protocol 0x${version.toString(16)}; 2.12 (Linux 3.8) is the oldest for a direct start`,
    );
  }
  if ((view.getUint16(HEADER.xloadflags, true) & XLF_KERNEL_64) === 0) {
    throw new NotBootableError('it has no 64-bit entry point (a 32-bit kernel)');
  }
  const sectors = file[HEADER.setup_sects] || OLDEST_SETUP_SECTS;
  const start = (sectors + 1) * SECTOR;
  const least = Math.max(
    start + ENTRY_64 + 1,
    start + view.getUint32(HEADER.syssize, true) * PARAGRAPH - (PARAGRAPH - 1),
  );
  if (file.length < least) {
    throw new NotBootableError(
      `the file is cut short: it has ${file.length} bytes, its header speaks of ${least} at least`,
    );
  }
  const end = HEADER.magic + (file[HEADER.jump + 1] ?? 0);
  const relocatable = file[HEADER.relocatable_kernel] !== 0;
  const preferred = Number(view.getBigUint64(HEADER.pref_address, true));
  const loadAt = relocatable ? preferred : view.getUint32(HEADER.code32_start, true);
  const code = file.subarray(start);
  const initSize = view.getUint32(HEADER.init_size, true);
  const text = view.getUint16(HEADER.kernel_version, true);
  return {
    kind: 'bzImage',
    header: file.slice(HEADER.start, end),
    code,
    loadAt,
    // One that is not relocatable unpacks itself to the preferred address.
    room: Math.max(code.length, preferred + initSize - loadAt),
    initrdMax: view.getUint32(HEADER.initrd_addr_max, true),
    commandLineSize: view.getUint32(HEADER.cmdline_size, true),
    version: text === 0 ? undefined : textAt(file, text + SECTOR),
  };
}

function textAt(file: Uint8Array, at: number): string | undefined {
  const end = file.indexOf(0, at);
  return end < 0 || end > at + 256 ? undefined : new TextDecoder('latin1').decode(file.subarray(at, end));
}
