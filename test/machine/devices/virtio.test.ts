/** virtio-mmio with a driver of the test's: a disk, a console, and drivers that break the rules. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { virtioBlock } from '../../../lib/machine/devices/virtio-block.ts';
import { virtioConsole } from '../../../lib/machine/devices/virtio-console.ts';
import { type VirtioDevice, VirtioMmio } from '../../../lib/machine/devices/virtio-mmio.ts';
import type { MachineMemory } from '../../../lib/machine/words.ts';

const work = mkdtempSync(join(tmpdir(), 'privmem-virtio-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const RAM = 0x1_0000;
const SECTOR = 512;
const [DESC, AVAIL, USED, BUFFERS] = [0x1000, 0x2000, 0x3000, 0x4000] as const;
const [NEXT, WRITE, INDIRECT] = [1, 2, 4] as const;
const [READY, NOTIFY, ISR, ACK, STATUS] = [0x44, 0x50, 0x60, 0x64, 0x70] as const;
const DRIVER_OK = 0xf;
const NEEDS_RESET = 0x40;

interface Part {
  readonly gpa: number;
  readonly length: number;
  readonly flags?: number;
}

/** A guest's side of one queue. */
function driver(device: VirtioDevice, queue = 0) {
  const bytes = new Uint8Array(RAM);
  const view = new DataView(bytes.buffer);
  const within = (gpa: number, length: number): void => {
    if (gpa + length > RAM) throw Object.assign(new Error(`hole at ${gpa}`), { name: 'GuestMemoryError' });
  };
  const memory: MachineMemory = {
    read: (gpa, length) => {
      within(gpa, length);
      return bytes.slice(gpa, gpa + length);
    },
    write: (gpa, data) => {
      within(gpa, data.length);
      bytes.set(data, gpa);
    },
  };
  let interrupts = 0;
  let held = false;
  const transport = new VirtioMmio(device, memory, {
    set: (level) => {
      held = level;
      if (level) interrupts++;
    },
    pulse: () => interrupts++,
  });
  const set = (offset: number, value: number): void => transport.write(offset, 4, value);
  const start = (): void => {
    set(STATUS, 0);
    set(0x30, queue);
    set(0x38, 8);
    set(0x80, DESC);
    set(0x90, AVAIL);
    set(0xa0, USED);
    set(READY, 1);
    set(STATUS, DRIVER_OK);
  };
  start();
  let count = 0;
  const describe = (index: number, { gpa, length, flags = 0 }: Part, next = 0): void => {
    view.setBigUint64(DESC + index * 16, BigInt(gpa), true);
    view.setUint32(DESC + index * 16 + 8, length, true);
    view.setUint16(DESC + index * 16 + 12, flags, true);
    view.setUint16(DESC + index * 16 + 14, next, true);
  };
  const offer = (head: number): void => {
    view.setUint16(AVAIL + 4 + 2 * (count % 8), head, true);
    view.setUint16(AVAIL + 2, ++count, true);
    set(NOTIFY, queue);
  };
  const send = (...parts: Part[]): number => {
    parts.forEach((part, i) => {
      const last = i === parts.length - 1;
      describe(i, { ...part, flags: (part.flags ?? 0) | (last ? 0 : NEXT) }, i + 1);
    });
    offer(0);
    return view.getUint32(USED + 4 + 8 * ((count - 1) % 8) + 4, true);
  };
  return { bytes, view, transport, set, start, send, describe, offer, interrupts: () => interrupts, held: () => held };
}

function header(on: ReturnType<typeof driver>, type: number, sector: number): Part {
  on.view.setUint32(BUFFERS, type, true);
  on.view.setBigUint64(BUFFERS + 8, BigInt(sector), true);
  return { gpa: BUFFERS, length: 16 };
}

const DATA = BUFFERS + 0x100;
const ANSWER = BUFFERS + 0x2000;
const answer: Part = { gpa: ANSWER, length: 1, flags: WRITE };

function disk(name: string, content: Uint8Array | string, readonly = false) {
  const path = join(work, name);
  writeFileSync(path, content);
  const device = virtioBlock({ path, readonly });
  return { path, device, on: driver(device) };
}

