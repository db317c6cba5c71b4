/**
 * Kernel sources in the cache. Each has a directory of its own:
 *   tree/          the sources, as the current variant wants them
 *   pristine/      the original of each file of tree/ that a patch has touched (not for trees of the user's, which are the original)
 *   state.json     which files of tree/ may differ from the original
 *   source.json    where it came from
 *   objects/       build directories, one for each architecture and configuration
 *   lock           held while any of this changes
 */
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { UnsupportedError } from '../../kernel/errors.ts';
import { runTool } from './command.ts';
import { type DebianPackage, openDebian } from './debian.ts';
import { syncTree } from './tree.ts';

export interface SourceRequest {
  /** A source tree, a tarball or a release name. */
  readonly source: string;
  /** Debian's suites to look in for a release. Default: `DEFAULT_SUITES`. */
  readonly suites?: readonly string[] | undefined;
  readonly mirror?: string | undefined;
  /** Looks for a newer package of the release, even if one is in the cache. */
  readonly update?: boolean | undefined;
}

export interface SourceContext {
  readonly cache: string;
  readonly signal?: AbortSignal | undefined;
  readonly onStage: (text: string) => void;
  readonly onLine: (line: string) => void;
}

/** Where the sources will be, before they are. */
export interface SourcePlace {
  readonly directory: string;
  /** In words: `linux-source-7.3 7.3.4-1~bpo13+1 (trixie-backports)`. */
  readonly description: string;
  /** A name for its kernels. */
  readonly name: string;
  /** Fills tree/ (under the lock) and tells what it holds: a hash of the content. */
  readonly fill: () => Promise<string>;
  /** The file to take the original from, when it is not tree/ or pristine/. */
  readonly original: string | undefined;
}

/** Small lists first; the whole of a release only when these have not got it. */
const SUITES: readonly (readonly string[])[] = [
  ['stable-backports', 'stable-security', 'oldstable-backports', 'oldstable-security'],
  ['stable', 'oldstable', 'testing', 'sid'],
];
export const DEFAULT_SUITES: readonly string[] = SUITES.flat();

export const sourcesDirectory = (cache: string): string => join(cache, 'sources');
const RELEASE = /^\d+\.\d+$/;

const slug = (text: string): string => text.replace(/[^A-Za-z0-9._+~-]+/g, '-');

function writeFacts(directory: string, facts: unknown): void {
  const file = join(directory, 'source.json');
  writeFileSync(`${file}.new`, `${JSON.stringify(facts, null, 2)}\n`);
  renameSync(`${file}.new`, file);
}

