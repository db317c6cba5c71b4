/** Debian's packages without touching the system's sources: an apt with directories of its own. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnsupportedError } from '../../kernel/errors.ts';
import { findProgram } from '../qemu.ts';
import { runTool } from './command.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
export const DEBIAN_MIRROR = 'http://deb.debian.org/debian';

export interface DebianOptions {
  /** Where the private apt lives; lists are kept there from call to call. */
  readonly work: string;
  readonly mirror?: string;
  /** `trixie-backports`, `stable-security`, `sid`, … */
  readonly suites: readonly string[];
  /** Debian's name of the architecture whose packages are wanted. Default: this host's. */
  readonly architecture?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onLine?: ((line: string) => void) | undefined;
}

/** A package that a suite offers. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** Suites that have it: `trixie-backports`. */
  readonly suites: readonly string[];
}

export interface DebianArchive {
  /** Names of packages that match a regular expression of POSIX. */
  search(pattern: string): Promise<string[]>;
  /** Every version of a package, newest first. */
  versions(name: string): Promise<DebianPackage[]>;
  /** Downloads a package into `work`; its path. */
  download(found: DebianPackage): Promise<string>;
  /** Downloads packages and all that they depend on; their paths. */
  downloadWithDependencies(names: readonly string[]): Promise<string[]>;
  /** What went wrong while the lists were fetched; some suites may be missing for it. */
  readonly complaint: string;
}

/** Security suites lie in an archive of their own, beside the main one. */
function sourceLine(mirror: string, suite: string): string {
  const base = suite.endsWith('-security') ? mirror.replace(/\/debian\/*$/, '/debian-security') : mirror;
  return `deb [signed-by=${KEYRING}] ${base} ${suite} main\n`;
}

const later = (a: string, b: string): boolean => spawnSync('dpkg', ['--compare-versions', a, 'gt', b]).status === 0;

/** Fetches the lists of the suites. UnsupportedError where there is no apt or no keyring of Debian. */
export async function openDebian(options: DebianOptions): Promise<DebianArchive> {
  const { work, suites, architecture, signal, onLine, mirror = DEBIAN_MIRROR } = options;
  if (findProgram('apt-get') === undefined || !existsSync(KEYRING)) {
    throw new UnsupportedError(
      "Debian's packages",
      existsSync(KEYRING) ? 'no apt-get here' : `${KEYRING} is missing`,
      existsSync(KEYRING)
        ? 'give a source tree or a tarball'
        : 'apt-get install debian-archive-keyring, or give a source tree or a tarball',
    );
  }
  const at = (...parts: string[]): string => join(work, 'apt', ...parts);
  for (const dir of ['etc/parts', 'etc/preferences', 'state/lists/partial', 'cache/archives/partial']) {
    mkdirSync(at(dir), { recursive: true });
  }
  writeFileSync(at('state/status'), '');
  const settings = {
    'Dir::Etc::sourcelist': at('etc/sources.list'),
    'Dir::Etc::sourceparts': at('etc/parts'),
    'Dir::Etc::preferences': at('etc/none'),
    'Dir::Etc::preferencesparts': at('etc/preferences'),
    'Dir::State': at('state'),
    'Dir::State::status': at('state/status'),
    'Dir::Cache': at('cache'),
    'Debug::NoLocking': 'true',
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
    ...(architecture === undefined ? {} : { 'APT::Architecture': architecture, 'APT::Architectures': architecture }),
  };
  const args = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  const run = (command: string, ...rest: string[]): Promise<string> =>
    runTool(command, [...args, ...rest], { cwd: work, signal, onLine });

  let complaint = '';
  const fetchLists = async (names: readonly string[]): Promise<void> => {
    writeFileSync(at('etc/sources.list'), names.map((suite) => sourceLine(mirror, suite)).join(''));
    // A suite that a mirror lacks is no reason to give up: what matters is whether any list came.
    try {
      await run('apt-get', '-q', '-o', 'APT::Update::Error-Mode=any', 'update');
    } catch (error) {
      signal?.throwIfAborted();
      const message = error instanceof Error ? error.message : String(error);
      complaint = message.split('\n').find((line) => /^(E|W|Err):/.test(line)) ?? message;
    }
  };
  await fetchLists(suites);
  // A suite that follows releases (stable-backports) may lag on a mirror behind the one of the release's own name.
  const codenames = new Set<string>();
  for (const file of readdirSync(at('state/lists')).filter((name) => name.endsWith('Release'))) {
    const codename = /^Codename: (\S+)$/m.exec(readFileSync(at('state/lists', file), 'utf8'))?.[1];
    if (codename !== undefined && !suites.includes(codename)) codenames.add(codename);
  }
  if (codenames.size > 0) await fetchLists([...suites, ...codenames]);

  return {
    complaint,
    search: async (pattern) => {
      const found = await run('apt-cache', 'search', '--names-only', pattern);
      return found
        .split('\n')
        .map((line) => line.split(' ')[0] ?? '')
        .filter(Boolean);
    },
    versions: async (name) => {
      const found = new Map<string, Set<string>>();
      // NAME | VERSION | URL SUITE/main ARCH Packages
      for (const line of (await run('apt-cache', 'madison', name)).split('\n')) {
        const [, version, place] = line.split('|').map((part) => part.trim());
        if (version === undefined || place === undefined) continue;
        const suite = place.split(' ')[1]?.split('/')[0] ?? '';
        found.set(version, (found.get(version) ?? new Set()).add(suite));
      }
      return [...found]
        .map(([version, where]) => ({ name, version, suites: [...where] }))
        .sort((a, b) => (later(a.version, b.version) ? -1 : 1));
    },
    download: async ({ name, version }) => {
      await run('apt-get', '-q', 'download', `${name}=${version}`);
      // The file's name has the version with some characters encoded.
      const file = readdirSync(work).find((entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'));
      if (file === undefined) throw new Error(`apt-get download ${name}=${version} left no file in ${work}`);
      return join(work, file);
    },
    downloadWithDependencies: async (names) => {
      const options = ['-q', '-y', '--no-install-recommends', '--download-only'];
      await run('apt-get', ...options, 'install', ...names);
      const archives = at('cache/archives');
      return readdirSync(archives)
        .filter((entry) => entry.endsWith('.deb'))
        .map((entry) => join(archives, entry));
    },
  };
}
