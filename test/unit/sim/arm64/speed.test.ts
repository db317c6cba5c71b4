/** How fast the vCPU is. Prints only: how fast a machine must be is no business of a test. */
import { expect, it } from 'vitest';
import type { Assembler } from '../../../../lib/guest/a64/index.ts';
import { DATA, Guest } from './ram.ts';

const LOOPS: Readonly<Record<string, (a: Assembler) => unknown>> = {
  'mov add cmp b.ne': (a) => {
    const again = a.label();
    return a
      .bind(again)
      .mov('x3', 'x1')
      .add('x4', 'x4', 'x3')
      .add('x5', 'x5', 3)
      .add('x1', 'x1', 1)
      .cmp('x1', 'x0')
      .bcond('ne', again)
      .hvc(0);
  },
  'load store': (a) => {
    const again = a.label();
    a.bind(again).ldr('x3', { base: 'x2', offset: 8 }).add('x3', 'x3', 'x1').str('x3', { base: 'x2' });
    return a.ldr('w4', { base: 'x2' }).add('x1', 'x1', 1).cmp('x1', 'x0').bcond('ne', again).hvc(0);
  },
  'checksum of memory': (a) => {
    const [again, words] = [a.label(), a.label()];
    a.bind(again).mov('x5', 64).mov('x6', 'x2').bind(words);
    a.ldr('x3', { base: 'x6' }).add('x4', 'x4', 'x3').add('x6', 'x6', 8).sub('x5', 'x5', 1).cbnz('x5', words);
    return a.add('x1', 'x1', 50).cmp('x1', 'x0').bcond('cc', again).hvc(0);
  },
};

it.each(Object.entries(LOOPS))('%s', (name, build) => {
  const prepared = (count: number): Guest => {
    const guest = new Guest(build);
    guest.setX(0, count);
    guest.setX(2, DATA);
    return guest;
  };
  prepared(300_000).run(10_000_000);
  const guest = prepared(1_000_000);
  const start = process.cpuUsage();
  const stop = guest.run(1_000_000_000);
  const { user, system } = process.cpuUsage(start);
  expect(stop).toEqual({ kind: 'call', conduit: 'hvc', immediate: 0 });
  console.log(
    `${name}: ${(guest.cpu.executed / (user + system)).toFixed(1)} million instructions per second of processor time`,
  );
});
