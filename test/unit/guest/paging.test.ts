import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { program, REPORT_GPA, SHARED_ALIAS, SIDE_BIT, x64 } from '../../../lib/guest/index.ts';

const { identityPageTables, longMode, protectedMode, realMode, startState } = x64;

/** Walks tables as the processor does. */
function translate(tables: x64.PageTables, address: number): number | undefined {
  const view = new DataView(tables.bytes.buffer);
  let table = tables.cr3;
  for (const shift of [39, 30, 21]) {
    const index = Number((BigInt(address) >> BigInt(shift)) & 511n);
    const entry = view.getBigUint64(table - tables.gpa + index * 8, true);
    if ((entry & 3n) !== 3n) return undefined;
    const target = Number(entry & 0x000f_ffff_ffff_f000n);
    if ((entry & 0x80n) !== 0n) return target + (address % 2 ** 21);
    table = target;
  }
  return undefined;
}

describe('page tables', () => {
  it('map what was asked for to itself and nothing else', () => {
    const range = fc.record({ gpa: fc.nat(2 ** 47 - 2 ** 22 - 1), size: fc.integer({ min: 1, max: 2 ** 22 }) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 4 }), fc.nat(2 ** 47 - 1), (ranges, probe) => {
        const tables = identityPageTables({ at: 0x5000, ranges });
        for (const { gpa, size } of [...ranges, x64.LOW_MEMORY]) {
          expect(translate(tables, gpa)).toBe(gpa);
          expect(translate(tables, gpa + size - 1)).toBe(gpa + size - 1);
        }
        const page = (address: number): number => Math.floor(address / 2 ** 21);
        const wanted = [...ranges, x64.LOW_MEMORY].some(
          ({ gpa, size }) => page(probe) >= page(gpa) && page(probe) <= page(gpa + size - 1),
        );
        expect(translate(tables, probe)).toBe(wanted ? probe : undefined);
      }),
    );
  });

  it('cost one page per GiB touched', () => {
    expect(identityPageTables({ at: 0, ranges: [] }).usedBytes).toBe(3 * 4096);
    expect(identityPageTables({ at: 0, ranges: [{ gpa: REPORT_GPA, size: 4096 }] }).usedBytes).toBe(4 * 4096);
    expect(identityPageTables({ at: 0, ranges: [{ gpa: 2 ** 40, size: 2 ** 30 }] }).usedBytes).toBe(5 * 4096);
  });

  it('of protected guests show each page twice, and mark one side', () => {
    const leaf = (technology: 'sev' | 'tdx', address: number): string => {
      const { bytes } = identityPageTables({ at: 0, ranges: [], sides: SIDE_BIT[technology] });
      const view = new DataView(bytes.buffer);
      let table = 0n;
      for (const shift of [39n, 30n, 21n]) {
        const entry = view.getBigUint64(Number(table) + Number((BigInt(address) >> shift) & 511n) * 8, true);
        if ((entry & 0x80n) !== 0n) return ((entry & 0x000f_ffff_ffff_f000n) >> 12n).toString(16);
        table = entry & 0x0007_7fff_ffff_f000n;
      }
      return 'none';
    };
    expect([leaf('sev', 0), leaf('sev', SHARED_ALIAS)]).toEqual(['8000000000', '0']);
    expect([leaf('tdx', 0), leaf('tdx', SHARED_ALIAS)]).toEqual(['0', '800000000']);
    const beyond = { at: 0, ranges: [{ gpa: SHARED_ALIAS - 1, size: 2 }], sides: SIDE_BIT.sev };
    expect(() => identityPageTables(beyond)).toThrow(/46 bits/);
  });

  it('throw RangeError where they cannot be', () => {
    expect(() => identityPageTables({ at: 0x800, ranges: [] })).toThrow(/page-aligned/);
    expect(() => identityPageTables({ at: 0, ranges: [], capacity: 8192 })).toThrow(/12288 bytes are needed, 8192/);
    expect(() => identityPageTables({ at: 0, ranges: [{ gpa: 2 ** 47 - 1, size: 2 }] })).toThrow(/47 bits/);
    expect(() => identityPageTables({ at: 0, ranges: [{ gpa: 0, size: 0 }] })).toThrow(RangeError);
  });
});

describe('mode registers', () => {
  it('are what the architecture asks for', () => {
    expect(longMode(0x1000)).toMatchObject({ cr0: 0x8000_0031n, cr3: 0x1000n, cr4: 0x20n, efer: 0x500n });
    expect(longMode(0x1000).cs).toMatchObject({ type: 11, l: 1, db: 0, present: 1, s: 1 });
    expect(protectedMode()).toMatchObject({ cr0: 0x31n, cs: { l: 0, db: 1, limit: 0xffff_ffff }, efer: 0n });
    expect(realMode(0x20000)).toMatchObject({ cr0: 0x10n, cs: { base: 0x20000n, selector: 0x2000, limit: 0xffff } });
    expect(() => realMode(8)).toThrow(RangeError);
    expect(() => realMode(0x100000)).toThrow(RangeError);
  });
});

describe('startState', () => {
  const p = program({ arch: 'x64' }, (g) => g.store(0x1_0000_0000, 1));

  it('places program and page tables and points the vCPU at them', () => {
    const state = startState(p, { stack: 0x9000 });
    expect(state.memory.map(({ gpa, bytes }) => [gpa, bytes.length])).toEqual([
      [p.base, p.bytes.length],
      [0x1000, 5 * 4096],
    ]);
    expect(state.regs).toEqual({ rip: BigInt(p.entry), rsp: 0x9000n, rflags: 2n });
    expect(state.sregs.cr3).toBe(0x1000n);
  });

  it('throws RangeError when they overlap', () => {
    expect(() => startState(p, { pageTables: p.base })).toThrow(/overlap/);
    expect(() => startState(p, { pageTables: p.base - 0x1000 })).toThrow(/overlap/);
    expect(() => startState(p, { pageTables: p.base - 5 * 4096 })).not.toThrow();
  });
});
