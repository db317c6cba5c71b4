/** Builds a kernel for testing, or finds it in the cache. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { cacheDirectory } from '../cache.ts';
import { kernelsDirectory, type StoredKernel } from '../store.ts';
import type { TestArch } from '../words.ts';
import { CommandError, runTool } from './command.ts';
import { takeLock } from './lock.ts';
import {
  type ConfigMap,
  type DebugFlag,
  differences,
  formatConfig,
  ourOptions,
  parseConfig,
  requiredOptions,
} from './options.ts';
import { locateSource, type SourceRequest } from './source.ts';
import { findToolchain, type Toolchain } from './toolchain.ts';
import { applyVariant, patchedFiles, type Variant } from './variant.ts';

export interface BuildOptions extends SourceRequest {
  /** Default: this host's. */
  readonly arch?: TestArch | undefined;
  /** Unified diffs, applied in this order. */
  readonly patches?: readonly string[] | undefined;
  /** Files with lines of a .config; the last one wins. */
  readonly configs?: readonly string[] | undefined;
  readonly debug?: readonly DebugFlag[] | undefined;
  /** What the kernel is called in the cache. Default: from source, patches and debug flags. */
  readonly name?: string | undefined;
  /** Default: one for each processor. */
  readonly jobs?: number | undefined;
  readonly cache?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onStage?: ((text: string) => void) | undefined;
  readonly onLine?: ((line: string) => void) | undefined;
  readonly onWarning?: ((text: string) => void) | undefined;
}

export interface BuildResult {
  readonly kernel: StoredKernel;
  /** True when nothing had to be built. */
  readonly cached: boolean;
  /** Options of the user's fragments that the configuration did not take. */
  readonly dropped: readonly string[];
  /** Options of ours that this release does not have. */
  readonly absent: readonly string[];
  readonly seconds: number;
}

/** Part of every key: raised when kernels of the same inputs would come out differently. */
const RECIPE = 1;
const IMAGE: Readonly<Record<TestArch, { target: string; path: string }>> = {
  x64: { target: 'bzImage', path: 'arch/x86/boot/bzImage' },
  arm64: { target: 'Image', path: 'arch/arm64/boot/Image' },
};
const TREE_SIZE = 2.2 * 2 ** 30;
const OBJECTS_SIZE = 0.6 * 2 ** 30;

/** A build that make gave up; the message ends with what it said. */
export class BuildError extends Error {
  readonly log: string;
  constructor(message: string, log: string, options?: ErrorOptions) {
    super(`${message}\nthe whole log: ${log}`, options);
    this.name = 'BuildError';
    this.log = log;
  }
}

const sha = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');

function checkDisk(directory: string, needed: number): void {
  const { bavail, bsize } = statfsSync(directory);
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  if (bavail * bsize < needed) {
    throw new Error(
      `${gib(needed)} are needed in ${directory}, ${gib(bavail * bsize)} are free\n` +
        'next step: free some, or set XDG_CACHE_HOME to a larger file system',
    );
  }
}

function defaultName(source: string, options: BuildOptions): string {
  const stem = (file: string): string => basename(file).replace(/\.(patch|diff|config|cfg)$/, '');
  const parts = [...(options.debug ?? []), ...(options.configs ?? []).map(stem), ...(options.patches ?? []).map(stem)];
  return [source, ...parts].join('+').replace(/[^A-Za-z0-9._+~-]+/g, '-');
}

function checkName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._+~-]*$/.test(name)) return name;
  throw new RangeError(`a name has letters, digits, dots, and + ~ _ -, and begins with a letter or digit: ${name}`);
}

function nameIt(cache: string, name: string, arch: TestArch, key: string): void {
  const names = join(kernelsDirectory(cache), 'names');
  mkdirSync(names, { recursive: true });
  const file = join(names, `${name}.${arch}`);
  writeFileSync(`${file}.${process.pid}`, `${key}\n`);
  renameSync(`${file}.${process.pid}`, file);
}

