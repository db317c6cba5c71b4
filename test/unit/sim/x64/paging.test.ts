import { describe, expect, it } from 'vitest';
import { CODE, DATA, type Guest, guest, TABLES } from './ram.ts';

const LARGE_DIRECTORY = TABLES + 0x2000;
/** Tables for one page of 4 KiB and one of 1 GiB, put in by hand. */
const [DIRECTORY, TABLE] = [0x3_0000, 0x3_1000];
const VIRTUAL = 0x40_0000_0000;
const NO_EXECUTE = 1n << 63n;
const [PRESENT, WRITABLE, USER, LARGE] = [1n, 2n, 4n, 0x80n];
const FAULT = { idt: { base: 0n, limit: 0, padding: [0, 0, 0] } };

function entry(g: Guest, table: number, index: number, value: bigint): void {
  new DataView(g.ram.bytes.buffer).setBigUint64(table + 8 * index, value, true);
}

/** mov rax, [rbx]; or mov [rbx], rax; with VIRTUAL mapped to DATA through `last`. */
function mapped(write: boolean, last: bigint, upper = PRESENT | WRITABLE | USER): Guest {
  const setup = { regs: { rbx: VIRTUAL, rax: 0x1234 }, sregs: FAULT };
  const g = guest((a) => (write ? a.mov({ base: 'rbx' }, 'rax') : a.mov('rax', { base: 'rbx' })).hlt(), setup);
  const top = TABLES + 0x1000;
  entry(g, top, VIRTUAL / 2 ** 30, BigInt(DIRECTORY) | upper);
  entry(g, DIRECTORY, 0, BigInt(TABLE) | upper);
  entry(g, TABLE, 0, BigInt(DATA) | last);
  g.ram.write(DATA, [0x77]);
  return g;
}

/** The fault's error code cannot be seen without a handler, cr2 can. */
function expectFault(g: Guest, at = BigInt(VIRTUAL)): void {
  expect(g.run()).toEqual({ kind: 'shutdown' });
  expect(g.cpu.getSregs().cr2).toBe(at);
  expect(g.get('rip')).toBe(BigInt(CODE));
  expect(g.get('rax')).toBe(0x1234n);
}

