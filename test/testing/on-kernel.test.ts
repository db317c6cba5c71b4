/** The fixtures' own tests inside a test kernel, and what a failure inside looks like from outside. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { onKernel, runFileInKernel } from '../../lib/testing/index.ts';
import { KERNEL, noTestKernel, titleOf } from '../support/testvm.ts';

onKernel(KERNEL, new URL('./fixtures.test.ts', import.meta.url));

const reason = noTestKernel();
describe.skipIf(reason !== undefined)(titleOf('runFileInKernel', reason), () => {
  it('says which test failed inside', { timeout: 200_000 }, async () => {
    const folder = mkdtempSync(path.join(import.meta.dirname, 'inside-'));
    const file = path.join(folder, 'inside.test.ts');
    writeFileSync(
      file,
      "import { expect, it } from 'vitest';\nit('adds up', () => expect(1 + 1).toBe(3));\nit('holds', () => {});\n",
    );
    try {
      await expect(runFileInKernel(KERNEL, file)).rejects.toThrow(/adds up[\s\S]*expected 2 to be 3/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
