/**
 * Patched variants of one source tree. There is one tree, and one build directory for each configuration; a variant is the set of files that differ.
 * Going from one variant to the next writes only these, so make compiles only what they concern.
 */
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize, resolve } from 'node:path';
import { CommandError, runTool } from './command.ts';

interface State {
  /** Files of tree/ that may differ from their originals. */
  readonly dirty: readonly string[];
}

export function readState(directory: string): State {
  const file = join(directory, 'state.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as State) : { dirty: [] };
}

export function writeState(directory: string, state: State): void {
  const file = join(directory, 'state.json');
  writeFileSync(`${file}.new`, JSON.stringify(state));
  renameSync(`${file}.new`, file);
}

/** Content by path; null for a file that is not there. */
export type Variant = ReadonlyMap<string, Buffer | null>;

const contentOf = (file: string): Buffer | null =>
  lstatSync(file, { throwIfNoEntry: false })?.isFile() === true ? readFileSync(file) : null;

/** The original of a file: in the user's tree, kept aside, or still in tree/, which holds the variant that was built last. */
export function originalFile(directory: string, name: string, original: string | undefined): string {
  if (original !== undefined) return join(original, name);
  const kept = join(directory, 'pristine', name);
  return readState(directory).dirty.includes(name) ? kept : join(directory, 'tree', name);
}

/** Paths that a patch of -p1 speaks of. RangeError for none, or for one that leads out of the tree. */
function touchedBy(patch: string, text: string): string[] {
  const names = new Set<string>();
  for (const line of text.split('\n')) {
    const plain = /^(?:---|\+\+\+) (?:"?)([^\t"\r]+)/.exec(line)?.[1];
    const moved = /^(?:rename|copy) (?:from|to) (.+)$/.exec(line)?.[1]?.trim();
    if (plain !== undefined && plain.trim() !== '/dev/null') names.add(plain.trim().split('/').slice(1).join('/'));
    if (moved !== undefined) names.add(moved);
  }
  names.delete('');
  if (names.size === 0)
    throw new RangeError(`${patch}: not a patch: no file is named in it (a unified diff with a/ and b/ is expected)`);
  for (const name of names) {
    if (normalize(name) !== name || name.startsWith('../') || name.startsWith('/')) {
      throw new RangeError(`${patch}: ${name} is not a path inside the kernel tree`);
    }
  }
  return [...names];
}

/** What the patches make of the originals, one after the other. Nothing in tree/ changes. */
export async function patchedFiles(
  directory: string,
  original: string | undefined,
  patches: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Variant> {
  const scratch = mkdtempSync(join(tmpdir(), 'privmem-patch-'));
  const names = new Set<string>();
  try {
    for (const patch of patches) {
      for (const name of touchedBy(patch, readFileSync(patch, 'utf8'))) {
        if (names.has(name)) continue;
        names.add(name);
        const from = originalFile(directory, name, original);
        mkdirSync(dirname(join(scratch, name)), { recursive: true });
        if (existsSync(from)) cpSync(from, join(scratch, name));
      }
      try {
        const args = ['-p1', '--batch', '--forward', '--no-backup-if-mismatch', '-d', scratch, '-i', resolve(patch)];
        await runTool('patch', args, { signal });
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        throw new RangeError(`${patch} does not apply:\n${error.output}`, { cause: error });
      }
    }
    return new Map([...names].sort().map((name) => [name, contentOf(join(scratch, name))]));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Makes tree/ hold the variant: its files, and the originals of all others. The paths that were written. */
export function applyVariant(directory: string, original: string | undefined, variant: Variant): string[] {
  const { dirty } = readState(directory);
  const names = new Set([...dirty, ...variant.keys()]);
  for (const name of variant.keys()) {
    const kept = join(directory, 'pristine', name);
    if (original !== undefined || dirty.includes(name)) continue;
    const now = contentOf(join(directory, 'tree', name));
    rmSync(kept, { force: true });
    if (now === null) continue;
    mkdirSync(dirname(kept), { recursive: true });
    cpSync(join(directory, 'tree', name), kept, { preserveTimestamps: true });
  }
  // Said before it is done: who stops half-way finds every file that may be changed.
  writeState(directory, { dirty: [...names] });
  const written: string[] = [];
  for (const name of names) {
    const file = join(directory, 'tree', name);
    const given = variant.get(name);
    const wanted = given === undefined ? contentOf(originalFile(directory, name, original)) : given;
    const now = contentOf(file);
    if (wanted === null ? now === null : now?.equals(wanted) === true) continue;
    written.push(name);
    if (wanted === null) {
      rmSync(file, { force: true });
    } else {
      mkdirSync(dirname(file), { recursive: true });
      // The mode of a script stays what it was.
      writeFileSync(file, wanted);
    }
  }
  writeState(directory, { dirty: [...variant.keys()] });
  return written;
}
