/** A test kernel for tests: which one, and why there is none. */
import { existsSync } from 'node:fs';
import { findKernel, type VmOptions, type VmResult } from '../../lib/testvm/index.ts';
import { runInKernel } from '../../lib/testvm/run.ts';
import { type Ended, has, MAIN, run } from './cli.ts';

/** A name or a path: `PRIVMEM_TEST_KERNEL`, or the 7.3 of the cache. */
export const KERNEL = process.env.PRIVMEM_TEST_KERNEL ?? '7.3';

/** Why no test kernel can be booted here; undefined when one can. */
export function noTestKernel(): string | undefined {
  if (!has('qemu-system-x86_64')) return 'no qemu-system-x86_64';
  try {
    findKernel(KERNEL, 'x64');
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
  }
  return existsSync(MAIN) ? undefined : 'dist/ is missing: run `npm run build`';
}

/** A suite's title says when it is skipped, and why. */
export function titleOf(title: string, reason: string | undefined): string {
  return reason === undefined ? title : `${title} (skipped: ${reason})`;
}

export function boot(command: readonly string[], options: Partial<VmOptions> = {}): Promise<VmResult> {
  return runInKernel({ kernel: KERNEL, timeout: 60_000, bootTimeout: 120_000, ...options }, command);
}

/** The command line, with time for a busy host. */
export function vm(...args: string[]): Ended {
  return run(process.execPath, [MAIN, 'vm', ...args], { timeout: 170_000 });
}
