/**
 * The real-time clock, MC146818, as far as Linux reads it: time and date in BCD, 24 hours, never in an update. It cannot be set and has no alarm.
 * Registers: include/linux/mc146818rtc.h names them so.
 */
import type { Device } from '../words.ts';

/** Index at the first port, data at the second. */
export const RTC = { port: 0x70, size: 2 } as const;

const SECONDS = 0x00;
const MINUTES = 0x02;
const HOURS = 0x04;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REG_A = 0x0a;
const REG_B = 0x0b;
const REG_D = 0x0d;
/** Where PCs keep it; the FADT says so. */
export const RTC_CENTURY = 0x32;

/** 32.768 kHz, 1024 Hz. */
const REG_A_DIVIDER = 0x26;
const REG_B_24H = 0x02;
const REG_D_VALID = 0x80;
/** Bit 7 of the index masks the NMI. */
const INDEX_BITS = 0x7f;

const bcd = (value: number): number => Math.floor(value / 10) * 16 + (value % 10);

export function rtc(now: () => Date = () => new Date()): Device {
  let index = 0;
  let regB = REG_B_24H;
  const registers: Readonly<Record<number, (at: Date) => number>> = {
    [SECONDS]: (at) => bcd(at.getUTCSeconds()),
    [MINUTES]: (at) => bcd(at.getUTCMinutes()),
    [HOURS]: (at) => bcd(at.getUTCHours()),
    [DAY_OF_WEEK]: (at) => at.getUTCDay() + 1,
    [DAY_OF_MONTH]: (at) => bcd(at.getUTCDate()),
    [MONTH]: (at) => bcd(at.getUTCMonth() + 1),
    [YEAR]: (at) => bcd(at.getUTCFullYear() % 100),
    [RTC_CENTURY]: (at) => bcd(Math.floor(at.getUTCFullYear() / 100)),
    [REG_A]: () => REG_A_DIVIDER,
    [REG_B]: () => regB,
    [REG_D]: () => REG_D_VALID,
  };
  return {
    name: 'rtc',
    read: (offset) => (offset === 0 ? index : (registers[index]?.(now()) ?? 0)),
    write: (offset, _size, value) => {
      if (offset === 0) index = value & INDEX_BITS;
      else if (index === REG_B) regB = (value & 0xff) | REG_B_24H;
    },
  };
}
