/** A copy of the user's own source tree in the cache: theirs is never written to, whatever lies in it, and patches go into the copy. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { UnsupportedError } from '../../kernel/errors.ts';
import type { SourceContext } from './source.ts';
import { readState, writeState } from './variant.ts';

interface FileFacts {
  readonly size: number;
  readonly mtime: number;
  readonly hash: string;
}
type Manifest = Record<string, FileFacts>;

function git(args: readonly string[], cwd: string): string {
  const { error, status, stdout, stderr } = spawnSync('git', args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 });
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
    throw new UnsupportedError(
      'git',
      'it tells the sources of a tree from what was built in it',
      'apt-get install git',
    );
  }
  if (error !== undefined || status !== 0)
    throw new Error(`git ${args[0]} in ${cwd}: ${error?.message ?? stderr.trim()}`);
  return stdout;
}

/** The files of a tree that are sources: what git has or does not ignore. A tree without a repository has its .gitignore files all the same. */
function sourceFiles(tree: string): string[] {
  const list = (extra: readonly string[], which: readonly string[]): string[] =>
    git([...extra, 'ls-files', '-z', ...which, '--exclude-standard'], tree)
      .split('\0')
      .filter(Boolean);
  if (existsSync(join(tree, '.git'))) return [...new Set(list(['-c', 'safe.directory=*'], ['--cached', '--others']))];
  const bare = mkdtempSync(join(tmpdir(), 'privmem-git-'));
  try {
    git(['init', '-q', '--bare', bare], tree);
    return list([`--git-dir=${bare}`, `--work-tree=${tree}`], ['--others']);
  } finally {
    rmSync(bare, { recursive: true, force: true });
  }
}

function copyInto(from: string, to: string, link: boolean): void {
  mkdirSync(dirname(to), { recursive: true });
  rmSync(to, { force: true });
  if (link) symlinkSync(readlinkSync(from), to);
  else copyFileSync(from, to, constants.COPYFILE_FICLONE);
}

/** Brings directory/tree up to date with the user's tree; the hash of all of it. Unchanged files keep their times, so make leaves them alone. */
export async function syncTree(tree: string, directory: string, context: SourceContext): Promise<string> {
  const target = join(directory, 'tree');
  const manifestFile = join(directory, 'manifest.json');
  const before: Manifest = existsSync(manifestFile) ? JSON.parse(readFileSync(manifestFile, 'utf8')) : {};
  context.onStage(Object.keys(before).length === 0 ? `copying ${tree}` : `comparing ${tree}`);
  // Files that a patch touched are brought back by whoever applies the next variant.
  const state = readState(directory);
  const patched = new Set(state.dirty);
  const after: Manifest = {};
  const all = createHash('sha256');
  let seen = 0;
  for (const name of sourceFiles(tree).sort()) {
    // Ctrl-C gets its turn.
    if (++seen % 2000 === 0) await setImmediate();
    context.signal?.throwIfAborted();
    const from = join(tree, name);
    const facts = lstatSync(from, { throwIfNoEntry: false });
    // Deleted but still known to git, or a repository within.
    if (facts === undefined || facts.isDirectory()) continue;
    const old = before[name];
    const to = join(target, name);
    const same = old !== undefined && old.size === facts.size && old.mtime === facts.mtimeMs;
    const link = facts.isSymbolicLink();
    const content = (): Buffer => (link ? Buffer.from(readlinkSync(from)) : readFileSync(from));
    const hash = same ? old.hash : createHash('sha256').update(content()).digest('hex');
    if (hash !== old?.hash) {
      // Written before it changes: what stops half-way is looked at again.
      if (!patched.has(name)) copyInto(from, to, link);
    }
    after[name] = { size: facts.size, mtime: facts.mtimeMs, hash };
    all.update(`${name}\0${hash}\0`);
  }
  for (const name of Object.keys(before)) {
    if (after[name] === undefined) rmSync(join(target, name), { force: true });
  }
  writeState(directory, { dirty: [...patched] });
  writeFileSync(`${manifestFile}.new`, JSON.stringify(after));
  renameSync(`${manifestFile}.new`, manifestFile);
  return `tree-${all.digest('hex')}`;
}
