/** Results and flags from the manuals, for hosts without a KVM to compare with. */
import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../../../lib/guest/x64/index.ts';
import { DATA, guest } from './ram.ts';

const [CF, PF, AF, ZF, SF, OF] = [1n, 4n, 0x10n, 0x40n, 0x80n, 0x800n];
const MAX = (1n << 64n) - 1n;
const TOP = 1n << 63n;

type Row = readonly [
  name: string,
  code: (a: Assembler) => unknown,
  rax: bigint,
  rbx: bigint,
  result: bigint,
  flags: bigint,
];

const ROWS: readonly Row[] = [
  ['add', (a) => a.add('rax', 'rbx'), MAX, 1n, 0n, CF | PF | AF | ZF],
  ['add overflows', (a) => a.add('rax', 'rbx'), TOP - 1n, 1n, TOP, OF | SF | AF | PF],
  ['add of halves', (a) => a.add('rax', 'rbx'), 0xffff_ffffn, 1n, 1n << 32n, PF | AF],
  ['add eax', (a) => a.add('eax', 'ebx'), MAX, 1n, 0n, CF | PF | AF | ZF],
  ['add al', (a) => a.add('al', 'bl'), 0x1_7fn, 1n, 0x1_80n, OF | SF | AF],
  ['add ah', (a) => a.add('ah', 'bl'), 0xff00n, 1n, 0n, CF | PF | AF | ZF],
  ['adc', (a) => a.stc().adc('rax', 'rbx'), MAX, MAX, MAX, CF | PF | AF | SF],
  ['sub', (a) => a.sub('rax', 'rbx'), 0n, 1n, MAX, CF | PF | AF | SF],
  ['sub overflows', (a) => a.sub('rax', 'rbx'), TOP, 1n, TOP - 1n, OF | AF | PF],
  ['sbb', (a) => a.stc().sbb('rax', 'rbx'), 5n, 4n, 0n, PF | ZF],
  ['sbb ax', (a) => a.stc().sbb('ax', 'bx'), 0n, 0xffffn, 0n, CF | PF | AF | ZF],
  ['cmp', (a) => a.cmp('rax', 'rbx'), 7n, 7n, 7n, PF | ZF],
  ['and', (a) => a.stc().and('rax', 'rbx'), TOP | 3n, TOP | 5n, TOP | 1n, SF],
  ['xor', (a) => a.xor('eax', 'eax'), MAX, 0n, 0n, PF | ZF],
  ['inc keeps the carry', (a) => a.stc().inc('rax'), MAX, 0n, 0n, CF | PF | AF | ZF],
  ['dec', (a) => a.dec('al'), 0x80n, 0n, 0x7fn, OF | AF],
  ['neg', (a) => a.neg('rax'), TOP, 0n, TOP, CF | OF | SF | PF],
  ['not', (a) => a.not('eax'), 1n, 0n, 0xffff_fffen, 0n],
  ['shl by 1', (a) => a.shl('rax', 1), TOP | 1n, 0n, 2n, CF | OF],
  ['shl by 0 keeps flags', (a) => a.stc().mov('cl', 64).shl('rax', 'cl'), 3n, 0n, 3n, CF],
  ['shr by 33', (a) => a.shr('rax', 33), 7n << 32n, 0n, 3n, CF | PF],
  ['sar', (a) => a.sar('rax', 63), TOP, 0n, MAX, SF | PF],
  ['rol by 1', (a) => a.rol('al', 1), 0x80n, 0n, 1n, CF | OF],
  ['ror by 1', (a) => a.ror('rax', 1), 1n, 0n, TOP, CF | OF],
  ['xadd', (a) => a.xadd('rax', 'rbx'), 1n, 2n, 3n, PF],
  ['cmpxchg', (a) => a.cmpxchg('rbx', 'rcx'), 5n, 5n, 5n, PF | ZF],
  ['setcc', (a) => a.stc().set('b', 'al'), 0n, 0n, 1n, CF],
  ['movsx', (a) => a.movsx('rax', 'bl'), 0n, 0x80n, MAX - 0x7fn, 0n],
  ['movzx', (a) => a.movzx('eax', 'bx'), MAX, 0x8000n, 0x8000n, 0n],
  ['lea', (a) => a.lea('rax', { base: 'rax', index: 'rbx', scale: 8, disp: -1 }), MAX, TOP, MAX - 1n, 0n],
  ['cmov clears the upper half', (a) => a.cmov('b', 'eax', 'ebx'), MAX, 1n, 0xffff_ffffn, 0n],
];

describe('results and flags', () => {
  it.each(ROWS)('%s', (_, code, rax, rbx, result, flags) => {
    const g = guest(
      (a) => {
        code(a);
        return a.hlt();
      },
      { regs: { rax, rbx } },
    );
    expect(g.run()).toEqual({ kind: 'hlt' });
    expect(g.get('rax')).toBe(result);
    // Auxiliary carry means something after additions and subtractions only; here it is 0 after the others.
    expect(g.get('rflags') & ~2n).toBe(flags);
  });

  it('multiplies and divides 128 bits', () => {
    const g = guest((a) => a.mul('rbx').mov('rcx', 'rdx').div('rbx').hlt(), { regs: { rax: MAX, rbx: MAX } });
    g.run();
    expect([g.get('rax'), g.get('rcx'), g.get('rdx')]).toEqual([MAX, MAX - 1n, 0n]);
  });

  it('compares and moves strings in both directions', () => {
    const g = guest((a) => a.std().movs(16, 'rep').cld().hlt(), { regs: { rsi: DATA + 4, rdi: DATA + 8, rcx: 3 } });
    g.ram.write(DATA, [1, 2, 3, 4, 5, 6]);
    g.run();
    expect([...g.ram.bytes.subarray(DATA, DATA + 10)]).toEqual([1, 2, 3, 4, 1, 2, 3, 4, 5, 6]);
    expect(g.get('rsi')).toBe(BigInt(DATA - 2));
  });
});