async function unpack(archive: string, directory: string, { signal, onStage }: SourceContext): Promise<void> {
  const fresh = join(directory, 'tree.new');
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  onStage('unpacking the sources');
  try {
    await runTool('tar', ['-xf', archive, '-C', fresh, '--strip-components=1', '--no-same-owner'], { signal });
    if (!existsSync(join(fresh, 'Kbuild')))
      throw new RangeError(`${archive} is not a tarball of the kernel: no Kbuild in it`);
    renameSync(fresh, join(directory, 'tree'));
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** The release's packages, newest first, and their archive. */
async function findRelease(request: SourceRequest, context: SourceContext) {
  const work = join(context.cache, 'debian');
  mkdirSync(work, { recursive: true });
  const name = `linux-source-${request.source}`;
  const tries = request.suites === undefined ? SUITES : [request.suites];
  let complaint = '';
  for (const suites of tries) {
    context.onStage(`looking for ${name} in ${suites.join(', ')}`);
    const archive = await openDebian({
      work,
      suites,
      ...(request.mirror === undefined ? {} : { mirror: request.mirror }),
      signal: context.signal,
      onLine: context.onLine,
    });
    const [newest] = await archive.versions(name);
    if (newest !== undefined) return { archive, newest };
    complaint = archive.complaint;
  }
  throw new UnsupportedError(
    name,
    `not in ${tries.flat().join(', ')}${complaint === '' ? '' : ` (${complaint})`}`,
    '--suite names another suite, --releases lists what there is; or give a source tree or a tarball',
  );
}

/** The sources of each release that is in the cache already, newest package last. */
function cachedRelease(cache: string, release: string): string | undefined {
  const directory = sourcesDirectory(cache);
  if (!existsSync(directory)) return undefined;
  return readdirSync(directory)
    .filter((name) => name.startsWith(`debian-${release}-`) && existsSync(join(directory, name, 'tree')))
    .sort(
      (a, b) =>
        statSync(join(directory, a, 'source.json')).mtimeMs - statSync(join(directory, b, 'source.json')).mtimeMs,
    )
    .at(-1);
}

async function releasePlace(request: SourceRequest, context: SourceContext): Promise<SourcePlace> {
  const { cache } = context;
  const release = request.source;
  const cached = request.update === true || request.suites !== undefined ? undefined : cachedRelease(cache, release);
  if (cached !== undefined) {
    const directory = join(sourcesDirectory(cache), cached);
    const facts = JSON.parse(readFileSync(join(directory, 'source.json'), 'utf8')) as { description: string };
    return { directory, description: facts.description, name: release, original: undefined, fill: async () => cached };
  }
  const { archive, newest } = await findRelease(request, context);
  const id = `debian-${release}-${slug(newest.version)}`;
  const directory = join(sourcesDirectory(cache), id);
  const description = `${newest.name} ${newest.version} (${newest.suites.join(', ')})`;
  const fill = async (): Promise<string> => {
    if (existsSync(join(directory, 'tree'))) return id;
    context.onStage(`fetching ${description}`);
    const deb = await archive.download(newest);
    const parts = join(directory, 'package');
    try {
      mkdirSync(parts, { recursive: true });
      await runTool('dpkg-deb', ['-x', deb, parts], { signal: context.signal });
      writeFacts(directory, { description, name: release });
      await unpack(join(parts, 'usr/src', `${newest.name}.tar.xz`), directory, context);
    } finally {
      rmSync(deb, { force: true });
      rmSync(parts, { recursive: true, force: true });
    }
    return id;
  };
  return { directory, description, name: release, original: undefined, fill };
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function tarballPlace(path: string, context: SourceContext): Promise<SourcePlace> {
  const file = resolve(path);
  const id = `tarball-${(await hashFile(file)).slice(0, 16)}`;
  const directory = join(sourcesDirectory(context.cache), id);
  const fill = async (): Promise<string> => {
    if (existsSync(join(directory, 'tree'))) return id;
    mkdirSync(directory, { recursive: true });
    writeFacts(directory, { description: basename(file) });
    await unpack(file, directory, context);
    return id;
  };
  const name = slug(basename(file).replace(/\.(tar\.\w+|tgz|tbz2?|txz)$/, ''));
  return { directory, description: basename(file), name, original: undefined, fill };
}

function treePlace(path: string, context: SourceContext): SourcePlace {
  const tree = resolve(path);
  if (!existsSync(join(tree, 'Kbuild')) || !existsSync(join(tree, 'Makefile'))) {
    throw new RangeError(`${path} is not a kernel source tree: no Kbuild or no Makefile in it`);
  }
  const id = `tree-${slug(basename(tree))}-${createHash('sha256').update(tree).digest('hex').slice(0, 12)}`;
  const directory = join(sourcesDirectory(context.cache), id);
  const fill = async (): Promise<string> => {
    mkdirSync(directory, { recursive: true });
    writeFacts(directory, { description: tree });
    return syncTree(tree, directory, context);
  };
  return { directory, description: tree, name: slug(basename(tree)), original: tree, fill };
}

/** Where the asked-for sources are or will be. RangeError for what is neither tree, tarball nor release. */
export async function locateSource(request: SourceRequest, context: SourceContext): Promise<SourcePlace> {
  const { source } = request;
  const kind = existsSync(source) ? statSync(source) : undefined;
  if (RELEASE.test(source) && !kind?.isFile()) return releasePlace(request, context);
  if (kind?.isDirectory() === true) return treePlace(source, context);
  if (kind?.isFile() === true) return tarballPlace(source, context);
  throw new RangeError(`${source}: neither a source tree, a tarball nor a release such as 7.3`);
}

/** Every linux-source-X.Y that the suites offer. */
export async function listReleases(
  request: Omit<SourceRequest, 'source'>,
  context: SourceContext,
): Promise<{ readonly release: string; readonly packages: readonly DebianPackage[] }[]> {
  const work = join(context.cache, 'debian');
  mkdirSync(work, { recursive: true });
  const archive = await openDebian({
    work,
    suites: request.suites ?? DEFAULT_SUITES,
    ...(request.mirror === undefined ? {} : { mirror: request.mirror }),
    signal: context.signal,
    onLine: context.onLine,
  });
  const names = (await archive.search('^linux-source-[0-9.]+$')).sort();
  return Promise.all(
    names.map(async (name) => ({
      release: name.slice('linux-source-'.length),
      packages: await archive.versions(name),
    })),
  );
}