it('says what it is', () => {
  const { on, device } = disk('id', new Uint8Array(4 * SECTOR));
  expect([0, 4, 8].map((offset) => on.transport.read(offset, 4))).toEqual([0x7472_6976, 2, 2]);
  on.set(0x14, 1);
  // VERSION_1
  expect(on.transport.read(0x10, 4)).toBe(1);
  expect([on.transport.read(0x100, 4), on.transport.read(0x34, 4)]).toEqual([4, 128]);
  device.close?.();
});

it('a disk reads, writes, flushes; nothing beyond its end, nothing on a read-only one', () => {
  const { path, on, device } = disk(
    'rw',
    Uint8Array.from({ length: 4 * SECTOR }, (_, i) => i % 251),
  );
  const block: Part = { gpa: DATA, length: 2 * SECTOR };
  expect(on.send(header(on, 0, 1), { ...block, flags: WRITE }, answer)).toBe(2 * SECTOR + 1);
  expect(on.bytes[ANSWER]).toBe(0);
  expect(on.bytes.slice(DATA, DATA + 2 * SECTOR)).toEqual(new Uint8Array(readFileSync(path)).slice(SECTOR, 3 * SECTOR));
  expect([on.interrupts(), on.held(), on.transport.read(ISR, 4)]).toEqual([1, true, 1]);
  on.set(ACK, 1);
  expect([on.held(), on.transport.read(ISR, 4)]).toEqual([false, 0]);
  on.bytes.fill(0xee, DATA, DATA + 2 * SECTOR);
  on.send(header(on, 1, 2), block, answer);
  expect([on.bytes[ANSWER], readFileSync(path)[2 * SECTOR - 1], readFileSync(path)[2 * SECTOR]]).toEqual([
    0,
    (2 * SECTOR - 1) % 251,
    0xee,
  ]);
  on.send(header(on, 4, 0), answer);
  expect(on.bytes[ANSWER]).toBe(0);
  for (const type of [0, 1]) {
    on.send(header(on, type, 3), type === 0 ? { ...block, flags: WRITE } : block, answer);
    expect(on.bytes[ANSWER]).toBe(1);
  }
  on.send(header(on, 99, 0), answer);
  expect(on.bytes[ANSWER]).toBe(2);
  expect(readFileSync(path)).toHaveLength(4 * SECTOR);
  device.close?.();
  const locked = disk('ro', new Uint8Array(SECTOR), true);
  locked.on.send(header(locked.on, 1, 0), { gpa: DATA, length: SECTOR }, answer);
  expect(locked.on.bytes[ANSWER]).toBe(1);
  locked.device.close?.();
});

it('an indirect table, and no interrupt where none is wanted', () => {
  const { on, device } = disk('indirect', new Uint8Array(SECTOR).fill(7));
  header(on, 0, 0);
  const parts = [{ gpa: BUFFERS, length: 16, flags: NEXT }, { gpa: DATA, length: SECTOR, flags: WRITE | NEXT }, answer];
  const table = BUFFERS + 0x3000;
  parts.forEach(({ gpa, length, flags = 0 }, i) => {
    on.view.setBigUint64(table + i * 16, BigInt(gpa), true);
    on.view.setUint32(table + i * 16 + 8, length, true);
    on.view.setUint16(table + i * 16 + 12, flags, true);
    on.view.setUint16(table + i * 16 + 14, i + 1, true);
  });
  on.view.setUint16(AVAIL, 1, true);
  on.describe(3, { gpa: table, length: 48, flags: INDIRECT });
  on.offer(3);
  expect([on.bytes[DATA], on.bytes[ANSWER], on.interrupts()]).toEqual([7, 0, 0]);
  device.close?.();
});

