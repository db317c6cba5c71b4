/** Runs the tools of a build: gently, so that they end with us, and with what they say kept. */
import { spawn } from 'node:child_process';
import { findProgram } from '../qemu.ts';

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Each line of both outputs. */
  readonly onLine?: ((line: string) => void) | undefined;
}

export class CommandError extends Error {
  /** The last lines of its outputs. */
  readonly output: string;
  constructor(command: string, how: string, output: string) {
    super(`${command}: ${how}${output === '' ? '' : `\n${output}`}`);
    this.name = 'CommandError';
    this.output = output;
  }
}

const TAIL = 40;

/**
 * The command's stdout. It runs with lower priority in a process group of its own; when `signal` is aborted, the group is ended and the
 * signal's reason thrown; when this process is killed, setpriv sees to the same.
 */
export async function runTool(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { signal, onLine } = options;
  signal?.throwIfAborted();
  const wrapped = ['nice', '-n', '10', command, ...args];
  const setpriv = findProgram('setpriv');
  if (setpriv !== undefined) wrapped.unshift(setpriv, '--pdeathsig', 'TERM', '--');
  const [program = 'nice', ...rest] = wrapped;
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const end = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
    } catch {
      // It has ended by itself.
    }
  };
  signal?.addEventListener('abort', end, { once: true });
  process.once('exit', end);
  let stdout = '';
  let tail: string[] = [];
  const take = (stream: NodeJS.ReadableStream, keep: boolean): void => {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      if (keep) stdout += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine?.(line);
      tail = [...tail, ...lines].slice(-TAIL);
    });
    stream.on('end', () => {
      if (rest === '') return;
      onLine?.(rest);
      tail.push(rest);
    });
  };
  take(child.stdout, true);
  take(child.stderr, false);
  try {
    const [status, ended] = await new Promise<[number | null, NodeJS.Signals | null]>((done, fail) => {
      child.once('error', fail);
      child.once('close', (code, by) => done([code, by]));
    });
    signal?.throwIfAborted();
    if (status !== 0) throw new CommandError(command, ended ?? `status ${status}`, tail.join('\n').trim());
    return stdout;
  } finally {
    signal?.removeEventListener('abort', end);
    process.removeListener('exit', end);
  }
}
