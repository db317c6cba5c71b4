import { describe, expect, it } from 'vitest';
import { X64Cpu } from '../../../../lib/sim/x64/index.ts';
import { answer, CODE, guest, Ram, STACK } from './ram.ts';

describe('a new vCPU', () => {
  it('starts in real mode at the reset vector', () => {
    const cpu = new X64Cpu();
    expect(cpu.getRegs()).toMatchObject({ rip: 0xfff0n, rflags: 2n, rdx: 0x600n, rax: 0n });
    expect(cpu.getSregs()).toMatchObject({ cr0: 0x6000_0010n, efer: 0n, cs: { base: 0xffff_0000n, selector: 0xf000 } });
    const ram = new Ram();
    expect(cpu.run(ram, 10)).toEqual({ kind: 'emulation', bytes: new Uint8Array() });
  });

  it('refuses system registers that no processor could have', () => {
    const { cpu } = guest((a) => a.hlt());
    const good = cpu.getSregs();
    for (const bad of [
      { cr4: 0n },
      { efer: 0x100n },
      { efer: 0x400n },
      { cr0: 0x8000_0010n },
      { cr0: good.cr0 | 0x2000_0000n },
      { cr0: good.cr0 | (1n << 32n) },
      { cr3: 1n << 52n },
      { apic_base: 0xfee0_0400n },
    ]) {
      expect(cpu.setSregs({ ...good, ...bad })).toBe(false);
      expect(cpu.getSregs()).toEqual(good);
    }
  });
});

describe('stops', () => {
  it('after exactly the budget, and goes on from there', () => {
    const g = guest((a) => {
      for (let i = 0; i < 100; i++) a.inc('rax');
      return a.hlt();
    });
    for (const [budget, sum] of [
      [1, 1n],
      [6, 7n],
      [0, 7n],
      [50, 57n],
      [43, 100n],
    ] as const) {
      expect(g.run(budget)).toEqual({ kind: 'budget' });
      expect(g.get('rax')).toBe(sum);
    }
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.cpu.executed).toBe(101);
  });

  it('within long repeated instructions', () => {
    const g = guest((a) => a.stos(8, 'rep').hlt(), { regs: { rdi: 0x10_0000, rcx: 100_000, rax: 7 } });
    expect(g.run(3)).toEqual({ kind: 'budget' });
    expect(g.get('rip')).toBe(BigInt(CODE));
    expect(g.get('rcx') + g.get('rdi')).toBe(0x10_0000n + 100_000n);
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.ram.bytes.subarray(0x10_0000, 0x10_0000 + 100_000).every((byte) => byte === 7)).toBe(true);
    expect(g.get('rflags')).toBe(2n);
  });

  it('at a hypercall, whose answer goes to rax', () => {
    const g = guest((a) => a.vmcall().hlt(), { regs: { rax: 12, rbx: 1, rcx: 2, rdx: 3, rsi: 4 } });
    const call = { kind: 'hypercall', nr: 12n, args: [1n, 2n, 3n, 4n], longMode: true, cpl: 0 };
    expect(g.run()).toEqual(call);
    expect(g.get('rip')).toBe(BigInt(CODE));
    // Nobody answered: it is asked again.
    expect(g.run()).toEqual(call);
    g.cpu.complete(answer(-1000));
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rax')).toBe(BigInt.asUintN(64, -1000n));
  });

  it('at a hypercall of 32-bit code, with 32 bits', () => {
    const g = guest((a) => a.vmmcall().hlt(), { mode: 32, regs: { rax: 0xf_0000_000cn, rbx: -1 } });
    expect(g.run()).toMatchObject({ nr: 12n, args: [0xffff_ffffn, 0n, 0n, 0n], longMode: false });
    g.cpu.complete(answer(-1));
    g.run();
    expect(g.get('rax')).toBe(0xffff_ffffn);
  });

  it('with the bytes of an instruction that it does not know', () => {
    const g = guest([0x90, 0xc5, 0xf8, 0x77, 1, 2, 3]);
    const stop = g.run();
    expect(stop).toMatchObject({ kind: 'emulation' });
    expect(stop.kind === 'emulation' && [...stop.bytes.subarray(0, 6)]).toEqual([0xc5, 0xf8, 0x77, 1, 2, 3]);
    expect(g.get('rip')).toBe(BigInt(CODE + 1));
  });

  it('int3 is delivered behind itself', () => {
    const gate = [0, 0x30, 8, 0, 0, 0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const code = [0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0];
    const g = guest((a) => a.nop().int3(), {
      memory: [
        [0x9000 + 3 * 16, gate],
        [0xa008, code],
        [0x3000, [0xf4]],
      ],
      sregs: { idt: { base: 0x9000n, limit: 0xfff, padding: [] }, gdt: { base: 0xa000n, limit: 15, padding: [] } },
    });
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.ram.readU64(STACK - 40)).toBe(BigInt(CODE + 2));
    expect(g.ram.readU64(STACK - 16)).toBe(BigInt(STACK));
  });
});

describe('registers of the machine', () => {
  it('answers cpuid from the entries', () => {
    const g = guest((a) => a.cpuid().hlt().cpuid().hlt(), { regs: { rax: 7, rcx: 1 } });
    const entry = (leaf: number, index: number, eax: number, flags = 0) => {
      return { function: leaf, index, flags, eax, ebx: 0x756e_6547, ecx: 0, edx: 0 };
    };
    g.cpu.setCpuid([entry(0, 0, 7), entry(7, 0, 1, 1), entry(7, 1, 0x55, 1)]);
    g.run();
    expect(g.get('rax')).toBe(0x55n);
    // Beyond the highest leaf: the highest.
    g.cpu.setRegs({ ...g.cpu.getRegs(), rax: 0x1234n, rcx: 1n });
    g.run();
    expect(g.get('rax')).toBe(0x55n);
  });

  it('has a time-stamp counter that only grows', () => {
    const g = guest((a) => a.rdtsc().mov('ebx', 'eax').rdtsc().sub('eax', 'ebx').hlt());
    g.run();
    expect(g.get('rax')).toBeGreaterThan(0n);
    g.cpu.setMsr(0x10, 1n << 40n);
    expect(g.cpu.getMsr(0x10)).toBeGreaterThan(1n << 40n);
  });

  it('knows some MSRs and no others', () => {
    const { cpu } = guest((a) => a.hlt());
    expect(cpu.getMsr(0xc000_0080)).toBe(0x500n);
    expect(cpu.setMsr(0xc000_0082, 0xffff_8000_0000_1000n)).toBe(true);
    expect(cpu.getMsr(0xc000_0082)).toBe(0xffff_8000_0000_1000n);
    expect(cpu.setMsr(0xc000_0082, 1n << 60n)).toBe(false);
    expect(cpu.setMsr(0x1234, 0n)).toBe(false);
    expect(cpu.getMsr(0x1234)).toBeUndefined();
  });

  it('takes an interrupt', () => {
    const g = guest((a) => a.hlt(), { mode: 16, sregs: { idt: { base: 0n, limit: 0x3ff, padding: [] } } });
    g.ram.write(0x20 * 4, [0x00, 0x30, 0, 0]);
    g.ram.write(0x3000, [0xf4]);
    g.run();
    expect(g.cpu.interrupt(g.ram, 0x20)).toBeUndefined();
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rip')).toBe(0x3001n);
  });
});
