/** The 16550A as Linux's driver finds it. */
import { expect, it } from 'vitest';
import { Serial } from '../../../lib/machine/devices/serial.ts';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7] as const;

function serial() {
  const out: number[] = [];
  const levels: boolean[] = [];
  const irq = { set: (level: boolean) => void (levels.at(-1) !== level && levels.push(level)), pulse: () => {} };
  const device = new Serial({ output: (bytes) => out.push(...bytes), irq });
  const read = (offset: number): number => device.read(offset, 1);
  const write = (offset: number, value: number): void => device.write(offset, 1, value);
  return { device, out, levels, read, write, text: () => String.fromCharCode(...out) };
}

it('is found: interrupt bits, loop-back, FIFO, scratch, divisor', () => {
  const { read, write } = serial();
  write(IER, 0xff);
  expect(read(IER)).toBe(0x0f);
  write(IER, 0);
  expect(read(IER)).toBe(0);
  write(MCR, 0x10 | 0x0a);
  // RTS is CTS, OUT2 is DCD.
  expect(read(MSR) & 0xf0).toBe(0x90);
  write(MCR, 0x08);
  write(IIR, 0x01);
  expect(read(IIR) & 0xc0).toBe(0xc0);
  write(SCR, 0xae);
  expect(read(SCR)).toBe(0xae);
  write(LCR, 0x83);
  write(DATA, 0x34);
  write(IER, 0x12);
  expect([read(DATA), read(IER)]).toEqual([0x34, 0x12]);
  write(LCR, 0x03);
  expect([read(IER), read(LSR)]).toEqual([0, 0x60]);
});

it('sends at a newline, when told to, and when it is closed', async () => {
  const { device, text, write } = serial();
  for (const byte of Buffer.from('a\nb')) write(DATA, byte);
  expect(text()).toBe('a\n');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(text()).toBe('a\nb');
  write(DATA, 0x63);
  device.close();
  expect(text()).toBe('a\nbc');
});

it('the transmitter interrupts when it is empty, once for each time it was told', () => {
  const { levels, read, write } = serial();
  write(IER, 0x02);
  expect(levels.at(-1)).toBe(true);
  expect(read(IIR) & 0x0f).toBe(0x02);
  expect([read(IIR) & 0x0f, levels.at(-1)]).toEqual([0x01, false]);
  write(DATA, 0x41);
  expect(levels.at(-1)).toBe(true);
  write(IER, 0);
  expect(levels.at(-1)).toBe(false);
  write(IER, 0x02);
  expect(levels.at(-1)).toBe(true);
});

it('what is sent to a guest waits until it listens, and is not lost when it clears its FIFO', () => {
  const { device, levels, read, write } = serial();
  device.input(Buffer.from('hello, guest of this machine'));
  expect(read(LSR) & 1).toBe(0);
  write(IIR, 0x07);
  write(IER, 0x01);
  expect(levels.at(-1)).toBe(true);
  let got = '';
  while ((read(LSR) & 1) !== 0) got += String.fromCharCode(read(DATA));
  expect(got).toBe('hello, guest of this machine');
  expect([levels.at(-1), device.backlog]).toEqual([false, 0]);
});

it('without an interrupt line input is there at once', () => {
  const device = new Serial({ output: () => {} });
  device.input(Uint8Array.of(1, 2));
  expect([device.read(LSR, 1) & 1, device.read(DATA, 1), device.read(DATA, 1), device.read(LSR, 1) & 1]).toEqual([
    1, 1, 2, 0,
  ]);
});

it('any access at all leaves it standing', () => {
  const { device } = serial();
  for (let offset = 0; offset < 8; offset++) {
    for (let value = 0; value < 256; value++) {
      device.write(offset, 1, value);
      for (let at = 0; at < 8; at++) expect(device.read(at, 1)).toBeLessThan(256);
    }
  }
  device.close();
});