it('a driver that breaks the rules gets DEVICE_NEEDS_RESET, and a reset helps', () => {
  const { on, device } = disk('broken', new Uint8Array(SECTOR));
  const broken: readonly (() => void)[] = [
    () => on.offer(99),
    () => {
      on.describe(0, { gpa: BUFFERS, length: 16, flags: NEXT }, 0);
      on.offer(0);
    },
    () => on.send({ ...answer, flags: WRITE }, { gpa: BUFFERS, length: 16 }),
    () => on.send({ gpa: RAM, length: 16 }, answer),
  ];
  for (const wrong of broken) {
    wrong();
    expect(on.transport.read(STATUS, 4) & NEEDS_RESET).toBe(NEEDS_RESET);
    on.view.setUint16(AVAIL + 2, 0, true);
    on.start();
    expect(on.transport.read(STATUS, 4)).toBe(DRIVER_OK);
  }
  device.close?.();
});

it('what a driver claims costs the host nothing: endless indirect tables, more bytes than any request has', () => {
  const { on, device } = disk('greedy', new Uint8Array(SECTOR));
  const table = BUFFERS + 0x3000;
  const entry = (index: number, { gpa, length, flags = 0 }: Part, next = 0): void => {
    on.view.setBigUint64(table + index * 16, BigInt(gpa), true);
    on.view.setUint32(table + index * 16 + 8, length, true);
    on.view.setUint16(table + index * 16 + 12, flags, true);
    on.view.setUint16(table + index * 16 + 14, next, true);
  };
  let reads = 0;
  const { memory } = on.transport;
  const { read } = memory;
  Object.assign(memory, {
    read: (gpa: number, length: number) => {
      expect(length).toBeLessThan(RAM);
      // A walk that goes on and on ends here, long before memory is short.
      if (++reads > 100) throw new Error('the device reads without an end');
      return read(gpa, length);
    },
  });
  const greedy: readonly (() => void)[] = [
    () => {
      entry(0, { gpa: BUFFERS, length: 1, flags: NEXT });
      on.describe(0, { gpa: table, length: 0xffff_fff0, flags: INDIRECT });
    },
    () => on.describe(0, { gpa: 0, length: 0xffff_ffff }),
    () => {
      on.describe(0, { gpa: 0, length: 16, flags: NEXT }, 1);
      on.describe(1, { gpa: 0, length: 0xffff_ffff, flags: WRITE });
    },
  ];
  for (const claim of greedy) {
    reads = 0;
    claim();
    on.offer(0);
    expect(on.transport.read(STATUS, 4) & NEEDS_RESET).toBe(NEEDS_RESET);
    on.view.setUint16(AVAIL + 2, 0, true);
    on.start();
  }
  // As many buffers as the queue has entries are no more than allowed, behind an indirect table too.
  header(on, 0, 0);
  entry(0, { gpa: BUFFERS, length: 16, flags: NEXT }, 1);
  for (let i = 1; i < 7; i++) entry(i, { gpa: DATA + 64 * i, length: 64, flags: WRITE | NEXT }, i + 1);
  entry(7, { gpa: ANSWER - 128, length: 129, flags: WRITE });
  on.describe(0, { gpa: table, length: 8 * 16, flags: INDIRECT });
  reads = 0;
  on.bytes[ANSWER] = 0xff;
  on.offer(0);
  expect([on.bytes[ANSWER], on.transport.read(STATUS, 4)]).toEqual([0, DRIVER_OK]);
  device.close?.();
});

it('a file that is no disk is refused', () => {
  const path = join(work, 'odd');
  writeFileSync(path, 'x');
  expect(() => virtioBlock({ path })).toThrow(/1 bytes are no whole number of sectors/);
  expect(() => virtioBlock({ path: join(work, 'nowhere') })).toThrow(/ENOENT/);
});

it('a console: out at once, in when there is room', () => {
  const out: number[] = [];
  const device = virtioConsole((bytes) => out.push(...bytes));
  const sender = driver(device, 1);
  sender.bytes.set(Buffer.from('hello'), DATA);
  sender.send({ gpa: DATA, length: 5 });
  expect(Buffer.from(out).toString()).toBe('hello');
  const receiver = driver(device, 0);
  device.input(Buffer.from('to the guest'));
  expect(receiver.send({ gpa: DATA, length: 6, flags: WRITE })).toBe(6);
  expect(receiver.send({ gpa: DATA + 6, length: 64, flags: WRITE })).toBe(6);
  expect(Buffer.from(receiver.bytes.slice(DATA, DATA + 12)).toString()).toBe('to the guest');
});