describe('four-level paging', () => {
  it('reads through pages of 4 KiB and marks them', () => {
    const g = mapped(false, PRESENT | WRITABLE);
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rax')).toBe(0x77n);
    expect(g.ram.readU64(TABLE)).toBe(BigInt(DATA) | 0x23n);
    expect(g.ram.readU64(DIRECTORY) & 0x60n).toBe(0x20n);
  });

  it('writes through them and marks them dirty', () => {
    const g = mapped(true, PRESENT | WRITABLE);
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.ram.readU64(TABLE)).toBe(BigInt(DATA) | 0x63n);
    expect(g.ram.readU64(DATA)).toBe(0x1234n);
  });

  it.each([true, false])('has no pages of 1 GiB where KVM emulates, whatever CPUID says: %s', (has) => {
    const g = mapped(false, 0n);
    const leaf = { function: 0x8000_0001, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: has ? 1 << 26 : 0 };
    g.cpu.setCpuid([leaf]);
    entry(g, TABLES + 0x1000, VIRTUAL / 2 ** 30, PRESENT | LARGE);
    g.cpu.setRegs({ ...g.cpu.getRegs(), rbx: BigInt(VIRTUAL + DATA) });
    expectFault(g, BigInt(VIRTUAL + DATA));
  });

  it('faults for what is not present, at each level', () => {
    expectFault(mapped(false, 0n));
    expectFault(mapped(false, PRESENT, 0n));
  });

  it('tells the last page of the address space from the first', () => {
    const g = guest((a) => a.mov('rax', { base: 'rbx', disp: -12 }).hlt(), { regs: { rbx: 7 }, sregs: FAULT });
    expect(g.run()).toEqual({ kind: 'shutdown' });
    expect(g.cpu.getSregs().cr2).toBe((1n << 64n) - 5n);
    g.cpu.setRegs({ ...g.cpu.getRegs(), rbx: (1n << 64n) - 0xff4n });
    for (const [table, at] of [
      [TABLES, 0x3_0000],
      [0x3_0000, 0x3_1000],
      [0x3_1000, 0x3_2000],
      [0x3_2000, DATA],
    ] as const) {
      entry(g, table, 511, BigInt(at) | PRESENT);
    }
    g.ram.write(DATA, [0x55]);
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rax')).toBe(0x55n);
  });

  it('lets the supervisor write read-only pages until CR0.WP', () => {
    expect(mapped(true, PRESENT).run()).toEqual({ kind: 'hlt' });
    const g = mapped(true, PRESENT);
    const sregs = g.cpu.getSregs();
    g.cpu.setSregs({ ...sregs, cr0: sregs.cr0 | 0x1_0000n });
    expectFault(g);
  });

  it('keeps users from supervisor pages', () => {
    const user = (last: bigint): Guest => {
      const g = mapped(false, last);
      const sregs = g.cpu.getSregs();
      // The code must be a user's as well.
      const rights = PRESENT | WRITABLE | USER;
      entry(g, TABLES, 0, BigInt(TABLES + 0x1000) | rights);
      entry(g, TABLES + 0x1000, 0, BigInt(LARGE_DIRECTORY) | rights);
      entry(g, LARGE_DIRECTORY, 0, rights | LARGE);
      g.cpu.setSregs({ ...sregs, cs: { ...sregs.cs, dpl: 3 }, ss: { ...sregs.ss, dpl: 3 } });
      return g;
    };
    expectFault(user(PRESENT | WRITABLE));
    const allowed = user(PRESENT | WRITABLE | USER);
    // hlt is not for users: #GP without a table.
    expect(allowed.run()).toEqual({ kind: 'shutdown' });
    expect(allowed.get('rax')).toBe(0x77n);
  });

  it('executes no page that says so, if EFER.NXE', () => {
    const run = (nxe: bigint): Guest => {
      const g = mapped(false, PRESENT | NO_EXECUTE);
      const sregs = g.cpu.getSregs();
      g.cpu.setSregs({ ...sregs, efer: sregs.efer | nxe });
      return g;
    };
    const data = run(0x800n);
    expect(data.run()).toEqual({ kind: 'hlt' });
    data.cpu.setRegs({ ...data.cpu.getRegs(), rip: BigInt(VIRTUAL) });
    expect(data.run()).toEqual({ kind: 'shutdown' });
    expect(data.cpu.getSregs().cr2).toBe(BigInt(VIRTUAL));
    // Without it the bit is reserved.
    expectFault(run(0n));
  });

  it.each([
    ['a processor forgets a translation at invlpg and at a load of cr3, not before', false, [1n, 1n, 2n]],
    ['the emulator keeps none', true, [1n, 2n, 2n]],
  ] as const)('%s', (_, emulated, read) => {
    const g = guest(
      (a) => {
        a.mov('rax', { base: 'rbx' })
          .hlt()
          .mov('rcx', { base: 'rbx' })
          .invlpg({ base: 'rbx' })
          .mov('rdx', { base: 'rbx' });
        return a.mov('rsi', 'cr3').mov('cr3', 'rsi').hlt();
      },
      { regs: { rbx: VIRTUAL }, cpu: { emulated } },
    );
    entry(g, TABLES + 0x1000, VIRTUAL / 2 ** 30, BigInt(DIRECTORY) | 3n);
    entry(g, DIRECTORY, 0, BigInt(TABLE) | 3n);
    entry(g, TABLE, 0, BigInt(DATA) | 3n);
    g.ram.write(DATA, [1]);
    g.ram.write(DATA + 0x1000, [2]);
    g.run();
    entry(g, TABLE, 0, BigInt(DATA + 0x1000) | 3n);
    g.run();
    expect([g.get('rax'), g.get('rcx'), g.get('rdx')]).toEqual(read);
  });
});

describe('32-bit paging', () => {
  const PROTECTED_PAGING = 0x8000_0031n;

  it('has tables of 1024 entries and pages of 4 MiB', () => {
    const g = guest((a) => a.mov('eax', { disp: 0x40_0000 }).mov('ebx', { disp: 0x80_5000 }).hlt(), { mode: 32 });
    const view = new DataView(g.ram.bytes.buffer);
    view.setUint32(0x3_0000, 0x83, true);
    view.setUint32(0x3_0004, 0x3_1003, true);
    view.setUint32(0x3_0008, 0x83, true);
    view.setUint32(0x3_1000, DATA | 3, true);
    g.ram.write(DATA, [0x99]);
    g.cpu.setSregs({ ...g.cpu.getSregs(), cr0: PROTECTED_PAGING, cr3: 0x3_0000n, cr4: 0x10n });
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect([g.get('rax'), g.get('rbx')]).toEqual([0x99n, 0x99n]);
  });

  it('has three levels with PAE', () => {
    const g = guest((a) => a.mov('eax', { disp: 0x4020_5000 }).hlt(), { mode: 32 });
    entry(g, 0x3_0020, 0, 0x3_1001n);
    entry(g, 0x3_0020, 1, 0x3_1001n);
    entry(g, 0x3_1000, 0, 0x83n);
    entry(g, 0x3_1000, 1, 0x83n);
    g.ram.write(DATA, [0x99]);
    g.cpu.setSregs({ ...g.cpu.getSregs(), cr0: PROTECTED_PAGING, cr3: 0x3_0020n, cr4: 0x20n });
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rax')).toBe(0x99n);
  });
});
