/** What a kernel is told before it runs, and files that are none. */
import { describe, expect, it, test } from 'vitest';
import { acpiTables } from '../../../lib/machine/boot/acpi.ts';
import { cpuidFor } from '../../../lib/machine/boot/cpuid.ts';
import { e820, ramRanges } from '../../../lib/machine/boot/layout.ts';
import { loadLinux, parseKernel } from '../../../lib/machine/boot/linux.ts';
import { NotBootableError } from '../../../lib/machine/boot/not-a-kernel.ts';
import type { MachineMemory } from '../../../lib/machine/words.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** A bzImage with nothing in it but what a loader looks at. */
function bzImage(change: (view: DataView) => void = () => {}): Uint8Array {
  const file = new Uint8Array(0x3000);
  const view = new DataView(file.buffer);
  file[0x1f1] = 4;
  view.setUint32(0x1f4, (file.length - 5 * 512) / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  file[0x201] = 0x6a;
  file.set(Buffer.from('HdrS'), 0x202);
  view.setUint16(0x206, 0x020f, true);
  file[0x211] = 1;
  view.setUint32(0x214, 0x10_0000, true);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 100, true);
  view.setBigUint64(0x258, 0x100_0000n, true);
  view.setUint32(0x260, 4 * MIB, true);
  file.fill(0x90, 5 * 512);
  change(view);
  return file;
}

function elf(change: (view: DataView) => void = () => {}, note = true): Uint8Array {
  const file = new Uint8Array(0x2000);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(18, 62, true);
  view.setBigUint64(24, 0x100_0040n, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, note ? 2 : 1, true);
  const header = (at: number, type: number, values: readonly bigint[]): void => {
    view.setUint32(at, type, true);
    values.forEach((value, i) => {
      view.setBigUint64(at + 8 + 8 * i, value, true);
    });
  };
  header(64, 1, [0x1000n, 0xffff_ffff_8100_0000n, 0x100_0000n, 0x800n, 0x4000n]);
  header(120, 4, [0x200n, 0n, 0n, 24n, 24n]);
  view.setUint32(0x200, 4, true);
  view.setUint32(0x204, 8, true);
  view.setUint32(0x208, 18, true);
  file.set(Buffer.from('Xen\0'), 0x20c);
  view.setUint32(0x210, 0x100_0100, true);
  change(view);
  return file;
}

describe('files that are no kernels', () => {
  const files: readonly (readonly [what: string, file: Uint8Array, says: RegExp])[] = [
    ['nothing', new Uint8Array(0), /the file is empty/],
    ['text', Buffer.from('{"name": "privmem"}'), /neither a bzImage \(no HdrS at 0x202\) nor an ELF file/],
    ['gzip', Uint8Array.of(0x1f, 0x8b, 8, 0), /compressed by gzip: unpack it first/],
    ['an old kernel', bzImage((view) => view.setUint16(0x206, 0x0209, true)), /boot protocol 0x209; 2\.12/],
    ['a 32-bit kernel', bzImage((view) => view.setUint16(0x236, 0, true)), /no 64-bit entry point/],
    ['half a kernel', bzImage().subarray(0, 5 * 512), /cut short/],
    ['most of a kernel', bzImage().subarray(0, -16), /cut short: it has 12272 bytes, its header speaks of 12273/],
    ['an ELF file for arm64', elf((view) => view.setUint16(18, 183, true)), /machine 183/],
    ['half an ELF file', elf().subarray(0, 0x1100), /cut short/],
    ['a program', elf((view) => view.setBigUint64(24, 0x40_1000n, true), false), /an ELF program, not a kernel/],
    ['an object file', elf((view) => view.setUint16(56, 0, true)), /nothing to load/],
  ];
  test.each(files)('%s', (_, file, says) => {
    expect(() => parseKernel(file)).toThrow(NotBootableError);
    expect(() => parseKernel(file)).toThrow(says);
  });

  it('arm64 Image', () => {
    const file = new Uint8Array(64);
    file.set(Buffer.from('ARM\x64'), 0x38);
    expect(() => parseKernel(file)).toThrow(/an Image for arm64/);
  });

  it('any change of one byte of a kernel is refused in words or loads', () => {
    const memory: MachineMemory = { read: (_, length) => new Uint8Array(length), write: () => {} };
    for (const make of [bzImage, elf]) {
      for (let at = 0; at < 0x280; at++) {
        const file = make();
        file[at] = (file[at] ?? 0) ^ 0xff;
        try {
          const kernel = parseKernel(file);
          loadLinux(memory, { kernel, commandLine: '', memory: 64 * MIB, cpus: 1, virtio: [] });
        } catch (error) {
          expect(error instanceof NotBootableError || error instanceof RangeError, `byte ${at}: ${error}`).toBe(true);
        }
      }
    }
  });
});

