/** Worker threads: several environments in one process, each torn down with all that it held. */
import { expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import { childScript, withKvm } from './host.ts';

async function expectFine(way: string): Promise<void> {
  const result = await runChild(childScript('workers.cjs'), { args: [way], limitMs: 25_000 });
  expect(result).toMatchObject({ status: 0, signal: null, stdout: 'fine\n', stderr: '' });
}

withKvm('workers', () => {
  it.concurrent('use everything at once', () => expectFine('two-at-once'));
  it.concurrent('terminated while a guest runs leave nothing behind', () => expectFine('terminate'));
  it.concurrent('terminated while they never return leave nothing behind', () => expectFine('terminate-blocked'));
  it.concurrent('that exit while a guest runs leave nothing behind', () => expectFine('exit-by-itself'));
  it.concurrent('that were the only ones to load the addon leave the signal handlers', () => expectFine('worker-only'));
  it.concurrent('that end under a vCPU of another', () => expectFine('page-of-another'));
  it.concurrent('see the memory of others, but get no view of it', () => expectFine('shared'));
  it.concurrent('do not stop the process from exiting', async () => {
    for (let i = 0; i < 3; i++) {
      const result = await runChild(childScript('workers.cjs'), { args: ['main-exits'] });
      expect(result).toMatchObject({ status: 0, signal: null, stderr: '' });
    }
  });
});
