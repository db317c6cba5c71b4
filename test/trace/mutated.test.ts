/** Recordings that somebody edited: whatever a file says, the process is there afterwards, with nothing left over. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { simulate } from '../../lib/sim/simulate.ts';
import { runChild } from '../support/child.ts';
import { noKvm } from '../support/cli.ts';
import { recordLines } from './record.ts';
import { playVariety } from './variety.ts';

const SCRIPT = path.join(import.meta.dirname, 'children/mutated.mjs');
const LIMIT_MS = 120_000;
const TIMES = 80;

const folder = mkdtempSync(path.join(tmpdir(), 'privmem-mutated-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = path.join(folder, 'trace.jsonl');
writeFileSync(file, (await recordLines(simulate({ release: '6.18', technologies: [] }), playVariety)).join('\n'));

const seed = process.env.PRIVMEM_SEED ?? String(Date.now() % 2 ** 32);

async function survives(backend: string): Promise<void> {
  const result = await runChild(SCRIPT, { args: [file, backend, seed, String(TIMES)], limitMs: LIMIT_MS });
  expect(result).toMatchObject({ status: 0, signal: null, timedOut: false, stderr: '' });
  const counts = JSON.parse(result.stdout) as Record<string, number>;
  expect(counts.replayed).toBeGreaterThan(TIMES / 5);
  expect(counts.different).toBeGreaterThan(0);
  expect(counts.skipped).toBeGreaterThan(0);
}

describe(`mutated recordings (seed ${seed})`, () => {
  it(`${TIMES} on a simulated kernel`, () => survives('sim'), LIMIT_MS + 5000);
  it.skipIf(noKvm() !== undefined)(`${TIMES} on the real one`, () => survives('kvm'), LIMIT_MS + 5000);
});
