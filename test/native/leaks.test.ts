/** Thousands of rounds leave no descriptor, mapping or thread behind. */
import { expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import { childScript, withGuestMemfd, withKvm } from './host.ts';

const LIMIT_MS = 60_000;

async function expectNone(kind: string, rounds: number): Promise<void> {
  const result = await runChild(childScript('leaks.cjs'), {
    args: [kind, String(rounds)],
    execArgv: ['--expose-gc'],
    limitMs: LIMIT_MS,
  });
  expect(result).toMatchObject({ status: 0, stdout: 'none\n', stderr: '' });
}

it.concurrent('10000 memfds mapped', () => expectNone('memfd', 10_000), LIMIT_MS);
it.concurrent('10000 mappings with views', () => expectNone('views', 10_000), LIMIT_MS);
it.concurrent('10000 rounds of calls that fail', () => expectNone('failures', 10_000), LIMIT_MS);
it.concurrent('40 threads that handed over a struct', () => expectNone('workers', 40), LIMIT_MS);

withGuestMemfd('leaks with guest_memfd', () => {
  it.concurrent('10000 guest_memfds mapped', () => expectNone('guest-memfd', 10_000), LIMIT_MS);
});

withKvm('leaks with KVM', () => {
  it.concurrent(
    '400 VMs with a vCPU each, every other one running when it is detached',
    () => expectNone('vcpu', 400),
    LIMIT_MS,
  );
});
