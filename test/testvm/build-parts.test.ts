/** The builder's parts, on small trees: nothing is compiled here. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { runTool } from '../../lib/testvm/build/command.ts';
import { takeLock } from '../../lib/testvm/build/lock.ts';
import { differences, formatConfig, ourOptions, parseConfig, requiredOptions } from '../../lib/testvm/build/options.ts';
import { syncTree } from '../../lib/testvm/build/tree.ts';
import { applyVariant, patchedFiles } from '../../lib/testvm/build/variant.ts';
import { findKernel, listKernels } from '../../lib/testvm/store.ts';
import { has } from '../support/cli.ts';

const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const fresh = (): string => mkdtempSync(join(work, 'd'));

function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
    // Long ago, so that a write now shows in the time.
    utimesSync(join(root, name), 1_000_000, 1_000_000);
  }
}
const read = (root: string, name: string): string | undefined =>
  existsSync(join(root, name)) ? readFileSync(join(root, name), 'utf8') : undefined;
const old = (root: string, name: string): boolean => statSync(join(root, name)).mtimeMs === 1_000_000_000;

const ORIGINAL = { 'a.c': 'one\ntwo\nthree\n', 'sub/b.c': 'x\ny\nz\n', 'c.c': 'untouched\n' };
const PATCH_A = '--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n';
const PATCH_B = '--- a/sub/b.c\n+++ b/sub/b.c\n@@ -1,3 +1,3 @@\n x\n-y\n+Y\n z\n';
const NEW_FILE = '--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+new\n';
const REMOVAL = '--- a/a.c\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-one\n-two\n-three\n';
const CLASH = '--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n-2\n+TWO\n three\n';

const patchTools = has('patch') ? undefined : 'no patch';
describe.skipIf(patchTools !== undefined)(
  `variants of a source tree${patchTools === undefined ? '' : ` (skipped: ${patchTools})`}`,
  () => {
    const setUp = () => {
      const directory = fresh();
      const tree = join(directory, 'tree');
      write(tree, ORIGINAL);
      const patch = (text: string): string => {
        const file = join(directory, `${Math.random()}.patch`);
        writeFileSync(file, text);
        return file;
      };
      const go = async (...texts: string[]): Promise<string[]> =>
        applyVariant(
          directory,
          undefined,
          await patchedFiles(directory, undefined, texts.map(patch), undefined),
        ).sort();
      return { directory, tree, patch, go };
    };

    test('going from one to the next writes only what differs', async () => {
      const { tree, go } = setUp();
      expect(await go(PATCH_A)).toEqual(['a.c']);
      expect(read(tree, 'a.c')).toBe('one\nTWO\nthree\n');
      expect(await go(PATCH_A)).toEqual([]);
      expect(await go(PATCH_A, PATCH_B)).toEqual(['sub/b.c']);
      expect(await go(PATCH_B)).toEqual(['a.c']);
      expect(read(tree, 'a.c')).toBe(ORIGINAL['a.c']);
      expect(await go(NEW_FILE)).toEqual(['new.c', 'sub/b.c']);
      expect(await go(REMOVAL)).toEqual(['a.c', 'new.c']);
      expect([read(tree, 'a.c'), read(tree, 'new.c')]).toEqual([undefined, undefined]);
      expect(await go()).toEqual(['a.c']);
      for (const [name, text] of Object.entries(ORIGINAL)) expect(read(tree, name)).toBe(text);
      expect(old(tree, 'c.c')).toBe(true);
    });

    test('the second patch sees what the first one did', async () => {
      const { tree, go } = setUp();
      await go(PATCH_A, '--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n-TWO\n+2\n three\n');
      expect(read(tree, 'a.c')).toBe('one\n2\nthree\n');
    });

    test('a file that was half-way when something stopped is brought back', async () => {
      const { directory, tree, go } = setUp();
      await go(PATCH_A);
      writeFileSync(join(tree, 'a.c'), 'garbage');
      expect(JSON.parse(readFileSync(join(directory, 'state.json'), 'utf8')).dirty).toEqual(['a.c']);
      await go();
      expect(read(tree, 'a.c')).toBe(ORIGINAL['a.c']);
    });

    test('what is no patch, leads out of the tree or does not apply changes nothing', async () => {
      const { tree, go } = setUp();
      await expect(go('hello\n')).rejects.toThrow(/not a patch/);
      await expect(go(PATCH_A.replaceAll('a.c', '../../etc/x'))).rejects.toThrow(/not a path inside/);
      await expect(go(PATCH_B, CLASH)).rejects.toThrow(/does not apply/);
      for (const [name, text] of Object.entries(ORIGINAL)) expect(read(tree, name)).toBe(text);
    });
  },
);

const noGit = has('git') ? undefined : 'no git';
describe.skipIf(noGit !== undefined)(
  `the copy of a user's tree${noGit === undefined ? '' : ` (skipped: ${noGit})`}`,
  () => {
    const context = { cache: work, onStage: () => {}, onLine: () => {} };
    test.each(['a repository', 'a plain directory'])(
      '%s: sources are copied, what was built is not, and changes are found',
      async (kind) => {
        const tree = fresh();
        const directory = fresh();
        const copy = join(directory, 'tree');
        write(tree, { ...ORIGINAL, '.gitignore': '*.o\n.config\n', 'a.o': 'object', '.config': 'x' });
        symlinkSync('a.c', join(tree, 'link.c'));
        if (kind === 'a repository') {
          spawnSync('git', ['init', '-q'], { cwd: tree });
          spawnSync('git', ['add', 'a.c', '.gitignore'], { cwd: tree });
        }
        const first = await syncTree(tree, directory, context);
        expect([read(copy, 'a.c'), read(copy, 'sub/b.c'), read(copy, 'link.c')]).toEqual([
          'one\ntwo\nthree\n',
          'x\ny\nz\n',
          'one\ntwo\nthree\n',
        ]);
        expect([read(copy, 'a.o'), read(copy, '.config')]).toEqual([undefined, undefined]);
        expect(await syncTree(tree, directory, context)).toBe(first);

        utimesSync(join(copy, 'c.c'), 1_000_000, 1_000_000);
        writeFileSync(join(tree, 'a.c'), 'changed\n');
        rmSync(join(tree, 'sub/b.c'));
        const second = await syncTree(tree, directory, context);
        expect(second).not.toBe(first);
        expect([read(copy, 'a.c'), read(copy, 'sub/b.c')]).toEqual(['changed\n', undefined]);
        expect(old(copy, 'c.c')).toBe(true);
        write(tree, ORIGINAL);
        expect(await syncTree(tree, directory, context)).toBe(first);
      },
    );
  },
);

describe('configurations', () => {
  test('are parsed, written and compared', () => {
    const text = '# comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="a b"\nCONFIG_D=5\n';
    const map = parseConfig(text, 'f');
    expect([...map]).toEqual([
      ['A', 'y'],
      ['B', 'n'],
      ['C', '"a b"'],
      ['D', '5'],
    ]);
    expect(parseConfig(formatConfig(map), 'g')).toEqual(map);
    expect(() => parseConfig('A=y\n', 'f')).toThrow('f:1: neither CONFIG_NAME=value');
    const final = parseConfig('CONFIG_A=m\nCONFIG_D=5\n', 'f');
    expect(differences(map, final)).toEqual(['CONFIG_A: asked for y, is m', 'CONFIG_C: asked for "a b", is n']);
  });

  test('ours name what cannot be done without, and debug flags add to them', () => {
    for (const arch of ['x64', 'arm64'] as const) {
      const ours = ourOptions(arch, []);
      for (const [name, value] of requiredOptions(arch)) expect(ours.get(name)).toBe(value);
      expect(ours.has('PROVE_LOCKING')).toBe(false);
      expect(ourOptions(arch, ['lockdep', 'kasan']).get('PROVE_LOCKING')).toBe('y');
    }
    expect(ourOptions('x64', []).get('RANDOMIZE_BASE')).toBe('n');
  });
});

describe.skipIf(!has('flock'))(`locks${has('flock') ? '' : ' (skipped: no flock)'}`, () => {
  test('one at a time; the next waits; a holder that is killed lets go', async () => {
    const file = join(work, 'lock');
    const events: string[] = [];
    const first = await takeLock(file, undefined, () => events.push('first waits'));
    const second = takeLock(file, undefined, () => events.push('second waits')).then((lock) => {
      events.push('second has it');
      return lock;
    });
    while (events.length === 0) await sleep(10);
    const impatient = AbortSignal.timeout(200);
    await expect(takeLock(file, impatient, () => {})).rejects.toThrow(/timeout/);
    expect(events).toEqual(['second waits']);
    await first.release();
    const held = await second;
    expect(events).toEqual(['second waits', 'second has it']);
    await held.release();

    const script = `import('${join(import.meta.dirname, '../../dist/testvm/build/lock.js')}').then(async ({ takeLock }) => {
      await takeLock(${JSON.stringify(file)}, undefined, () => {}); console.log('held'); setInterval(() => {}, 1000); })`;
    const holder = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    holder.kill('SIGKILL');
    const third = await takeLock(file, AbortSignal.timeout(10_000), () => {});
    await third.release();
  });
});

describe('tools of a build', () => {
  test('are ended with their children when the build is aborted', async () => {
    const started = performance.now();
    const run = runTool('sh', ['-c', 'sleep 60 & sleep 60'], { signal: AbortSignal.timeout(200) });
    await expect(run).rejects.toThrow(/timeout/);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test('what they said is in the error', async () => {
    await expect(runTool('sh', ['-c', 'echo why >&2; exit 3'])).rejects.toThrow('sh: status 3\nwhy');
    expect(await runTool('echo', ['out'])).toBe('out\n');
  });
});

describe('the cache of kernels', () => {
  test('finds by name and architecture; a path is a path', () => {
    const cache = fresh();
    expect(listKernels(cache)).toEqual([]);
    const facts = { name: '9.9', key: 'k', release: '9.9.1', source: 's', patches: [], built: '2026-01-01T00:00:00Z' };
    write(join(cache, 'kernels'), {
      'names/9.9.x64': 'k1\n',
      'names/9.9.arm64': 'k2\n',
      'names/lost.x64': 'k3\n',
      'k1/kernel.json': JSON.stringify({ ...facts, arch: 'x64' }),
      'k2/kernel.json': JSON.stringify({ ...facts, arch: 'arm64' }),
      'k1/image': 'x',
    });
    expect(listKernels(cache).map(({ name, arch }) => `${name} ${arch}`)).toEqual(['9.9 arm64', '9.9 x64']);
    expect(findKernel('9.9', 'arm64', cache).image).toBe(join(cache, 'kernels/k2/image'));
    expect(findKernel('9.9', 'x64', cache).stored?.release).toBe('9.9.1');
    expect(findKernel(join(cache, 'kernels/k1/image'), undefined, cache).image).toBe(join(cache, 'kernels/k1/image'));
    expect(() => findKernel('lost', undefined, cache)).toThrow(/which has 9.9 \(arm64\), 9.9 \(x64\)/);
    expect(() => findKernel('9.9+x', 'arm64', cache)).toThrow('privmem vm --build 9.9 --arch arm64');
  });
});
