/** The ACPI tables of our machine: RSDP, XSDT, FADT, MADT and a DSDT. ACPI 6.5, chapter 5.2. */

import { PM_TIMER, PM1A_CONTROL, PM1A_EVENT, RESET_CONTROL, SLEEP_TYPE_S5 } from '../devices/power.ts';
import { RTC, RTC_CENTURY } from '../devices/rtc.ts';
import { COM1 } from '../devices/serial.ts';
import {
  device,
  eisaId,
  integer,
  interrupt,
  io,
  isaIrq,
  list,
  memory32,
  named,
  resources,
  scope,
  string,
} from './aml.ts';
import { IOAPIC, LOCAL_APIC } from './layout.ts';
import { viewOf } from './not-a-kernel.ts';

const HEADER_SIZE = 36;
const RSDP_SIZE = 36;
const FADT_SIZE = 276;
const FADT = {
  dsdt: 40,
  sci_int: 46,
  pm1a_evt_blk: 56,
  pm1a_cnt_blk: 64,
  pm_tmr_blk: 76,
  pm1_evt_len: 88,
  pm1_cnt_len: 89,
  pm_tmr_len: 91,
  p_lvl2_lat: 96,
  p_lvl3_lat: 98,
  century: 108,
  iapc_boot_arch: 109,
  flags: 112,
  reset_reg: 116,
  reset_value: 128,
  x_dsdt: 140,
  x_pm1a_evt_blk: 148,
  x_pm1a_cnt_blk: 172,
  x_pm_tmr_blk: 208,
} as const;
/** Wakes nobody and costs nothing: the interrupt that power events would have. */
const SCI = 9;
/** C2 and C3 are not there: latencies above what the specification allows. */
const NO_C2 = 0x65;
const NO_C3 = 0x3e9;
const LEGACY_DEVICES = 0x1;
const NO_VGA = 0x4;
const WBINVD = 0x1;
const C1_SUPPORTED = 0x4;
const NO_POWER_BUTTON = 0x10;
const NO_SLEEP_BUTTON = 0x20;
const RTC_WAKE_NOT_FIXED = 0x40;
const RESET_REG_SUP = 0x400;
const SYSTEM_IO = 1;
const PCAT_COMPAT = 1;

export interface VirtioPlace {
  readonly gpa: number;
  readonly size: number;
  readonly gsi: number;
  /** Default: edge. */
  readonly trigger?: 'edge' | 'level';
}

export interface AcpiOptions {
  /** Guest-physical address of the first table. */
  readonly at: number;
  readonly cpus: number;
  readonly virtio: readonly VirtioPlace[];
  /** Whether there is a pair of 8259s. Default true. */
  readonly pic?: boolean;
}

const ascii = (bytes: Uint8Array, at: number, text: string): void => {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
};

function checksum(bytes: Uint8Array, at: number, length = bytes.length): void {
  bytes[at] = 0;
  const sum = bytes.subarray(0, length).reduce((total, byte) => total + byte, 0);
  bytes[at] = (0x100 - (sum & 0xff)) & 0xff;
}

