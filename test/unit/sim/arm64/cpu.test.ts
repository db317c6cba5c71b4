import { describe, expect, it } from 'vitest';
import { a64 } from '../../../../lib/guest/index.ts';
import { type A64MmioStop, setPair } from '../../../../lib/sim/arm64/index.ts';
import { CODE, DATA, Guest, MMIO } from './ram.ts';

const UNDEFINED = { kind: 'call', conduit: 'hvc', immediate: 0 } as const;

describe('stops', () => {
  it('HVC and SMC stop behind themselves', () => {
    const guest = new Guest((a) => a.mov('x0', 5).hvc(7).smc(0));
    expect(guest.run()).toEqual({ kind: 'call', conduit: 'hvc', immediate: 7 });
    expect(guest.pc).toBe(BigInt(CODE + 8));
    expect(guest.run()).toEqual({ kind: 'call', conduit: 'smc', immediate: 0 });
  });

  it('an MMIO store stops on itself, with its bytes', () => {
    const guest = new Guest((a) =>
      a.mov('x1', MMIO).mov('x0', 0x1122_3344_5566_7788n).strh('w0', { base: 'x1', offset: 6 }),
    );
    const data = Uint8Array.of(0x88, 0x77);
    expect(guest.run()).toEqual({ kind: 'mmio', gpa: MMIO + 6, length: 2, isWrite: true, data, described: true });
    const { pc } = guest;
    guest.cpu.skip();
    expect(guest.pc).toBe(pc + 4n);
  });

  it('an MMIO load is finished with its sign', () => {
    const guest = new Guest((a) => a.mov('x1', MMIO).ldrsh('w2', { base: 'x1' }).ldrsh('x3', { base: 'x1' }));
    for (const register of [2, 3]) {
      expect(guest.run()).toEqual({ kind: 'mmio', gpa: MMIO, length: 2, isWrite: false, described: true });
      guest.cpu.finishLoad(guest.cpu.stoppedAt, Uint8Array.of(0xfe, 0xff));
      guest.cpu.skip();
      expect(guest.x(register)).toBe(register === 2 ? 0xffff_fffen : 0xffff_ffff_ffff_fffen);
    }
  });

  it.each([
    ['post-index', (a: a64.Assembler) => a.str('x0', { base: 'x1', offset: 8, indexing: 'post' })],
    ['pair', (a: a64.Assembler) => a.ldp('x2', 'x3', { base: 'x1' })],
    ['exclusive', (a: a64.Assembler) => a.ldxr('x2', { base: 'x1' })],
  ] as const)('an MMIO access that the processor does not describe: %s', (_, write) => {
    const guest = new Guest((a) => write(a.mov('x1', MMIO)));
    const stop = guest.run() as A64MmioStop;
    expect(stop).toMatchObject({ kind: 'mmio', described: false });
    expect(guest.x(1)).toBe(BigInt(MMIO));
  });

  it('tells memory faults and unreachable memory, and can go on', () => {
    const guest = new Guest((a) =>
      a
        .mov('x1', DATA + 8)
        .ldr('x0', { base: 'x1' })
        .hvc(0),
    );
    guest.ram.misses.set(DATA / 4096, { kind: 'memory-fault', private: false, errno: 14 });
    expect(guest.run()).toEqual({ kind: 'memory-fault', private: false, errno: 14, gpa: DATA });
    guest.ram.misses.set(DATA / 4096, { kind: 'unreachable', errno: 14 });
    expect(guest.run()).toMatchObject({ kind: 'unreachable', errno: 14 });
    guest.ram.misses.clear();
    expect(guest.run()).toEqual(UNDEFINED);
  });

  it('does not guess what it does not know', () => {
    // fadd d0, d0, d0
    const guest = new Guest((a) => a.word(0x1e60_2800));
    expect(guest.run()).toEqual({ kind: 'unknown', word: 0x1e60_2800 });
    expect(guest.pc).toBe(BigInt(CODE));
  });

  it('cannot translate addresses and says so', () => {
    const guest = new Guest((a) => a.mov('x0', 1).msr('sctlr_el1', 'x0').nop());
    expect(guest.run()).toMatchObject({ kind: 'unknown' });
  });

  it('ends at the budget, exactly', () => {
    const guest = new Guest((a) => {
      const again = a.label();
      return a.bind(again).add('x0', 'x0', 1).b(again);
    });
    for (let i = 1; i <= 20; i++) {
      expect(guest.run(3)).toEqual({ kind: 'budget' });
      expect(guest.cpu.executed).toBe(3 * i);
      expect(guest.x(0)).toBe(BigInt(Math.ceil((3 * i) / 2)));
    }
  });
});

