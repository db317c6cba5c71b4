/** KTAP of a full run in a test kernel, read by the parser of that kernel's own tree. Minutes: run with PRIVMEM_LONG=1. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findKernel } from '../../lib/testvm/index.ts';
import { has, MAIN, privmem } from '../support/cli.ts';
import { boot, KERNEL, noTestKernel, titleOf } from '../support/testvm.ts';

const work = mkdtempSync(join(tmpdir(), 'privmem-ktap-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The parser of the tree that the kernel was built from. */
function findParser(): { readonly parser: string } | { readonly missing: string } {
  if (!has('python3')) return { missing: 'no python3' };
  const none = noTestKernel();
  if (none !== undefined) return { missing: none };
  const tree = findKernel(KERNEL, 'x64').stored?.tree;
  const parser = join(tree ?? '', 'tools/testing/kunit/kunit.py');
  return tree !== undefined && existsSync(parser)
    ? { parser }
    : { missing: `no kernel tree with kunit.py beside ${KERNEL}` };
}

/** What kunit.py counts: `Testing complete. Ran 4 tests: passed: 3, skipped: 1`. */
function parse(parser: string, ktap: string) {
  const file = join(work, 'ktap');
  writeFileSync(file, ktap);
  const { status, stdout, stderr } = spawnSync('python3', [parser, 'parse', file], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const summary = /Ran (\d+) tests: (.*)/.exec(stdout);
  const count = (word: string): number => Number(new RegExp(`${word}: (\\d+)`).exec(summary?.[2] ?? '')?.[1] ?? 0);
  const words = ['passed', 'failed', 'crashed', 'skipped', 'errors'] as const;
  const counts = Object.fromEntries(words.map((word) => [word, count(word)])) as Record<(typeof words)[number], number>;
  return { status, ran: Number(summary?.[1] ?? 0), ...counts, said: `${stdout}${stderr}` };
}

const found = findParser();
const reason = 'missing' in found ? found.missing : undefined;
const parser = 'parser' in found ? found.parser : '';
const listed = (...filters: string[]): number =>
  (JSON.parse(privmem('conformance', '--list', '--json', ...filters).stdout) as unknown[]).length;
const suite = (format: string) => [process.execPath, MAIN, 'conformance', '--backend', 'kvm', '--format', format];

describe.skipIf(reason !== undefined)(titleOf("KTAP and the kernel's own parser", reason), () => {
  it('a simulated run is read as it was meant', () => {
    const filter = ['--filter', 'memfd/', '--filter', 'attributes/checks'];
    const { stdout } = privmem('conformance', '--backend', 'sim', '--release', '6.1', '--format', 'ktap', ...filter);
    const read = parse(parser, stdout);
    expect(read, read.said.slice(-2000)).toMatchObject({ status: 0, ran: listed(...filter), failed: 0, errors: 0 });
    expect(read.skipped).toBe(stdout.match(/^ {4}ok \d+ \S+ # SKIP/gm)?.length);
    expect(read.skipped).toBeGreaterThan(0);
  });

  it('a failure and a run cut short are not taken for success', () => {
    const odd = [
      '--also',
      join(import.meta.dirname, 'odd-scenarios.mjs'),
      '--filter',
      '*throws',
      '--filter',
      'memfd/create',
    ];
    const { stdout } = privmem('conformance', '--backend', 'sim', '--format', 'ktap', ...odd);
    expect(parse(parser, stdout)).toMatchObject({ status: 1, failed: 1, errors: 0 });
    const cut = parse(parser, stdout.split('\n').slice(0, 9).join('\n'));
    expect(cut.status).toBe(1);
    expect(cut.errors + cut.crashed).toBeGreaterThan(0);
  });

  it.skipIf(process.env.PRIVMEM_LONG === undefined)(
    `the full run in a test kernel${process.env.PRIVMEM_LONG === undefined ? ' (skipped: minutes; PRIVMEM_LONG=1 runs it)' : ''}`,
    { timeout: 1_500_000 },
    async () => {
      const result = await boot([...suite('ktap'), '--seed', '7'], { timeout: 1_200_000 });
      expect(result, result.stderr.slice(-2000)).toMatchObject({ outcome: 'passed', truncated: false });
      const read = parse(parser, result.stdout);
      expect(read, read.said.slice(-2000)).toMatchObject({
        status: 0,
        ran: listed(),
        failed: 0,
        crashed: 0,
        errors: 0,
      });
      expect(read.passed).toBeGreaterThan(1000);
    },
  );
});
