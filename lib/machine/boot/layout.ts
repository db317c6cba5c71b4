/** Where things are in guest-physical memory, in bytes. Below 1 MiB as PCs have it, RAM up to 3 GiB, devices below 4 GiB, more RAM above. */
export const GIB = 2 ** 30;
export const GDT = 0x500;
export const ZERO_PAGE = 0x7000;
/** Six pages: 4 GiB in pages of 2 MiB. */
export const PAGE_TABLES = 0x9000;
export const PVH_START_INFO = 0x6000;
/** Below the zero page; a kernel entered in 64-bit mode has a stack of its own after a few instructions. */
export const BOOT_STACK = 0x8ff0;
export const COMMAND_LINE = 0x2_0000;
export const COMMAND_LINE_ROOM = 0x1_0000;
/** Where a PC's extended BIOS data area begins: usable RAM ends. */
export const LOW_RAM_END = 0x9_fc00;
export const ACPI_TABLES = 0xe_0000;
export const ACPI_ROOM = 0x1_0000;
export const HIGH_MEMORY = 0x10_0000;
export const DEVICE_HOLE = 3 * GIB;
/** virtio-mmio windows, one after the other. */
export const VIRTIO_MMIO = { base: 0xd000_0000, step: 0x1000, size: 0x200 } as const;
export const IOAPIC = 0xfec0_0000;
export const LOCAL_APIC = 0xfee0_0000;
/** For processors that cannot run real mode by themselves: a page, and three after it. */
export const IDENTITY_MAP = 0xfffb_c000;
export const TSS = 0xfffb_d000;
export const ABOVE_4G = 4 * GIB;

export interface RamRange {
  readonly gpa: number;
  readonly size: number;
}

/** RAM of `memory` bytes, around the device hole. */
export function ramRanges(memory: number): RamRange[] {
  const low = Math.min(memory, DEVICE_HOLE);
  const ranges = [{ gpa: 0, size: low }];
  if (memory > low) ranges.push({ gpa: ABOVE_4G, size: memory - low });
  return ranges;
}

export interface E820Entry extends RamRange {
  /** 1 RAM, 2 reserved. */
  readonly type: 1 | 2;
}

/** Documentation/arch/x86/zero-page.rst, e820_table. */
export function e820(memory: number): E820Entry[] {
  const [low, high] = ramRanges(memory);
  return [
    { gpa: 0, size: LOW_RAM_END, type: 1 },
    { gpa: LOW_RAM_END, size: HIGH_MEMORY - LOW_RAM_END, type: 2 },
    { gpa: HIGH_MEMORY, size: (low?.size ?? 0) - HIGH_MEMORY, type: 1 },
    ...(high === undefined ? [] : [{ ...high, type: 1 } as const]),
  ];
}
