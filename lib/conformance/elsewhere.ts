/** Calls made in another process or on another thread of the real kernel, with descriptors of this process. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

export interface RemoteCall {
  readonly call: 'ioctl' | 'fallocate';
  /** Index into the descriptors that are handed over. */
  readonly on: number;
  /** ioctl: request, then a number, or bytes in hexadecimal. fallocate: mode, offset, length. */
  readonly args: readonly (number | string)[];
}

export interface RemoteOrder {
  readonly fds: readonly number[];
  readonly calls: readonly RemoteCall[];
}

const script = (): URL => new URL('./elsewhere-child.js', import.meta.url);
/** Descriptors of the child: 0 to 2 are its own. */
const FIRST_FD = 3;

/** The results, value or negated errno each, of calls made by another process that inherited the descriptors. */
export async function inAnotherProcess(
  fds: readonly number[],
  calls: readonly RemoteCall[],
  signal: AbortSignal,
): Promise<readonly number[]> {
  const order: RemoteOrder = { fds: fds.map((_, i) => FIRST_FD + i), calls };
  const child = spawn(process.execPath, [fileURLToPath(script()), JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'inherit', ...fds],
    signal,
  });
  let output = '';
  child.stdout?.on('data', (data: Buffer) => {
    output += data.toString();
  });
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`the other process ended with status ${code}`)),
    );
  });
  return JSON.parse(output) as readonly number[];
}

/**
 * Another process sends SIGUSR2 to this one again and again, until closed: a call that is under way on the main thread is interrupted.
 * `everyMs` 0: as often as it can.
 */
export function signals(everyMs: number): { close(): void } {
  // For good: a signal may still be on its way after the last one was sent.
  if (process.listenerCount('SIGUSR2') === 0) process.on('SIGUSR2', () => {});
  const child = spawn('/bin/sh', ['-c', `while ${pauseOf(everyMs)}kill -USR2 ${process.pid}; do :; done`], {
    stdio: 'ignore',
  });
  child.on('error', () => {});
  return { close: () => void child.kill('SIGKILL') };
}

const pauseOf = (everyMs: number): string => (everyMs === 0 ? '' : `sleep ${everyMs / 1000} && `);

/** The same as {@link inAnotherProcess}, made on another thread of this process. */
export async function onAnotherThread(
  fds: readonly number[],
  calls: readonly RemoteCall[],
): Promise<readonly number[]> {
  const order: RemoteOrder = { fds, calls };
  const worker = new Worker(script(), { workerData: order });
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  } finally {
    await worker.terminate();
  }
}
