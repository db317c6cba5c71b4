/** The IOAPIC of machines with split interrupt controllers: what leaves it, and when. */
import { describe, expect, it } from 'vitest';
import { Sys, simulate, UnsupportedError } from '../../../lib/index.ts';
import { Ioapic, openPc, parseKernel } from '../../../lib/machine/index.ts';
import { tinyKernel } from '../boot/tiny-kernel.ts';

const MASKED = 0x1_0000;
const LEVEL = 0x8000;

function rig(): {
  readonly ioapic: Ioapic;
  readonly sent: { address: number; data: number }[];
  readonly tables: number[][];
  entry(pin: number, low: number, high?: number): void;
  read(register: number): number;
} {
  const sent: { address: number; data: number }[] = [];
  const tables: number[][] = [];
  const ioapic = new Ioapic({
    deliver: (msi) => sent.push(msi),
    routed: (routes) => tables.push(routes.map(({ gsi }) => gsi)),
  });
  const write = (register: number, value: number): void => {
    ioapic.write(0, 4, register);
    ioapic.write(0x10, 4, value);
  };
  return {
    ioapic,
    sent,
    tables,
    entry: (pin, low, high = 0) => {
      write(0x11 + 2 * pin, high);
      write(0x10 + 2 * pin, low);
    },
    read: (register) => {
      ioapic.write(0, 4, register);
      return ioapic.read(0x10);
    },
  };
}

describe('Ioapic', () => {
  it('says what it is, and starts masked', () => {
    const { read, sent, ioapic } = rig();
    expect(read(1)).toBe(0x17_0020);
    expect(read(0x10)).toBe(MASKED);
    ioapic.line(4).pulse();
    expect(sent).toEqual([]);
    expect(() => ioapic.line(24)).toThrow(/pins 0 to 23/);
  });

  it('an edge goes to whom the entry names, once for each rise, and is lost while masked', () => {
    const { ioapic, entry, sent } = rig();
    const line = ioapic.line(4);
    entry(4, 0x31, 0x0200_0000);
    line.set(true);
    line.set(true);
    expect(sent).toEqual([{ address: 0xfee0_2000, data: 0x31 }]);
    line.set(false);
    // Logical destination, lowest priority.
    entry(4, 0x931, 0xff00_0000);
    line.pulse();
    expect(sent[1]).toEqual({ address: 0xfeef_f004, data: 0x131 });
    entry(4, MASKED | 0x31);
    line.set(true);
    entry(4, 0x31);
    expect(sent.length).toBe(2);
  });

  it('a level comes once, and again after its end while it is held', () => {
    const { ioapic, entry, sent, read } = rig();
    const line = ioapic.line(16);
    entry(16, LEVEL | 0x41);
    line.set(true);
    line.set(true);
    expect(sent).toEqual([{ address: 0xfee0_0000, data: 0xc041 }]);
    expect(read(0x30)).toBe(0xc041);
    ioapic.endOfInterrupt(0x42);
    expect(sent.length).toBe(1);
    ioapic.endOfInterrupt(0x41);
    expect(sent.length).toBe(2);
    line.set(false);
    ioapic.write(0x40, 4, 0x41);
    expect([sent.length, read(0x30)]).toEqual([2, 0x8041]);
  });

  it('a level that was held behind a mask comes when the mask goes; turning to edge forgets what was not ended', () => {
    const { ioapic, entry, sent, read } = rig();
    ioapic.line(17).set(true);
    entry(17, MASKED | LEVEL | 0x51);
    expect(sent).toEqual([]);
    entry(17, LEVEL | 0x51);
    expect(sent.length).toBe(1);
    entry(17, MASKED | 0x51);
    expect(read(0x32)).toBe(MASKED | 0x51);
  });

  it('the table of routes has what is not masked, and is told only when it changes', () => {
    const { entry, tables } = rig();
    entry(4, 0x31);
    entry(4, 0x31);
    entry(16, LEVEL | 0x41);
    entry(4, MASKED);
    expect(tables).toEqual([[4], [4, 16], [16]]);
  });
});

it('a kernel without split controllers is said to have none: the simulation', () => {
  const options = {
    kernel: parseKernel(tinyKernel(() => {})),
    commandLine: '',
    memory: 2 ** 26,
    cpus: 1,
    output: () => {},
  };
  for (const irqchip of ['split', 'kernel'] as const) {
    const open = (): unknown => openPc(new Sys(simulate()), { ...options, irqchip });
    expect(open).toThrow(UnsupportedError);
    expect(open).toThrow(/KVM_CAP_\w*IRQCHIP is 0 for this VM on sim/);
  }
});
