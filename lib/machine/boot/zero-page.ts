/** What a kernel is told at its start: struct boot_params (Documentation/arch/x86/zero-page.rst), or hvm_start_info for PVH. */
import { HEADER } from './bzimage.ts';
import type { E820Entry } from './layout.ts';
import { viewOf } from './not-a-kernel.ts';

const PAGE = 4096;
const ACPI_RSDP_ADDR = 0x070;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const E820_SIZE = 20;
/** type_of_loader: one without a number of its own. */
const UNDEFINED_LOADER = 0xff;
const LOADED_HIGH = 0x01;
const BOOT_FLAG = 0xaa55;
const MAGIC = [0x48, 0x64, 0x72, 0x53]; // HdrS
const PROTOCOL = 0x020f;
const ALIGNMENT = 0x100_0000;

export interface StartFacts {
  /** Guest-physical addresses and sizes in bytes. */
  readonly commandLine: number;
  readonly initrd: { readonly gpa: number; readonly size: number } | undefined;
  readonly rsdp: number;
  readonly e820: readonly E820Entry[];
}

/** `header`: the setup header of a bzImage; an ELF kernel has none and gets what it looks at. */
export function zeroPage(facts: StartFacts, header?: Uint8Array): Uint8Array {
  const page = new Uint8Array(PAGE);
  const view = viewOf(page);
  if (header === undefined) {
    view.setUint16(HEADER.boot_flag, BOOT_FLAG, true);
    page.set(MAGIC, HEADER.magic);
    view.setUint16(HEADER.version, PROTOCOL, true);
    view.setUint32(HEADER.kernel_alignment, ALIGNMENT, true);
  } else page.set(header, HEADER.start);
  page[HEADER.type_of_loader] = UNDEFINED_LOADER;
  page[HEADER.loadflags] = (page[HEADER.loadflags] ?? 0) | LOADED_HIGH;
  view.setUint32(HEADER.cmd_line_ptr, facts.commandLine, true);
  view.setUint32(HEADER.ramdisk_image, facts.initrd?.gpa ?? 0, true);
  view.setUint32(HEADER.ramdisk_size, facts.initrd?.size ?? 0, true);
  view.setBigUint64(ACPI_RSDP_ADDR, BigInt(facts.rsdp), true);
  page[E820_ENTRIES] = facts.e820.length;
  facts.e820.forEach(({ gpa, size, type }, i) => {
    const at = E820_TABLE + i * E820_SIZE;
    view.setBigUint64(at, BigInt(gpa), true);
    view.setBigUint64(at + 8, BigInt(size), true);
    view.setUint32(at + 16, type, true);
  });
  return page;
}

const PVH_MAGIC = 0x336e_c578;
const START_INFO_SIZE = 56;
const MODULE_SIZE = 32;
const MEMMAP_SIZE = 24;

/** struct hvm_start_info, then its module and its memory map. include/xen/interface/hvm/start_info.h */
export function pvhStartInfo(at: number, facts: StartFacts): Uint8Array {
  const modules = facts.initrd === undefined ? 0 : 1;
  const memmap = START_INFO_SIZE + modules * MODULE_SIZE;
  const bytes = new Uint8Array(memmap + facts.e820.length * MEMMAP_SIZE);
  const view = viewOf(bytes);
  view.setUint32(0, PVH_MAGIC, true);
  view.setUint32(4, 1, true);
  view.setUint32(12, modules, true);
  view.setBigUint64(16, BigInt(modules === 0 ? 0 : at + START_INFO_SIZE), true);
  view.setBigUint64(24, BigInt(facts.commandLine), true);
  view.setBigUint64(32, BigInt(facts.rsdp), true);
  view.setBigUint64(40, BigInt(at + memmap), true);
  view.setUint32(48, facts.e820.length, true);
  if (facts.initrd !== undefined) {
    view.setBigUint64(START_INFO_SIZE, BigInt(facts.initrd.gpa), true);
    view.setBigUint64(START_INFO_SIZE + 8, BigInt(facts.initrd.size), true);
  }
  facts.e820.forEach(({ gpa, size, type }, i) => {
    view.setBigUint64(memmap + i * MEMMAP_SIZE, BigInt(gpa), true);
    view.setBigUint64(memmap + i * MEMMAP_SIZE + 8, BigInt(size), true);
    view.setUint32(memmap + i * MEMMAP_SIZE + 16, type, true);
  });
  return bytes;
}
