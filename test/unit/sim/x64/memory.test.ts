/** Memory that is missing, and code that changes. */
import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../../../lib/guest/x64/index.ts';
import { answer, CODE, DATA, guest, MMIO, STACK, TABLES } from './ram.ts';

const PRIVATE = { kind: 'memory-fault', private: true, errno: 14 } as const;

describe('memory that is not there', () => {
  it('stops a load and repeats it', () => {
    const g = guest((a) => a.mov('rax', { base: 'rbx' }).hlt(), { regs: { rbx: DATA, rax: 5 } });
    g.ram.misses.set(DATA >> 12, PRIVATE);
    for (let i = 0; i < 2; i++) {
      expect(g.run()).toEqual({ ...PRIVATE, gpa: DATA });
      expect(g.cpu.getRegs()).toMatchObject({ rip: BigInt(CODE), rax: 5n });
    }
    g.ram.misses.clear();
    g.ram.generation++;
    g.ram.write(DATA, [9]);
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rax')).toBe(9n);
  });

  it('stops an instruction over two pages before it changes anything', () => {
    const at = DATA + 0xffc;
    const g = guest((a) => a.add({ base: 'rbx' }, 'rax').push({ base: 'rbx', size: 8 }).hlt(), {
      regs: { rbx: at, rax: -1 },
    });
    g.ram.bytes.fill(0x11, at, at + 8);
    g.ram.misses.set((DATA >> 12) + 1, (access) => (access === 'write' ? PRIVATE : undefined));
    expect(g.run()).toEqual({ ...PRIVATE, gpa: DATA + 0x1000 });
    expect(g.cpu.getRegs()).toMatchObject({ rip: BigInt(CODE), rflags: 2n });
    expect(g.ram.bytes[at]).toBe(0x11);
    g.ram.misses.clear();
    g.ram.generation++;
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.ram.readU64(STACK - 8)).toBe(0x1111_1111_1111_1110n);
  });

  it('keeps what a repeated instruction did before', () => {
    const g = guest((a) => a.stos(64, 'rep').hlt(), { regs: { rdi: DATA + 0xff0, rcx: 4, rax: -1 } });
    g.ram.misses.set((DATA >> 12) + 1, { kind: 'unreachable', errno: 14 });
    expect(g.run()).toEqual({ kind: 'unreachable', gpa: DATA + 0x1000, errno: 14 });
    expect(g.cpu.getRegs()).toMatchObject({ rip: BigInt(CODE), rcx: 2n, rdi: BigInt(DATA + 0x1000) });
    g.ram.misses.clear();
    g.ram.generation++;
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.ram.readU64(DATA + 0x1008)).toBe((1n << 64n) - 1n);
  });

  it('stops for page tables and for code as well', () => {
    const g = guest((a) => a.mov('rax', { base: 'rbx' }).hlt(), { regs: { rbx: MMIO } });
    g.ram.misses.set(TABLES >> 12, PRIVATE);
    expect(g.run()).toEqual({ ...PRIVATE, gpa: TABLES });
    g.ram.misses.clear();
    g.ram.misses.set(CODE >> 12, (access) => (access === 'fetch' ? PRIVATE : undefined));
    expect(g.run()).toEqual({ ...PRIVATE, gpa: CODE });
  });

  it('a read-only slot is read in place and written outside', () => {
    const g = guest((a) => a.add({ base: 'rbx', size: 8 }, 1).hlt(), { regs: { rbx: DATA } });
    g.ram.write(DATA, [41]);
    g.ram.misses.set(DATA >> 12, (access) => (access === 'write' ? { kind: 'mmio' } : undefined));
    expect(g.run()).toMatchObject({ kind: 'mmio', gpa: DATA, isWrite: true, data: answer(42) });
    expect(g.ram.bytes[DATA]).toBe(41);
    expect(g.run()).toEqual({ kind: 'hlt' });
  });
});

describe('code that changes', () => {
  const loop = (a: Assembler) => {
    const again = a.label();
    return a.bind(again).mov('eax', 1).hlt().jmp(again);
  };

  it('by the host between runs, without notice', () => {
    const g = guest(loop);
    g.run();
    expect(g.get('rax')).toBe(1n);
    g.ram.write(CODE + 1, [2]);
    g.run();
    expect(g.get('rax')).toBe(2n);
  });

  it('by itself, in the block that runs and through another address', () => {
    const g = guest(
      (a) => {
        const [again, patched] = [a.label(), a.label()];
        a.mov('ecx', 3).bind(again).data([0xb8]).bind(patched).data([1, 0, 0, 0]).add('rbx', 'rax');
        return a.inc({ base: 'rsi', size: 1 }).loop(again).hlt();
      },
      { regs: { rsi: 0x10_0000 + CODE + 6 } },
    );
    g.ram.aliases.set(0x100 + (CODE >> 12), CODE >> 12);
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rbx')).toBe(6n);
  });

  it('by another mapping of its address', () => {
    const g = guest(loop);
    g.run();
    g.ram.write(0x6000, g.ram.bytes.subarray(CODE, CODE + 0x1000));
    g.ram.write(0x6001, [7]);
    g.ram.aliases.set(CODE >> 12, 6);
    g.ram.generation++;
    g.run();
    expect(g.get('rax')).toBe(7n);
  });

  it('over a page boundary', () => {
    const start = 0x2ffd;
    const g = guest([], { regs: { rip: start } });
    g.ram.write(start, [0xb8, 1, 2, 3, 4, 0xf4]);
    g.run();
    expect(g.get('rax')).toBe(0x0403_0201n);
    g.ram.write(0x3000, [9]);
    g.cpu.setRegs({ ...g.cpu.getRegs(), rip: BigInt(start) });
    g.run();
    expect(g.get('rax')).toBe(0x0409_0201n);
    g.ram.misses.set(3, PRIVATE);
    g.ram.generation++;
    g.cpu.setRegs({ ...g.cpu.getRegs(), rip: BigInt(start) });
    expect(g.run()).toEqual({ ...PRIVATE, gpa: 0x3000 });
  });
});
