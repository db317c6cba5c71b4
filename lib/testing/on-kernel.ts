/** Runs a vitest file inside a test kernel and gives its results to the suite outside. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'vitest';
import { UnsupportedError } from '../kernel/errors.ts';
import { findKernel, runInKernel, type VmOptions, type VmResult } from '../testvm/index.ts';
import { findQemu } from '../testvm/qemu.ts';

export interface OnKernelOptions extends Omit<Partial<VmOptions>, 'kernel'> {
  /** Further arguments for vitest: `['-t', 'punch']`. */
  readonly vitestArgs?: readonly string[];
}

/** What vitest's JSON reporter says, as far as it is used here. */
interface VitestReport {
  readonly testResults: readonly {
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

const DEFAULT_TIMEOUT_MS = 300_000;
/** Boot, and what QEMU needs to end, on top of the command's own time. */
const AROUND_MS = 90_000;

/** The file that `vitest` starts with, as the project in `cwd` has it. */
function vitestEntry(cwd: string): string {
  const manifest = createRequire(path.join(cwd, 'package.json')).resolve('vitest/package.json');
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin: string | Record<string, string> };
  return path.resolve(path.dirname(manifest), typeof bin === 'string' ? bin : (bin.vitest ?? 'vitest.mjs'));
}

/** The document is the only thing on stdout that starts a line with a brace. */
function reportOf({ stdout, outcome, reason, stderr }: VmResult): VitestReport {
  const start = stdout.search(/^\{/m);
  if (start === -1) throw new Error(`${outcome}: ${reason}; vitest gave no report\n${stderr.slice(-2000)}`);
  return JSON.parse(stdout.slice(start)) as VitestReport;
}

/** Throws with the names of what failed, or when the kernel did not come through whole; returns how many tests passed and were skipped. */
export async function runFileInKernel(
  image: string,
  file: string | URL,
  options: OnKernelOptions = {},
): Promise<{ readonly passed: number; readonly skipped: readonly string[]; readonly result: VmResult }> {
  const { vitestArgs = [], ...vm } = options;
  const cwd = vm.cwd ?? process.cwd();
  const target = typeof file === 'string' && !file.startsWith('file:') ? file : fileURLToPath(file);
  const command = [
    process.execPath,
    vitestEntry(cwd),
    'run',
    '--reporter=json',
    '--pool=threads',
    '--cache=false',
    ...vitestArgs,
    target,
  ];
  const result = await runInKernel({ timeout: DEFAULT_TIMEOUT_MS, ...vm, kernel: image, cwd }, command);
  if (!['passed', 'failed'].includes(result.outcome)) {
    const splats = result.splats.map(({ title }) => `\n${title}`).join('');
    throw new Error(`${image} ${result.outcome}: ${result.reason}${splats}`);
  }
  const report = reportOf(result);
  const tests = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  const failures = tests.filter(({ status }) => status === 'failed');
  const broken = report.testResults.filter(({ message, assertionResults }) => message && assertionResults.length === 0);
  if (failures.length > 0 || broken.length > 0 || result.outcome === 'failed') {
    const words = failures.map(({ fullName, failureMessages = [] }) => `${fullName}\n    ${failureMessages[0] ?? ''}`);
    throw new Error([`on ${image}:`, ...words, ...broken.map(({ message }) => message), result.reason].join('\n'));
  }
  const passed = tests.filter(({ status }) => status === 'passed').length;
  if (passed === 0) throw new Error(`on ${image}: no test of ${target} ran`);
  return { passed, skipped: tests.filter(({ status }) => status !== 'passed').map(({ fullName }) => fullName), result };
}

/**
 * One test for each call: the file's own tests, carried out in a test kernel (`privmem vm --build 7.3`). `image` is a kernel image or the
 * name of one that was built. What fails inside fails here by name; without QEMU or the kernel it is a skip that says so.
 */
export function onKernel(image: string, file: string | URL, options: OnKernelOptions = {}): void {
  const name = `${path.basename(String(file))} on kernel ${image}`;
  const lack = missingFor(image, options);
  if (lack !== undefined) {
    console.warn(`SKIPPED ${name}: ${lack}`);
    describe(name, () => it.skip(`[SKIPPED: ${lack}]`, () => {}));
    return;
  }
  const limit = (options.timeout ?? DEFAULT_TIMEOUT_MS) + AROUND_MS;
  it(
    name,
    async () => {
      const { passed, skipped, result } = await runFileInKernel(image, file, options);
      const { release } = result.kernel;
      console.info(
        `${name} (Linux ${release}): ${passed} passed, ${skipped.length} skipped${skipped.map((test) => `\n  ${test}`).join('')}`,
      );
    },
    limit,
  );
}

function missingFor(image: string, options: OnKernelOptions): string | undefined {
  try {
    findQemu(options.arch ?? 'x64');
    findKernel(image, options.arch ?? 'x64');
    return undefined;
  } catch (error) {
    if (error instanceof UnsupportedError) return error.message;
    throw error;
  }
}