interface Job {
  readonly tree: string;
  readonly objects: string;
  readonly arch: TestArch;
  readonly toolchain: Toolchain;
  readonly wanted: ConfigMap;
  readonly version: string;
  readonly jobs: number;
  readonly log: string;
  readonly options: BuildOptions;
}

/** Runs make; the log gets everything. */
async function make(job: Job, targets: readonly string[]): Promise<void> {
  const { tree, objects, toolchain, jobs, options } = job;
  const log = createWriteStream(job.log, { flags: 'a' });
  log.write(`$ make ${targets.join(' ')}\n`);
  try {
    await runTool('make', ['-C', tree, `O=${objects}`, `-j${jobs}`, ...toolchain.make, ...targets], {
      // The same inputs give the same kernel, and nobody's name is in it. Seen in uname -v: which kernel this is.
      env: {
        KBUILD_BUILD_TIMESTAMP: 'Thu Jan  1 00:00:00 UTC 1970',
        KBUILD_BUILD_USER: 'privmem',
        KBUILD_BUILD_HOST: 'test',
        KBUILD_BUILD_VERSION: job.version,
        LOCALVERSION: '',
      },
      signal: options.signal,
      onLine: (line) => {
        log.write(`${line}\n`);
        options.onLine?.(line);
      },
    });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const lines = error.output.split('\n');
    const first = lines.findIndex((line) => /error:|Error \d|\*\*\*|undefined reference/.test(line));
    const said = lines.slice(Math.max(0, first), first + 12).join('\n');
    throw new BuildError(`the kernel does not build:\n${said}`, job.log, { cause: error });
  } finally {
    await new Promise((done) => log.end(done));
  }
}

/** Makes a .config of ours, once for each set of wanted options. Returns it. */
async function configure(job: Job, touched: readonly string[]): Promise<ConfigMap> {
  const { objects, wanted, arch, options } = job;
  const file = join(objects, '.config');
  const stamp = join(objects, '.privmem-config');
  const text = formatConfig(wanted);
  const known = existsSync(stamp) && existsSync(file) && readFileSync(stamp, 'utf8') === text;
  if (!known || touched.some((name) => /(^|\/)Kconfig/.test(name))) {
    options.onStage?.('configuring');
    await make(job, ['tinyconfig']);
    const all = new Map([...parseConfig(readFileSync(file, 'utf8'), file), ...wanted]);
    writeFileSync(file, formatConfig(all));
    await make(job, ['olddefconfig']);
    writeFileSync(stamp, text);
  }
  const final = parseConfig(readFileSync(file, 'utf8'), file);
  const lacking = differences(requiredOptions(arch), final);
  if (lacking.length > 0) {
    throw new BuildError(`no command could be run in such a kernel:\n${lacking.join('\n')}`, job.log);
  }
  return final;
}

