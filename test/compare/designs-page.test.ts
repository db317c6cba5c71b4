import path from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, run } from '../support/cli.ts';

test('docs/designs.md shows what its commands print', () => {
  const script = path.join(ROOT, 'scripts/designs-page.mjs');
  const { status, stdout, stderr } = run(process.execPath, [script, '--check'], { timeout: 300_000 });
  expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: '' });
  expect(Number(stdout.match(/^(\d+) commands/m)?.[1])).toBeGreaterThanOrEqual(12);
}, 310_000);
