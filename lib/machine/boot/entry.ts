/** The state of the boot processor at the kernel's entry. Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"; PVH: xen's docs/misc/pvh.pandoc. */
import { identityPageTables } from '../../guest/x64/paging.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import { ABOVE_4G, BOOT_STACK, GDT, PAGE_TABLES, PVH_START_INFO, ZERO_PAGE } from './layout.ts';

export interface Entry {
  readonly protocol: '64-bit' | 'PVH';
  readonly rip: number;
}

/** __BOOT_CS and __BOOT_DS, and a task segment after them. */
const CODE = 0x10;
const DATA = 0x18;
const TASK = 0x20;
const FLAT = { base: 0n, limit: 0xffff_ffff, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0 } as const;
const data = { ...FLAT, selector: DATA, type: 3, db: 1, l: 0 } as const;
const code64 = { ...FLAT, selector: CODE, type: 11, db: 0, l: 1 } as const;
const code32 = { ...FLAT, selector: CODE, type: 11, db: 1, l: 0 } as const;
const task = { ...FLAT, selector: TASK, type: 11, limit: 0x67, s: 0, g: 0, db: 0, l: 0 } as const;

/** The same as descriptors, for when the kernel loads a segment before it has a table of its own. */
const DESCRIPTORS = { '64-bit': 0x00af_9b00_0000_ffffn, PVH: 0x00cf_9b00_0000_ffffn } as const;
const DATA_DESCRIPTOR = 0x00cf_9300_0000_ffffn;
const TASK_DESCRIPTOR = 0x0000_8b00_0000_0067n;

const CR0_PE = 0x1n;
const CR0_ET = 0x10n;
const CR0_PG = 0x8000_0000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;
const RFLAGS = 2n;

/** What the entry needs in memory. */
export function entryMemory({ protocol }: Entry): { readonly gpa: number; readonly bytes: Uint8Array }[] {
  const gdt = new Uint8Array(5 * 8);
  const view = new DataView(gdt.buffer);
  view.setBigUint64(CODE, DESCRIPTORS[protocol], true);
  view.setBigUint64(DATA, DATA_DESCRIPTOR, true);
  view.setBigUint64(TASK, TASK_DESCRIPTOR, true);
  if (protocol === 'PVH') return [{ gpa: GDT, bytes: gdt }];
  const tables = identityPageTables({ at: PAGE_TABLES, ranges: [{ gpa: 0, size: ABOVE_4G }] });
  return [
    { gpa: GDT, bytes: gdt },
    { gpa: PAGE_TABLES, bytes: tables.bytes },
  ];
}

export function setEntry({ x64 }: Vcpu, { protocol, rip }: Entry): void {
  const long = protocol === '64-bit';
  const cs = long ? code64 : code32;
  const segments = { cs, ds: data, es: data, fs: data, gs: data, ss: data, tr: task };
  const sregs = x64.getSregs();
  x64.setSregs({
    ...sregs,
    ...segments,
    gdt: { ...sregs.gdt, base: BigInt(GDT), limit: 5 * 8 - 1 },
    cr0: long ? CR0_PE | CR0_ET | CR0_PG : CR0_PE | CR0_ET,
    cr3: long ? BigInt(PAGE_TABLES) : 0n,
    cr4: long ? CR4_PAE : 0n,
    efer: long ? EFER_LME_LMA : 0n,
  });
  const common = { rip: BigInt(rip), rflags: RFLAGS };
  x64.setRegs(
    long ? { ...common, rsp: BigInt(BOOT_STACK), rsi: BigInt(ZERO_PAGE) } : { ...common, rbx: BigInt(PVH_START_INFO) },
  );
}

const LAPIC_LVT0 = 0x350;
const LAPIC_LVT1 = 0x360;
const MODE_EXTINT = 0x700;
const MODE_NMI = 0x400;
const MSR_MTRR_DEF_TYPE = 0x2ff;
const MTRR_ENABLED_WRITE_BACK = 0x806;
const MSR_MISC_ENABLE = 0x1a0;
const FAST_STRING = 1;

/** What firmware leaves behind in every processor: virtual wire mode, memory that is cached. */
export function setFirmwareState({ x64 }: Vcpu): void {
  const lapic = x64.getLapic();
  const view = new DataView(lapic.buffer, lapic.byteOffset);
  view.setUint32(LAPIC_LVT0, MODE_EXTINT, true);
  view.setUint32(LAPIC_LVT1, MODE_NMI, true);
  x64.setLapic(lapic);
  // Fewer are set where the kernel does not know one: no guest depends on it.
  x64.setMsrs([
    { index: MSR_MTRR_DEF_TYPE, data: MTRR_ENABLED_WRITE_BACK },
    { index: MSR_MISC_ENABLE, data: FAST_STRING },
  ]);
}
