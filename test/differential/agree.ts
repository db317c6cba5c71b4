/** A sequence of commands as a test: what a differential run prints when the kernels disagree. */
import { expect, it } from 'vitest';
import { replay } from './engine.ts';
import { openHost } from './pair.ts';
import { type Commands, lacking, type SuiteName, suiteOf } from './suites.ts';

const host = openHost();

/** A test that the simulation and the real kernel agree on the commands. Skipped, loudly, where the real kernel lacks what they need. */
export function agree<N extends SuiteName>(name: N, commands: readonly Commands[N][], title?: string): void {
  const reason = typeof host === 'string' ? host : lacking(host, name);
  const words = title ?? `${commands.length} commands of ${name}`;
  if (reason !== undefined || typeof host === 'string') {
    console.warn(`SKIPPED ${words}: ${reason}`);
    it.skip(`${words} [SKIPPED: ${reason}]`, () => {});
    return;
  }
  it(words, { timeout: 60_000 }, async () => {
    const found = await replay(suiteOf(host, name), commands);
    if (found === undefined) return;
    const { index, what, simulated, real } = found;
    const command = String(Object.values(commands[index] ?? {})[0]);
    expect.fail(
      `after command ${index} (${command}) the kernels disagree on ${what}\n  simulated: ${simulated}\n  real:      ${real}`,
    );
  });
}
