/** The README's example, taken out of the page and run. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noKvm, privmem, ROOT, run } from '../support/cli.ts';

function missing(): string | undefined {
  const reason = noKvm();
  if (reason !== undefined) return reason;
  const probe = JSON.parse(privmem('probe', '--json').stdout) as {
    designs: Record<string, { supported: boolean; reason?: string }>;
  };
  return probe.designs['guest-memfd-mmap']?.reason;
}

const reason = missing();

describe.skipIf(reason !== undefined)(
  `the README's example${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    // Inside the package, so that `import 'privmem'` means this package.
    mkdirSync(path.join(ROOT, 'build'), { recursive: true });
    const directory = mkdtempSync(path.join(ROOT, 'build/readme-'));
    afterAll(() => rmSync(directory, { recursive: true }));

    test('type-checks and prints what it says', () => {
      const [, code = ''] = /```ts\n([\s\S]*?)```/.exec(readFileSync(path.join(ROOT, 'README.md'), 'utf8')) ?? [];
      writeFileSync(path.join(directory, 'example.ts'), code);
      const config = {
        extends: path.join(ROOT, 'tsconfig.json'),
        compilerOptions: { noEmit: false, rootDir: '.', outDir: '.' },
        files: ['example.ts'],
        include: [],
      };
      writeFileSync(path.join(directory, 'tsconfig.json'), JSON.stringify(config));
      const compiled = run(path.join(ROOT, 'node_modules/.bin/tsc'), ['-p', directory]);
      expect(compiled.stdout).toBe('');
      const ran = run(process.execPath, [path.join(directory, 'example.js')]);
      expect(ran).toMatchObject({ status: 0, stderr: '', stdout: '{ tag: 1, value: 42n }\n' });
    });
  },
);
