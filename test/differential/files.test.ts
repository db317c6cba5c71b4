/**
 * The files and the memory of the simulation against those of this host's kernel: the same random commands on both, the same outcomes,
 * the same things to be seen after each of them. PRIVMEM_SEED repeats a run, PRIVMEM_COMMANDS makes it longer.
 */
import { expect, it } from 'vitest';
import { openHost } from './pair.ts';
import { search } from './search.ts';

const DEFAULT_COMMANDS = 3000;

const seed = Number(process.env.PRIVMEM_SEED ?? Date.now() % 1_000_000);
const wanted = Number(process.env.PRIVMEM_COMMANDS ?? DEFAULT_COMMANDS);
const title = 'files and memory are those of the real kernel';

const host = openHost();
if (typeof host === 'string') {
  console.warn(`SKIPPED ${title}: ${host}`);
  it.skip(`${title} [SKIPPED: ${host}]`, () => {});
} else {
  if (host.noVm !== undefined) console.warn(`differential tests leave out guest_memfd: ${host.noVm}`);
  const without = host.noVm === undefined ? '' : ` [guest_memfd left out: ${host.noVm}]`;
  it(`${title}, ${wanted} commands, seed ${seed}${without}`, { timeout: 0 }, () => {
    const found = search(host, seed, wanted);
    if (found !== undefined) expect.fail(found);
  });
}