describe('exceptions', () => {
  const VECTORS = 0x8000;

  /** A guest whose handler calls the hypervisor. */
  function guarded(code: (a: a64.Assembler) => unknown): Guest {
    const guest = new Guest(code);
    const handler = new a64.Assembler(VECTORS + 0x200);
    guest.ram.bytes.set(handler.hvc(0x99).bytes(), VECTORS + 0x200);
    guest.cpu.state.system.vbar = BigInt(VECTORS);
    return guest;
  }

  it.each([
    ['udf', (a: a64.Assembler) => a.word(0), 0x0200_0000n, CODE],
    ['brk', (a: a64.Assembler) => a.brk(5), 0xf200_0005n, CODE],
    ['svc', (a: a64.Assembler) => a.svc(5), 0x5600_0005n, CODE + 4],
    ['unaligned load', (a: a64.Assembler) => a.mov('x1', DATA + 1).ldr('w0', { base: 'x1' }), 0x9600_0021n, CODE + 4],
    ['unaligned store', (a: a64.Assembler) => a.mov('x1', DATA + 1).strh('w0', { base: 'x1' }), 0x9600_0061n, CODE + 4],
    [
      'beyond the machine',
      (a: a64.Assembler) => a.mov('x1', 1n << 50n).ldr('x0', { base: 'x1' }),
      0x9600_0000n,
      CODE + 4,
    ],
    ['beyond the VM', (a: a64.Assembler) => a.mov('x1', 1n << 41n).str('x0', { base: 'x1' }), 0x9600_0010n, CODE + 4],
    [
      'unaligned stack',
      (a: a64.Assembler) =>
        a
          .mov('x1', DATA + 8)
          .mov('sp', 'x1')
          .ldr('x0', { base: 'sp' }),
      0x9a00_0000n,
      CODE + 8,
    ],
  ] as const)('%s', (_, code, syndrome, pc) => {
    const guest = guarded(code);
    expect(guest.run()).toEqual({ kind: 'call', conduit: 'hvc', immediate: 0x99 });
    const { system } = guest.cpu.state;
    expect({ esr: system.esr, elr: system.elr }).toEqual({ esr: syndrome, elr: BigInt(pc) });
  });

  it('come back with everything as it was', () => {
    const guest = new Guest((a) => a.mov('x1', 3).cmp('x1', 3).svc(0).cset('x2', 'eq').hvc(0));
    const handler = new a64.Assembler(VECTORS + 0x200);
    handler.mov('x5', 1).cmp('x5', 2).eret();
    guest.ram.bytes.set(handler.bytes(), VECTORS + 0x200);
    guest.cpu.state.system.vbar = BigInt(VECTORS);
    expect(guest.run()).toEqual(UNDEFINED);
    expect(guest.x(2)).toBe(1n);
  });

  it('without a handler they use up the budget', () => {
    const guest = new Guest((a) => a.word(0));
    guest.cpu.state.system.vbar = BigInt(MMIO);
    expect(guest.run(1000)).toEqual({ kind: 'budget' });
  });

  it('have stacks of their own', () => {
    const guest = guarded((a) =>
      a.mov('x0', 0x100).mov('sp', 'x0').msr('spsel', 'xzr').mov('x0', 0x200).mov('sp', 'x0').hvc(0),
    );
    expect(guest.run()).toEqual(UNDEFINED);
    const { state } = guest.cpu;
    expect([state.getStack(0), state.getStack(1)]).toEqual([0x200n, 0x100n]);
    expect(state.pstate & 0xfn).toBe(4n);
  });
});

describe('memory', () => {
  it('exclusive stores succeed once, and not after a change', () => {
    const guest = new Guest((a) => {
      a.mov('x1', DATA).ldxr('x0', { base: 'x1' }).stxr('w2', 'x1', { base: 'x1' }).stxr('w3', 'x1', { base: 'x1' });
      a.ldaxr('x0', { base: 'x1' }).mov('x4', 9).str('x4', { base: 'x1' }).stlxr('w5', 'x1', { base: 'x1' });
      return a.ldxr('x0', { base: 'x1' }).clrex().stxr('w6', 'x1', { base: 'x1' }).hvc(0);
    });
    guest.run();
    expect([2, 3, 5, 6].map((n) => guest.x(n))).toEqual([0n, 1n, 1n, 1n]);
    expect(guest.ram.view.getBigUint64(DATA, true)).toBe(9n);
  });

  it('code may be changed by itself and by the host', () => {
    const guest = new Guest((a) => {
      const place = a.label();
      a.adr('x1', place)
        .mov('w0', a64.encode('movz', [register(2), number(7), number(0)]))
        .str('w0', { base: 'x1' });
      return a.bind(place).movz('x2', 1).hvc(0);
    });
    guest.run();
    expect(guest.x(2)).toBe(7n);
    const place = Number(guest.pc) - 8;
    guest.ram.view.setUint32(place, a64.encode('movz', [register(2), number(8), number(0)]), true);
    setPair(guest.cpu.state.r, 72, BigInt(place));
    guest.run();
    expect(guest.x(2)).toBe(8n);
  });

  it('code goes on in the next page', () => {
    const guest = new Guest((a) => {
      for (let i = 0; i < 1030; i++) a.add('x0', 'x0', 1);
      return a.hvc(0);
    });
    expect(guest.run()).toEqual(UNDEFINED);
    expect(guest.x(0)).toBe(1030n);
  });

  it('pages are asked for again when the bus says so', () => {
    const guest = new Guest((a) => {
      const again = a.label();
      return a.mov('x1', DATA).bind(again).ldr('x0', { base: 'x1' }).b(again);
    });
    guest.run(100);
    guest.ram.misses.set(DATA / 4096, { kind: 'mmio' });
    expect(guest.run(100)).toEqual({ kind: 'budget' });
    guest.ram.generation++;
    expect(guest.run(100)).toMatchObject({ kind: 'mmio', gpa: DATA });
  });
});

const register = (index: number) => ({ kind: 'register', index, bits: 64, sp: false }) as const;
const number = (value: number) => ({ kind: 'immediate', value: BigInt(value) }) as const;
