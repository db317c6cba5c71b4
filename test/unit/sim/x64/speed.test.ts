/** How fast the vCPU is. Prints only: how fast a machine must be is no business of a test. */
import { expect, it } from 'vitest';
import type { Assembler } from '../../../../lib/guest/x64/index.ts';
import { DATA, guest } from './ram.ts';

const LOOPS: Readonly<Record<string, (a: Assembler) => unknown>> = {
  'mov add cmp jcc': (a) => {
    const again = a.label();
    return a
      .bind(again)
      .mov('rax', 'rcx')
      .add('rbx', 'rax')
      .add('rdx', 3)
      .inc('rcx')
      .cmp('rcx', 'r8')
      .jcc('ne', again)
      .hlt();
  },
  'load store': (a) => {
    const again = a.label();
    a.bind(again).mov('rax', { base: 'rsi', disp: 8 }).add('rax', 'rcx').mov({ base: 'rdi' }, 'rax');
    return a.mov('edx', { base: 'rdi' }).inc('rcx').cmp('rcx', 'r8').jcc('ne', again).hlt();
  },
  'xor stos loop': (a) => {
    const again = a.label();
    a.mov('rcx', 'r8').bind(again).mov('rax', 'rdi').xor('rax', 'rbx').mov('rdi', DATA);
    return a.stos(64).loop(again).hlt();
  },
  '32 bits': (a) => {
    const again = a.label();
    return a
      .bind(again)
      .mov('eax', 'ecx')
      .add('ebx', 'eax')
      .xor('edx', 'ebx')
      .inc('ecx')
      .cmp('ecx', 'r8d')
      .jcc('ne', again)
      .hlt();
  },
};

it.each(Object.entries(LOOPS))('%s', (name, build) => {
  const setup = { regs: { r8: 300_000, rsi: DATA, rdi: DATA + 64 } };
  guest(build, setup).run(1_000_000);
  const g = guest(build, { regs: { ...setup.regs, r8: 2_000_000 } });
  const start = performance.now();
  const stop = g.run(100_000_000);
  const seconds = (performance.now() - start) / 1000;
  expect(stop).toEqual({ kind: 'hlt' });
  console.log(`${name}: ${(g.cpu.executed / seconds / 1e6).toFixed(1)} million instructions per second`);
});
