/** Runs the compiled command line as a user does: as a process of its own. */
import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';

export const ROOT = path.resolve(import.meta.dirname, '../..');
export const MAIN = path.join(ROOT, 'dist/cli/main.js');

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(command: string, args: readonly string[], options: SpawnSyncOptions = {}): Ended {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    timeout: 60_000,
    maxBuffer: 1 << 28,
    ...options,
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  return { status, signal, stdout: String(stdout), stderr: String(stderr) };
}

export function privmem(...args: string[]): Ended {
  if (!existsSync(MAIN)) throw new Error('dist/ is missing: run `npm run build`');
  return run(process.execPath, [MAIN, ...args]);
}

export function has(command: string): boolean {
  return (process.env.PATH ?? '').split(':').some((dir) => existsSync(path.join(dir, command)));
}

/** Why the real KVM cannot be used here; undefined when it can. */
export function noKvm(): string | undefined {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    return `/dev/kvm: ${(error as NodeJS.ErrnoException).code}`;
  }
}
