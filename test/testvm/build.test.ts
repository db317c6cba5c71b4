/** A patched kernel, built beside the 7.3 of the cache and booted. Minutes when objects are missing: run with PRIVMEM_LONG=1. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { originalFile } from '../../lib/testvm/build/variant.ts';
import { buildKernel, listKernels } from '../../lib/testvm/index.ts';
import { boot, noTestKernel, titleOf } from '../support/testvm.ts';

const stored = listKernels().find(({ name, arch }) => name === '7.3' && arch === 'x64');
const reason = stored === undefined ? 'no 7.3 in the cache' : noTestKernel();
const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
const name = `7.3+test-${process.pid}`;

/** A unified diff that puts a line before the first one that matches. */
function patchBefore(tree: string, file: string, line: string, added: string): string {
  // Whoever built last may have left a patched tree.
  const original = originalFile(dirname(tree), file, undefined);
  const text = readFileSync(original, 'utf8');
  expect(text).toContain(line);
  writeFileSync(join(work, 'new'), text.replace(line, `${added}\n${line}`));
  const { stdout } = spawnSync(
    'diff',
    ['-u', '--label', `a/${file}`, '--label', `b/${file}`, original, join(work, 'new')],
    {
      encoding: 'utf8',
    },
  );
  const patch = join(work, 'change.patch');
  writeFileSync(patch, stdout);
  return patch;
}

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
  for (const kernel of listKernels()) {
    if (kernel.name !== name) continue;
    rmSync(dirname(kernel.image), { recursive: true });
    rmSync(join(dirname(kernel.image), '../names', `${name}.${kernel.arch}`));
  }
});

describe.skipIf(reason !== undefined)(titleOf('a patched kernel', reason), { timeout: 1_200_000 }, () => {
  test('is built from what differs, runs as patched, and is found the second time', async () => {
    const plain = await buildKernel({ source: '7.3' });
    const { tree } = plain.kernel;
    const file = 'virt/kvm/guest_memfd.c';
    const patch = patchBefore(
      tree,
      file,
      '\tif (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len))',
      // Another line at every run: what an earlier one built must not be found.
      `\tWARN(1, "patched in by ${name} at ${Date.now()}");`,
    );

    const steps: string[] = [];
    const built = await buildKernel({ source: '7.3', patches: [patch], name, onLine: (line) => steps.push(line) });
    expect(built.cached).toBe(false);
    expect(built.kernel.key).not.toBe(plain.kernel.key);
    const compiled = steps.filter((line) => /^ {2}CC /.test(line) && /virt\/kvm|arch\/x86\/kvm/.test(line));
    expect(compiled.join('\n')).toContain('guest_memfd.o');
    // The rest of KVM is as it was.
    expect(compiled.length).toBeLessThan(10);
    console.log(`patched variant: ${built.seconds.toFixed(1)} s`);

    const version = await boot(['uname', '-v'], { kernel: name });
    expect(version).toMatchObject({ outcome: 'passed' });
    expect(version.stdout).toContain(built.kernel.key.slice(0, 8));

    const again = await buildKernel({ source: '7.3', patches: [patch], name });
    expect(again).toMatchObject({ cached: true, kernel: { key: built.kernel.key } });
    // The unpatched kernel is still there, and its source comes back when something is built from it.
    expect(existsSync(plain.kernel.image)).toBe(true);
    await expect(buildKernel({ source: '7.3', patches: [join(work, 'none.patch')] })).rejects.toThrow(/no such file/);
    const other = await buildKernel({ source: '7.3' });
    expect(other.cached).toBe(true);
  });
});
