/** The kernels in the user's cache: found by name, listed. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UnsupportedError } from '../kernel/errors.ts';
import { cacheDirectory } from './cache.ts';
import type { TestArch } from './words.ts';

/** What is known of a kernel that was built: kernel.json beside its image. */
export interface StoredKernel {
  /** `7.3`, `7.3+kasan`, `7.3+no-zap`. */
  readonly name: string;
  readonly arch: TestArch;
  /** Of source, patches, configuration and compiler. */
  readonly key: string;
  /** uname -r. */
  readonly release: string;
  /** Where the source came from, in words. */
  readonly source: string;
  readonly patches: readonly string[];
  /** Where the sources lie, as the newest variant built from them wants them. */
  readonly tree: string;
  /** ISO 8601. */
  readonly built: string;
  readonly image: string;
  readonly config: string;
  readonly log: string;
}

export const kernelsDirectory = (cache: string = cacheDirectory()): string => join(cache, 'kernels');

/** Names lie as files NAME.ARCH that hold the key; images lie under their key. */
export function listKernels(cache: string = cacheDirectory()): StoredKernel[] {
  const directory = kernelsDirectory(cache);
  const names = join(directory, 'names');
  if (!existsSync(names)) return [];
  const kernels: StoredKernel[] = [];
  for (const file of readdirSync(names).sort()) {
    const key = readFileSync(join(names, file), 'utf8').trim();
    const home = join(directory, key);
    if (!existsSync(join(home, 'kernel.json'))) continue;
    const facts = JSON.parse(readFileSync(join(home, 'kernel.json'), 'utf8')) as StoredKernel;
    const name = file.slice(0, file.lastIndexOf('.'));
    kernels.push({
      ...facts,
      name,
      image: join(home, 'image'),
      config: join(home, 'config'),
      log: join(home, 'build.log'),
    });
  }
  return kernels;
}

const isFile = (path: string): boolean => {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
};

/** An image by name or by path. A name wins; `./7.3` is a path. UnsupportedError when there is neither. */
export function findKernel(
  kernel: string,
  arch: TestArch | undefined,
  cache: string = cacheDirectory(),
): { readonly image: string; readonly stored?: StoredKernel } {
  const all = listKernels(cache);
  const named = all.filter((each) => each.name === kernel);
  const own: TestArch = process.arch === 'arm64' ? 'arm64' : 'x64';
  const stored = named.find((each) => each.arch === (arch ?? own)) ?? (arch === undefined ? named[0] : undefined);
  if (stored !== undefined) return { image: stored.image, stored };
  if (isFile(kernel)) return { image: resolve(kernel) };
  if (kernel.includes('/')) {
    throw new UnsupportedError(
      kernel,
      'there is no such kernel image',
      '`privmem vm --list` shows the kernels that were built',
    );
  }
  const others = all.map((each) => `${each.name} (${each.arch})`).join(', ');
  throw new UnsupportedError(
    `kernel ${kernel}${arch === undefined ? '' : ` for ${arch}`}`,
    `not in ${kernelsDirectory(cache)}${others === '' ? '' : `, which has ${others}`}`,
    `build it, which takes some minutes: privmem vm --build ${kernel.split('+')[0] ?? kernel}${arch === undefined || arch === own ? '' : ` --arch ${arch}`}`,
  );
}
