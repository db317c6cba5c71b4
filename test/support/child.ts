/** Runs a script in a process of its own, for what may kill a process or must show that it ends by itself. */
import { spawn } from 'node:child_process';

export interface ChildResult {
  /** Exit status, or null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** True when the time limit ended it. */
  readonly timedOut: boolean;
}

export interface ChildOptions {
  readonly args?: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** After this many milliseconds the child is killed. */
  readonly limitMs?: number;
  /** Options for node itself, before the script. */
  readonly execArgv?: readonly string[];
}

const LIMIT_MS = 20_000;

/** Runs `script` with this node. Never rejects for what the child does: the caller looks at the result. */
export function runChild(script: string, options: ChildOptions = {}): Promise<ChildResult> {
  return runCommand(process.execPath, [...(options.execArgv ?? []), script, ...(options.args ?? [])], options);
}

/** The same for any program. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: Omit<ChildOptions, 'args' | 'execArgv'> & { readonly onlyEnv?: boolean } = {},
): Promise<ChildResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.onlyEnv ? { ...options.env } : { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.limitMs ?? LIMIT_MS);
    child.on('error', reject);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      resolve({ status, signal, stdout, stderr, timedOut });
    });
  });
}
