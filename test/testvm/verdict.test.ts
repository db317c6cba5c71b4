import { describe, expect, test } from 'vitest';
import { statusOf } from '../../lib/cli/commands/vm.ts';
import { parseMessage } from '../../lib/testvm/control.ts';
import { type End, judge, type Observed } from '../../lib/testvm/verdict.ts';
import type { Outcome, VmResult } from '../../lib/testvm/words.ts';

const PANIC = 'Kernel panic - not syncing: Attempted to kill init!\r\n';
const OOPS = 'BUG: KASAN: slab-use-after-free in f\r\n';
const WARN = 'WARNING: CPU: 0 PID: 1 at a.c:1 f\r\n';
const exit = (status: number): End => ({ kind: 'exit', status });
const gone: End = { kind: 'machine-ended', status: 0, signal: null };
const late: End = { kind: 'command-timeout', limit: 1000 };
const see = (end: End, console = '', booted = true): Observed => ({ end, booted, console, complaints: '' });

describe('the outcome of a run', () => {
  test.each<[Outcome, Observed]>([
    ['passed', see(exit(0))],
    ['failed', see(exit(1))],
    ['failed', see(exit(1), WARN)],
    ['warned', see(exit(0), WARN)],
    ['oopsed', see(exit(0), OOPS)],
    ['oopsed', see(exit(139), OOPS + WARN)],
    ['oopsed', see(late, OOPS)],
    ['timed-out', see(late)],
    ['timed-out', see(late, WARN)],
    ['panicked', see(gone, PANIC)],
    ['panicked', see(gone, PANIC, false)],
    ['panicked', see({ kind: 'panic' }, PANIC)],
    ['died', see(gone)],
    ['failed-to-boot', see(gone, 'x', false)],
    ['failed-to-boot', see({ kind: 'silence', seconds: 8 }, '', false)],
    ['failed-to-boot', see({ kind: 'boot-timeout', limit: 8 }, '', false)],
    ['failed-to-boot', see({ kind: 'fault', text: 'no 9p' }, '', false)],
    // Anyone may write such a line to the console; the command ended all the same.
    ['passed', see(exit(0), PANIC)],
  ])('%s: %o', (outcome, observed) => {
    expect(judge(observed).outcome).toBe(outcome);
  });

  test('a panic says when, and keeps its text', () => {
    expect(judge(see(gone, PANIC, false)).panic).toMatchObject({ phase: 'boot', message: 'Attempted to kill init!' });
    expect(judge(see(gone, PANIC)).panic).toMatchObject({ phase: 'command' });
  });

  test("what QEMU or the guest's init says is the reason", () => {
    const end: End = { kind: 'machine-ended', status: 1, signal: null };
    expect(judge({ end, booted: false, console: '', complaints: 'no such machine' }).reason).toContain(
      'no such machine',
    );
    expect(judge(see(gone, 'privmem-init: no 9p\r\n', false)).reason).toBe('no 9p');
  });

  test('exit statuses: the command decides unless the kernel spoke', () => {
    const result = (outcome: Outcome, status: number | null): VmResult => ({ outcome, status }) as VmResult;
    expect(statusOf(result('passed', 0), false)).toBe(0);
    expect(statusOf(result('failed', 7), false)).toBe(7);
    expect(statusOf(result('warned', 0), false)).toBe(121);
    expect(statusOf(result('warned', 0), true)).toBe(0);
    expect(statusOf(result('oopsed', 0), false)).toBe(122);
    expect(statusOf(result('oopsed', null), true)).toBe(122);
    expect(statusOf(result('oopsed', 139), false)).toBe(139);
    expect(statusOf(result('panicked', null), false)).toBe(123);
    expect(statusOf(result('died', null), false)).toBe(123);
    expect(statusOf(result('timed-out', null), false)).toBe(124);
    expect(statusOf(result('failed-to-boot', null), false)).toBe(125);
  });
});

describe('the control port', () => {
  test('only lines with the nonce count', () => {
    expect(parseMessage('abc', 'abc exit 0 12 34')).toEqual({ kind: 'exit', status: 0, stdout: 12, stderr: 34 });
    expect(parseMessage('abc', 'abc ready 7.3.4 x86_64')).toEqual({
      kind: 'ready',
      release: '7.3.4',
      machine: 'x86_64',
    });
    for (const line of ['exit 0 0 0', 'abd exit 0 0 0', 'abc exit 0', 'abc', '', 'abc nonsense 1']) {
      expect(parseMessage('abc', line)).toBeUndefined();
    }
  });
});
