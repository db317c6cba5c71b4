/** Clock, power management and the other small devices. */
import { expect, it } from 'vitest';
import { acpiPm, i8042, resetControl } from '../../../lib/machine/devices/power.ts';
import { rtc } from '../../../lib/machine/devices/rtc.ts';
import type { DeviceEnd } from '../../../lib/machine/words.ts';

const power = () => {
  const ends: DeviceEnd[] = [];
  return { ends, end: (end: DeviceEnd) => void ends.push(end) };
};

it('the clock: BCD, 24 hours, the century, valid and never in an update', () => {
  const device = rtc(() => new Date('2026-11-22T19:45:07Z'));
  const at = (index: number): number | undefined => {
    device.write?.(0, 1, index | 0x80);
    return device.read?.(1, 1);
  };
  expect([0x32, 9, 8, 7, 4, 2, 0, 6].map(at)).toEqual([0x20, 0x26, 0x11, 0x22, 0x19, 0x45, 0x07, 1]);
  expect([(at(0x0a) ?? 0) & 0x80, (at(0x0b) ?? 0) & 0x06, (at(0x0d) ?? 0) & 0x80]).toEqual([0, 2, 0x80]);
});

it('ACPI: always on, a timer of 3.58 MHz that wraps at 24 bits, only S5 switches off', () => {
  const p = power();
  let now = 0;
  const { control, timer, event } = acpiPm(p, () => now);
  expect(control.read?.(0, 2)).toBe(1);
  now = 1000;
  expect(timer.read?.(0, 4)).toBe(3_579_545);
  now = 10_000;
  expect(timer.read?.(0, 4)).toBe(35_795_450 % 2 ** 24);
  event.write?.(2, 2, 0x120);
  expect([event.read?.(2, 2), event.read?.(0, 2), event.read?.(0, 4)]).toEqual([0x120, 0, 0x120_0000]);
  control.write?.(0, 2, 5 << 10);
  control.write?.(0, 2, (3 << 10) | 0x2000);
  expect(p.ends).toEqual([]);
  control.write?.(0, 2, (5 << 10) | 0x2000);
  expect(p.ends).toEqual([{ kind: 'powered-off', by: 'ACPI S5' }]);
});

it('resets: only the right commands', () => {
  const p = power();
  const { command, data } = i8042(p);
  for (const value of [0x00, 0xaa, 0xd1, 0xff]) command.write?.(0, 1, value);
  expect([p.ends, command.read?.(0, 1), data.read?.(0, 1)]).toEqual([[], 0, 0]);
  command.write?.(0, 1, 0xfe);
  const control = resetControl(p);
  control.write?.(0, 1, 0x02);
  expect(control.read?.(0, 1)).toBe(0x02);
  control.write?.(0, 1, 0x06);
  expect(p.ends.map((end) => end.kind === 'reset' && end.by)).toEqual(['i8042', 'reset-control']);
});
