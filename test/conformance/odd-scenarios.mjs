/** Scenarios that behave as on a broken kernel, to see whether the suite's verdict survives them. */
import { writeFileSync } from 'node:fs';
import { topic } from '../../dist/conformance/index.js';

const busy = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

export const SCENARIOS = topic('odd/process', { promise: 'none', needs: { kvm: false } }, (scenario) => {
  scenario('passes_before', (t) => t.holds(true, 'nothing'));
  scenario('dies_of_SIGKILL', () => {
    process.kill(process.pid, 'SIGKILL');
    busy(10_000);
  });
  scenario('exits', () => process.exit(0));
  scenario('passes_between', (t) => t.same(t.memfd({ size: 4096 }).size, 4096, 'size'));
  scenario('blocks', { timeoutMs: 200 }, () => {
    const told = process.env.ODD_BLOCKS;
    if (told !== undefined) writeFileSync(told, '');
    busy(60_000);
  });
  scenario('never_settles', { timeoutMs: 200 }, () => new Promise(() => {}));
  scenario('expects_too_much', (t) => t.refused(t.sys.raw.memfdCreate('x', 0), 'EPERM', 'an ordinary memfd'));
  scenario('throws', () => {
    throw new TypeError('a mistake of its own');
  });
  scenario('needs_the_future', { needs: { release: [99, 0] } }, () => {});
  scenario('leaves_everything_open', (t) => {
    for (let i = 0; i < 50; i++) t.map(t.memfd({ size: 4096 }));
    t.holds(true, 'nothing');
  });
  scenario('random_numbers', (t) => t.same(t.random.next() % 2, 0, 'a random bit'));
  scenario('checks_nothing', (t) => void t.memfd({ size: 4096 }));
  scenario('passes_at_the_end', (t) => t.holds(true, 'nothing'));
  // Not the last one: the death falls to the next.
  scenario('dies_after_its_result', (t) => {
    t.holds(true, 'nothing');
    const { send } = process;
    process.send = (message, ...rest) =>
      message.type === 'start' ? process.exit(3) : send.call(process, message, ...rest);
  });
  scenario('comes_next', (t) => t.holds(true, 'nothing'));
  scenario('comes_last', (t) => t.holds(true, 'nothing'));
});