function load(file: Uint8Array, more: Partial<Parameters<typeof loadLinux>[1]> = {}) {
  const writes = new Map<number, Uint8Array>();
  const memory: MachineMemory = {
    read: () => new Uint8Array(0),
    write: (gpa, bytes) => void writes.set(gpa, bytes.slice()),
  };
  const options = { commandLine: 'quiet', memory: 64 * MIB, cpus: 2, virtio: [], ...more };
  const loaded = loadLinux(memory, { kernel: parseKernel(file), ...options });
  const at = (gpa: number): DataView => new DataView((writes.get(gpa) ?? new Uint8Array(0)).buffer);
  return { loaded, writes, at };
}

describe('loading', () => {
  it('a bzImage: code, zero page, command line, initramfs at the top', () => {
    const { loaded, writes, at } = load(bzImage(), { initrd: new Uint8Array(5000).fill(1) });
    expect(loaded.entry).toEqual({ protocol: '64-bit', rip: 0x10_0200 });
    expect(writes.get(0x10_0000)?.[0x200]).toBe(0x90);
    const zero = at(0x7000);
    expect([zero.getUint32(0x202, true), zero.getUint8(0x210), zero.getUint8(0x211) & 1]).toEqual([
      0x53726448, 0xff, 1,
    ]);
    expect(Buffer.from(writes.get(zero.getUint32(0x228, true)) ?? []).toString()).toBe('quiet\0');
    expect([zero.getUint32(0x218, true), zero.getUint32(0x21c, true)]).toEqual([64 * MIB - 8192, 5000]);
    expect(zero.getBigUint64(0x070, true)).toBe(0xe_0000n);
    expect(zero.getUint8(0x1e8)).toBe(3);
    expect(zero.getBigUint64(0x2d0 + 40, true)).toBe(0x10_0000n);
  });

  it('a relocatable one goes where it prefers', () => {
    const { loaded } = load(bzImage((view) => view.setUint8(0x234, 1)));
    expect(loaded.entry.rip).toBe(0x100_0200);
  });

  it('a vmlinux: by PVH where it has it, else by its 64-bit entry', () => {
    const pvh = load(elf(), { initrd: new Uint8Array(10) });
    expect(pvh.loaded.entry).toEqual({ protocol: 'PVH', rip: 0x100_0100 });
    const info = pvh.at(0x6000);
    expect([info.getUint32(0, true), info.getUint32(12, true), info.getUint32(48, true)]).toEqual([0x336e_c578, 1, 3]);
    expect(info.getBigUint64(56 + 8, true)).toBe(10n);
    expect(load(elf(), { protocol: '64-bit' }).loaded.entry).toEqual({ protocol: '64-bit', rip: 0x100_0040 });
    expect(load(elf(undefined, false)).loaded.entry.protocol).toBe('64-bit');
    expect(() => load(elf(undefined, false), { protocol: 'PVH' })).toThrow(/CONFIG_PVH/);
  });

  it('what does not fit is said in numbers', () => {
    expect(() => load(bzImage(), { memory: 8 * MIB })).toThrow(/the kernel needs 21 MiB of memory, the machine has 8/);
    expect(() => load(bzImage(), { commandLine: 'x'.repeat(101) })).toThrow(
      /the command line has 101 bytes, the kernel takes 100/,
    );
    expect(() => load(bzImage(), { initrd: new Uint8Array(50 * MIB) })).toThrow(/needs \d+ MiB/);
  });
});

it('RAM goes around the hole below 4 GiB', () => {
  expect(ramRanges(256 * MIB)).toEqual([{ gpa: 0, size: 256 * MIB }]);
  expect(ramRanges(5 * GIB)).toEqual([
    { gpa: 0, size: 3 * GIB },
    { gpa: 4 * GIB, size: 2 * GIB },
  ]);
  expect(
    e820(5 * GIB)
      .filter(({ type }) => type === 1)
      .reduce((sum, { size }) => sum + size, 0),
  ).toBe(5 * GIB - (0x10_0000 - 0x9_fc00));
});

