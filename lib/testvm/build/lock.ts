/** Locks between processes, by flock(1): the kernel drops one when its holder ends, however that happens. */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

export interface Lock {
  release(): Promise<void>;
}

/** The holder reads its stdin, which ends with this process. */
function attempt(file: string, wait: boolean, signal: AbortSignal | undefined): Promise<Lock | undefined> {
  const args = [
    ...(wait ? [] : ['--nonblock']),
    '--no-fork',
    '--conflict-exit-code',
    '75',
    file,
    'sh',
    '-c',
    'echo held; exec cat',
  ];
  const child = spawn('flock', args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const closed = new Promise<number | null>((done) => child.once('close', done));
  return new Promise((done, fail) => {
    const onAbort = (): void => {
      child.kill();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    child.once('error', (error) => fail(new Error(`flock (package util-linux): ${error.message}`, { cause: error })));
    child.stdout.once('data', () => {
      signal?.removeEventListener('abort', onAbort);
      done({
        release: async () => {
          child.stdin.end();
          await closed;
        },
      });
    });
    closed.then((status) => {
      signal?.removeEventListener('abort', onAbort);
      if (signal?.aborted === true) fail(signal.reason);
      else if (status === 75) done(undefined);
      else fail(new Error(`flock ${file} ended with ${status}`));
    }, fail);
  });
}

/** Waits for the lock; `onWait` is called when somebody else has it. */
export async function takeLock(file: string, signal: AbortSignal | undefined, onWait: () => void): Promise<Lock> {
  signal?.throwIfAborted();
  mkdirSync(dirname(file), { recursive: true });
  const at_once = await attempt(file, false, signal);
  if (at_once !== undefined) return at_once;
  onWait();
  const later = await attempt(file, true, signal);
  if (later === undefined) throw new Error(`flock ${file} gave up`);
  return later;
}
