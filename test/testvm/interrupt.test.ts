/** However a run is ended from outside, no QEMU stays behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { has, MAIN } from '../support/cli.ts';
import { boot, KERNEL, noTestKernel, titleOf } from '../support/testvm.ts';

const reason = noTestKernel();

/** Processes whose command line has the mark and which are QEMUs. */
function machines(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
        return /^\S*qemu-system/.test(words) && words.includes(mark);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function gone(mark: string): Promise<number[]> {
  for (let tries = 0; tries < 50 && machines(mark).length > 0; tries++) await sleep(100);
  return machines(mark);
}

const marked = (): string => `privmem.test=${randomBytes(6).toString('hex')}`;
const arguments_ = (mark: string): string[] => [
  ...['vm', '--kernel', KERNEL, '--append', mark],
  ...['--', 'sh', '-c', 'echo begun; exec sleep 99'],
];

async function begun(child: ChildProcess): Promise<void> {
  let text = '';
  child.stdout?.setEncoding('utf8');
  while (!text.includes('begun')) {
    const [chunk] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [string];
    text += chunk;
  }
}

describe.skipIf(reason !== undefined)(titleOf('a run that is ended from outside', reason), { timeout: 180_000 }, () => {
  test.skipIf(!has('script'))(`Ctrl-C in a terminal${has('script') ? '' : ' (skipped: no script)'}`, async () => {
    const mark = marked();
    const words = [process.execPath, MAIN, ...arguments_(mark)].map((word) => `'${word}'`).join(' ');
    const child = spawn('script', ['-qec', words, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await begun(child);
    expect(machines(mark)).toHaveLength(1);
    child.stdin?.write('\x03');
    let text = '';
    child.stdout?.on('data', (chunk: string) => {
      text += chunk;
    });
    const [status] = await once(child, 'close');
    expect(status).toBe(130);
    expect(text).toContain('privmem: interrupted');
    expect(machines(mark)).toEqual([]);
  });

  test('kill -9 of the process that started it', async () => {
    const mark = marked();
    const child = spawn(process.execPath, [MAIN, ...arguments_(mark)], { stdio: ['ignore', 'pipe', 'inherit'] });
    await begun(child);
    expect(machines(mark)).toHaveLength(1);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(await gone(mark)).toEqual([]);
  });

  test('an AbortSignal, during boot and later', async () => {
    const mark = marked();
    const why = new Error('enough');
    for (const when of [300, 'command'] as const) {
      const controller = new AbortController();
      const run = boot(['sh', '-c', 'echo begun; exec sleep 99'], {
        append: mark,
        signal: controller.signal,
        onStdout: () => controller.abort(why),
      });
      if (typeof when === 'number') setTimeout(() => controller.abort(why), when);
      await expect(run).rejects.toBe(why);
      expect(machines(mark)).toEqual([]);
    }
    await expect(boot(['true'], { signal: AbortSignal.abort(why) })).rejects.toBe(why);
  });

  test('nothing is left in this process: no descriptor, no listener', async () => {
    const listeners = () => process.listenerCount('exit');
    const descriptors = () => readdirSync('/proc/self/fd').length;
    await boot(['true']);
    const before = [listeners(), descriptors()];
    await boot(['true']);
    await boot(['true'], { qemuArgs: ['-device', 'no-such-device'] });
    expect([listeners(), descriptors()]).toEqual(before);
  });
});
