/** What must survive survives, and what must die dies of the right signal. Each in a process of its own. */
import { describe, expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import { childScript, withGuestMemfd } from './host.ts';

const crash = (way: string) => runChild(childScript('crash.cjs'), { args: [way] });

async function expectSurvival(way: string): Promise<void> {
  expect(await crash(way)).toMatchObject({ status: 0, signal: null, stdout: 'survived\n' });
}

async function expectDeath(way: string, signal: string): Promise<void> {
  expect(await crash(way)).toMatchObject({ status: null, signal, stdout: '', timedOut: false });
}

describe.concurrent('survives', () => {
  it('faults in every copy', () => expectSurvival('copies'));
  it('thousands of them', () => expectSurvival('copies-many'));
  it('with a listener for SIGBUS from before the first copy, which still hears', () =>
    expectSurvival('listener-before'));
  it('with a listener for SIGBUS from after the first copy, which still hears', () => expectSurvival('listener-after'));
  it('WebAssembly traps, which stay errors', () => expectSurvival('wasm'));
  it('views longer than Node.js allows', () => expectSurvival('view-too-long'));
  it('kicks with a run page that cannot be written', () => expectSurvival('kick-no-access'));
  it('run pages at the end of the address space', () => expectSurvival('attach-top-of-memory'));
});

describe.concurrent('dies, after the handlers were installed, of', () => {
  it('a SIGSEGV that was sent', () => expectDeath('sent-segv', 'SIGSEGV'));
  it('a SIGBUS that was sent', () => expectDeath('sent-bus', 'SIGBUS'));
  it('a SIGBUS that was sent after the last listener was removed', () => expectDeath('listener-removed', 'SIGBUS'));
  it('touching a view beyond the end of its file', () => expectDeath('touch-empty-file', 'SIGBUS'));
  it('touching a view without access', () => expectDeath('touch-no-access', 'SIGSEGV'));
});

withGuestMemfd('private memory', () => {
  it('is refused as the argument of requests, and the process lives', () => expectSurvival('private-argument'));
  it('kills who touches a view of it', () => expectDeath('touch-private', 'SIGBUS'));
});
