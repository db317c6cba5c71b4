/** What a differential run prints runs as it is: with the mistake that it was printed for it fails, without it passes. */
import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FAULTS } from './faults.ts';
import { openHost } from './pair.ts';
import { type DisagreementReport, runSuite } from './report.ts';
import { suiteOf } from './suites.ts';

const FAULT = 'protection is not looked at';
const SEED = 5;
const here = import.meta.dirname;
const files = ['without', 'with'].map((name) => path.join(here, `pasted-${process.pid}-${name}.test.ts`));
afterAll(() => {
  for (const file of files) rmSync(file, { force: true });
});

interface Ended {
  readonly status: number;
  readonly output: string;
}

/** One test file, as somebody who pasted it would run it. */
function vitest(file: string): Promise<Ended> {
  const root = path.join(here, '../..');
  const program = path.join(root, 'node_modules/vitest/vitest.mjs');
  return new Promise((resolve) => {
    execFile(process.execPath, [program, 'run', file], { cwd: root }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

const host = openHost();
if (typeof host === 'string') {
  console.warn(`SKIPPED a printed script: ${host}`);
  it.skip(`a printed script [SKIPPED: ${host}]`, () => {});
} else {
  describe('a printed script', () => {
    const fault = FAULTS.find(({ name }) => name === FAULT);

    async function findIt(): Promise<DisagreementReport> {
      const take = fault?.plant();
      try {
        const run = runSuite('files', suiteOf(host as Exclude<typeof host, string>, 'files'), {
          seed: SEED,
          commands: 2000,
          most: 1,
        });
        for (let turn = await run.next(); ; turn = await run.next()) {
          if (turn.done !== true) continue;
          const [first] = turn.value.disagreements;
          if (first === undefined) throw new Error('the mistake was not found');
          return first;
        }
      } finally {
        take?.();
      }
    }

    it('is short, passes on equal kernels and fails on others', { timeout: 120_000 }, async () => {
      const { script } = await findIt();
      expect(script.split('\n').filter((line) => line.startsWith('  { do:')).length).toBeLessThanOrEqual(3);
      const [without = '', planted = ''] = files;
      writeFileSync(without, script);
      const plant = `import { FAULTS } from './faults.ts';\nFAULTS.find(({ name }) => name === '${FAULT}')?.plant();\n`;
      writeFileSync(planted, script.replace('\nagree(', `\n${plant}\nagree(`));
      const passed = await vitest(without);
      expect(passed.status, passed.output).toBe(0);
      const failed = await vitest(planted);
      expect(failed.status).toBe(1);
      expect(failed.output).toContain('the kernels disagree on');
    });
  });
}