/** Builds in tree/ and objects/, and puts the result under its key. */
async function buildInto(
  home: string,
  job: Job,
  variant: Variant,
  facts: Omit<StoredKernel, 'release'>,
): Promise<StoredKernel> {
  const { objects, arch, options } = job;
  mkdirSync(objects, { recursive: true });
  writeFileSync(job.log, '');
  const final = await configure(job, [...variant.keys()]);
  options.onStage?.('compiling');
  await make(job, [IMAGE[arch].target]);
  const fresh = `${home}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  copyFileSync(join(objects, IMAGE[arch].path), join(fresh, 'image'));
  writeFileSync(join(fresh, 'config'), formatConfig(final));
  copyFileSync(job.log, join(fresh, 'build.log'));
  const release = readFileSync(join(objects, 'include/config/kernel.release'), 'utf8').trim();
  const kernel: StoredKernel = { ...facts, release };
  writeFileSync(join(fresh, 'kernel.json'), `${JSON.stringify(kernel, null, 2)}\n`);
  rmSync(home, { recursive: true, force: true });
  renameSync(fresh, home);
  return kernel;
}

/**
 * Builds the kernel of these sources, patches and options, or finds it in the cache. Rejects with UnsupportedError when tools or packages are
 * missing, RangeError for wrong sources, patches or fragments, BuildError when make fails, and the signal's reason when aborted.
 */
export async function buildKernel(options: BuildOptions): Promise<BuildResult> {
  const started = performance.now();
  const { signal, patches = [], configs = [], debug = [] } = options;
  const cache = options.cache ?? cacheDirectory();
  const arch = options.arch ?? (process.arch === 'arm64' ? 'arm64' : 'x64');
  for (const file of [...patches, ...configs]) {
    if (!existsSync(file)) throw new RangeError(`${file}: no such file`);
  }
  const fragments = new Map(configs.flatMap((file) => [...parseConfig(readFileSync(file, 'utf8'), file)]));
  const wanted: ConfigMap = new Map([...ourOptions(arch, debug), ...fragments]);
  const toolchain = findToolchain(arch);
  mkdirSync(cache, { recursive: true });
  const context = {
    cache,
    signal,
    onStage: (text: string) => options.onStage?.(text),
    onLine: (line: string) => options.onLine?.(line),
  };
  const place = await locateSource(options, context);
  const { directory, original } = place;
  const name = checkName(options.name ?? defaultName(place.name, options));
  const lock = await takeLock(join(directory, 'lock'), signal, () =>
    options.onStage?.('waiting for another build of this source'),
  );
  try {
    const objects = join(directory, 'objects', `${arch}-${sha(formatConfig(wanted)).slice(0, 12)}`);
    const size = (existsSync(join(directory, 'tree')) ? 0 : TREE_SIZE) + (existsSync(objects) ? 0 : OBJECTS_SIZE);
    checkDisk(cache, size + 2 ** 27);
    const content = await place.fill();
    const variant = await patchedFiles(directory, original, patches, signal);
    const inputs = {
      recipe: RECIPE,
      content,
      variant: [...variant].map(([file, bytes]) => [file, bytes === null ? null : sha(bytes)]),
      config: formatConfig(wanted),
      compiler: toolchain.compiler,
      arch,
    };
    const key = sha(JSON.stringify(inputs)).slice(0, 24);
    const home = join(kernelsDirectory(cache), key);
    const files = { image: join(home, 'image'), config: join(home, 'config'), log: join(home, 'build.log') };
    const cached = existsSync(join(home, 'kernel.json'));
    let kernel: StoredKernel;
    if (cached) {
      kernel = JSON.parse(readFileSync(join(home, 'kernel.json'), 'utf8')) as StoredKernel;
    } else {
      applyVariant(directory, original, variant);
      const job: Job = {
        ...{ tree: join(directory, 'tree'), objects, arch, toolchain, wanted, options },
        version: `${name.slice(0, 20)}-${key.slice(0, 8)}`,
        jobs: options.jobs ?? availableParallelism(),
        log: join(directory, `build-${arch}.log`),
      };
      kernel = await buildInto(home, job, variant, {
        ...{ name, arch, key, ...files },
        source: place.description,
        tree: job.tree,
        patches: patches.map((file) => basename(file)),
        built: new Date().toISOString(),
      });
    }
    nameIt(cache, name, arch, key);
    const final = parseConfig(readFileSync(files.config, 'utf8'), files.config);
    const dropped = differences(fragments, final);
    for (const text of dropped) options.onWarning?.(`not taken by this kernel's Kconfig: ${text}`);
    // What is off in ours is to spare time; something else may have selected it.
    const ours = [...ourOptions(arch, debug)].filter(([option, value]) => value !== 'n' && !fragments.has(option));
    const absent = differences(new Map(ours), final);
    return {
      kernel: { ...kernel, name, ...files },
      cached,
      dropped,
      absent,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await lock.release();
  }
}
