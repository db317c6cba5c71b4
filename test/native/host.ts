/** What this host offers to the tests of the addon. */
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import { loadNative } from '../../lib/kernel/native.ts';
import guest from './children/guest.cjs';

export const kernel = loadNative();

const noKvm = guest.kvmMissing(kernel);
const noGuestMemfd = guest.guestMemfdMissing(kernel);

/** A group of tests that needs something of the host. Without it the title says what is missing, and nothing passes. */
function group(title: string, missing: string | undefined, tests: () => void): void {
  describe.skipIf(missing !== undefined)(missing === undefined ? title : `${title} (skipped: ${missing})`, tests);
}

export const withKvm = (title: string, tests: () => void): void => group(title, noKvm, tests);
export const withGuestMemfd = (title: string, tests: () => void): void => group(title, noGuestMemfd, tests);

/** The path of a script in children/. */
export function childScript(name: string): string {
  return fileURLToPath(new URL(`./children/${name}`, import.meta.url));
}

/** The result, which must not be an errno. */
export function must(result: number): number {
  if (result < 0) throw new Error(`errno ${-result}`);
  return result;
}

/** The view, which must have been made. */
export function mustView(result: ArrayBuffer | number): ArrayBuffer {
  if (typeof result === 'number') throw new Error(`no view, errno ${-result}`);
  return result;
}

/** A page of memory that the addon has not mapped: the program itself. */
export function foreignMemory(): bigint {
  const line = fs
    .readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((one) => one.endsWith(fs.realpathSync(process.execPath)));
  if (line === undefined) throw new Error('this process has no program');
  return BigInt(`0x${line.slice(0, line.indexOf('-'))}`);
}