function table(signature: string, revision: number, body: Uint8Array | readonly number[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + body.length);
  const view = viewOf(bytes);
  bytes.set(body, HEADER_SIZE);
  ascii(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  ascii(bytes, 10, 'PRIVM ');
  ascii(bytes, 16, 'PRIVMEM ');
  view.setUint32(24, 1, true);
  ascii(bytes, 28, 'PRVM');
  view.setUint32(32, 1, true);
  checksum(bytes, 9);
  return bytes;
}

function dsdt(virtio: readonly VirtioPlace[]): Uint8Array {
  const uid = (value: number): number[] => named('_UID', integer(value));
  const devices = [
    ...device('COM1', [
      ...named('_HID', eisaId('PNP0501')),
      ...uid(0),
      ...named('_CRS', resources([io(COM1.port, COM1.size), isaIrq(COM1.irq)])),
    ]),
    ...device('RTC0', [...named('_HID', eisaId('PNP0B00')), ...named('_CRS', resources([io(RTC.port, RTC.size)]))]),
    ...virtio.flatMap(({ gpa, size, gsi, trigger }, i) =>
      device(`VIO${i.toString(16).toUpperCase()}`, [
        ...named('_HID', string('LNRO0005')),
        ...uid(i),
        ...named('_CRS', resources([memory32(gpa, size), interrupt(gsi, trigger)])),
      ]),
    ),
  ];
  const s5 = list([integer(SLEEP_TYPE_S5), integer(0), integer(0), integer(0)]);
  return table('DSDT', 2, [...named('\\_S5', s5), ...scope('\\_SB', devices)]);
}

function fadt(dsdtAt: number): Uint8Array {
  const body = new Uint8Array(FADT_SIZE - HEADER_SIZE);
  const view = viewOf(body);
  const at = (offset: number): number => offset - HEADER_SIZE;
  const u16 = (offset: number, value: number): void => view.setUint16(at(offset), value, true);
  const u32 = (offset: number, value: number): void => view.setUint32(at(offset), value, true);
  const address = (offset: number, port: number, size: number): void => {
    body[at(offset)] = SYSTEM_IO;
    body[at(offset) + 1] = size * 8;
    view.setBigUint64(at(offset) + 4, BigInt(port), true);
  };
  u32(FADT.dsdt, dsdtAt);
  view.setBigUint64(at(FADT.x_dsdt), BigInt(dsdtAt), true);
  u16(FADT.sci_int, SCI);
  u32(FADT.pm1a_evt_blk, PM1A_EVENT.port);
  u32(FADT.pm1a_cnt_blk, PM1A_CONTROL.port);
  u32(FADT.pm_tmr_blk, PM_TIMER.port);
  body[at(FADT.pm1_evt_len)] = PM1A_EVENT.size;
  body[at(FADT.pm1_cnt_len)] = PM1A_CONTROL.size;
  body[at(FADT.pm_tmr_len)] = PM_TIMER.size;
  address(FADT.x_pm1a_evt_blk, PM1A_EVENT.port, PM1A_EVENT.size);
  address(FADT.x_pm1a_cnt_blk, PM1A_CONTROL.port, PM1A_CONTROL.size);
  address(FADT.x_pm_tmr_blk, PM_TIMER.port, PM_TIMER.size);
  u16(FADT.p_lvl2_lat, NO_C2);
  u16(FADT.p_lvl3_lat, NO_C3);
  body[at(FADT.century)] = RTC_CENTURY;
  u16(FADT.iapc_boot_arch, LEGACY_DEVICES | NO_VGA);
  u32(FADT.flags, WBINVD | C1_SUPPORTED | NO_POWER_BUTTON | NO_SLEEP_BUTTON | RTC_WAKE_NOT_FIXED | RESET_REG_SUP);
  address(FADT.reset_reg, RESET_CONTROL.port, RESET_CONTROL.size);
  body[at(FADT.reset_value)] = RESET_CONTROL.value;
  return table('FACP', 6, body);
}

function madt(cpus: number, pic: boolean): Uint8Array {
  const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
  const processors = Array.from({ length: cpus }, (_, id) => [0, 8, id, id, ...word(1)]);
  const ioapic = [1, 12, 0, 0, ...word(IOAPIC), ...word(0)];
  // The power interrupt is a level, active high, whatever ISA says.
  const override = [2, 10, 0, SCI, ...word(SCI), 0x0d, 0];
  return table('APIC', 5, [
    ...word(LOCAL_APIC),
    ...word(pic ? PCAT_COMPAT : 0),
    ...processors.flat(),
    ...ioapic,
    ...override,
  ]);
}

/** The tables as they go to `at`, where the RSDP comes first. */
export function acpiTables({ at, cpus, virtio, pic = true }: AcpiOptions): Uint8Array {
  const parts: Uint8Array[] = [];
  let end = at + 64;
  const place = (bytes: Uint8Array): number => {
    const gpa = end;
    parts.push(bytes);
    end += Math.ceil(bytes.length / 16) * 16;
    return gpa;
  };
  const pointers = [fadt(place(dsdt(virtio))), madt(cpus, pic)].map(place);
  const list64 = new Uint8Array(pointers.length * 8);
  pointers.forEach((gpa, i) => {
    viewOf(list64).setBigUint64(i * 8, BigInt(gpa), true);
  });
  const xsdt = place(table('XSDT', 1, list64));
  const all = new Uint8Array(end - at);
  const rsdp = new Uint8Array(RSDP_SIZE);
  ascii(rsdp, 0, 'RSD PTR ');
  ascii(rsdp, 9, 'PRIVM ');
  rsdp[15] = 2;
  viewOf(rsdp).setUint32(20, RSDP_SIZE, true);
  viewOf(rsdp).setBigUint64(24, BigInt(xsdt), true);
  checksum(rsdp, 8, 20);
  checksum(rsdp, 32);
  all.set(rsdp, 0);
  let offset = 64;
  for (const part of parts) {
    all.set(part, offset);
    offset += Math.ceil(part.length / 16) * 16;
  }
  return all;
}
