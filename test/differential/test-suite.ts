/** A suite as a test: some thousand commands, with a seed that is told. */
import { expect, it } from 'vitest';
import { openHost } from './pair.ts';
import { search } from './report.ts';
import { lacking, type SuiteName, suiteOf } from './suites.ts';

const seed = Number(process.env.PRIVMEM_SEED ?? Date.now() % 1_000_000);

/** @param share of PRIVMEM_COMMANDS, where a command takes longer than others. */
export function testSuite(name: SuiteName, title: string, usual: number, share = 1): void {
  const asked = process.env.PRIVMEM_COMMANDS;
  const wanted = asked === undefined ? usual : Math.ceil(Number(asked) * share);
  const host = openHost();
  const reason = typeof host === 'string' ? host : lacking(host, name);
  if (typeof host === 'string' || reason !== undefined) {
    console.warn(`SKIPPED ${title}: ${reason}`);
    it.skip(`${title} [SKIPPED: ${reason}]`, () => {});
    return;
  }
  const without = name !== 'files' || host.noVm === undefined ? '' : ` [guest_memfd left out: ${host.noVm}]`;
  it(`${title}, ${wanted} commands, seed ${seed}${without}`, { timeout: 0 }, async () => {
    const run = <N extends SuiteName>(suite: N) => search(suite, suiteOf(host, suite), seed, wanted);
    const found = await run(name);
    if (found !== undefined) expect.fail(found);
  });
}