it('ACPI: every table sums to zero and is found from the RSDP', () => {
  const at = 0xe_0000;
  const bytes = acpiTables({ at, cpus: 3, virtio: [{ gpa: 0xd000_0000, size: 0x200, gsi: 16 }] });
  const view = new DataView(bytes.buffer);
  const name = (gpa: number): string => Buffer.from(bytes.slice(gpa - at, gpa - at + 4)).toString();
  const sum = (gpa: number, length: number): number =>
    bytes.slice(gpa - at, gpa - at + length).reduce((total, byte) => (total + byte) & 0xff, 0);
  const whole = (gpa: number): number => sum(gpa, view.getUint32(gpa - at + 4, true));
  expect([Buffer.from(bytes.slice(0, 8)).toString(), sum(at, 20), sum(at, 36)]).toEqual(['RSD PTR ', 0, 0]);
  const xsdt = Number(view.getBigUint64(24, true));
  expect([name(xsdt), whole(xsdt)]).toEqual(['XSDT', 0]);
  const [fadt = 0, madt = 0] = [36, 44].map((offset) => Number(view.getBigUint64(xsdt - at + offset, true)));
  const dsdt = Number(view.getBigUint64(fadt - at + 140, true));
  expect([fadt, madt, dsdt].map((gpa) => [name(gpa), whole(gpa)])).toEqual([
    ['FACP', 0],
    ['APIC', 0],
    ['DSDT', 0],
  ]);
  const text = Buffer.from(bytes.slice(dsdt - at)).toString('latin1');
  for (const word of ['_S5_', 'COM1', 'VIO0', 'LNRO0005']) expect(text).toContain(word);
  // PNP0501, packed.
  expect(text).toContain('\x41\xd0\x05\x01');
  // Three processors of eight bytes, the IOAPIC, one override.
  expect(view.getUint32(madt - at + 4, true)).toBe(44 + 3 * 8 + 12 + 10);
});

it('CPUID: never more than KVM supports, but for what the machine adds itself', () => {
  const entry = (leaf: number, registers: Partial<Record<'eax' | 'ebx' | 'ecx' | 'edx', number>>, index = 0) => ({
    ...{ function: leaf, index, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
    ...registers,
  });
  const all = 0xffff_ffff;
  const supported = [
    entry(0, { eax: 0x20 }),
    entry(1, { ebx: all, ecx: all, edx: 0x0fff_ffff }),
    entry(7, { ebx: all, ecx: all, edx: all }),
    entry(0xb, {}, 0),
    entry(0xd, { eax: 0xe7 }),
    entry(0x4000_0001, { eax: all }),
    entry(0x8000_0001, { ecx: all, edx: all }),
  ];
  const ask = (more: Partial<Parameters<typeof cpuidFor>[0]>) => {
    const entries = cpuidFor({
      ...{ supported, policy: 'modest', vcpu: 2, cpus: 4, apic: true, tscDeadline: true },
      ...more,
    });
    return (leaf: number, index = 0) => entries.find((one) => one.function === leaf && one.index === index);
  };
  const modest = ask({});
  const one = modest(1);
  expect([(one?.ebx ?? 0) >>> 24, ((one?.ebx ?? 0) >>> 16) & 0xff, (one?.edx ?? 0) >>> 28]).toEqual([2, 4, 1]);
  const bit = (value: number | undefined, at: number): number => ((value ?? 0) >>> at) & 1;
  // VMX, XSAVE and AVX are gone; x2APIC, CX16 and the hypervisor bit are there.
  expect([5, 26, 28, 21, 13, 31].map((at) => bit(one?.ecx, at))).toEqual([0, 0, 0, 1, 1, 1]);
  expect([bit(ask({ policy: 'minimal' })(1)?.ecx, 13), ask({ policy: 'minimal' })(7)?.ebx]).toEqual([0, 0]);
  expect([modest(0xd), modest(0)?.eax, bit(modest(0x8000_0001)?.ecx, 2)]).toEqual([undefined, 0xd, 0]);
  expect([modest(0xb, 0)?.edx, modest(0xb, 1)?.ebx, modest(0xb, 1)?.eax]).toEqual([2, 4, 2]);
  expect(bit(ask({ policy: 'host' })(1)?.ecx, 28)).toBe(1);
  expect(ask({ paravirtual: false })(0x4000_0001)?.eax).toBe(0x8002);
  expect(bit(ask({ apic: false, tscDeadline: false })(1)?.ecx, 21)).toBe(0);
});
