/** vCPUs and the life of the process. */
import { expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import { childScript, withKvm } from './host.ts';

const run = (way: string, limitMs = 20_000) => runChild(childScript('lifetime.cjs'), { args: [way], limitMs });

withKvm('the life of the process', () => {
  it.concurrent('an idle vCPU does not prolong it', async () => {
    expect(await run('idle')).toMatchObject({ status: 0, stdout: 'done 0\n', stderr: '' });
  });
  it.concurrent('a running one does', async () => {
    expect(await run('running')).toMatchObject({ status: 0, stdout: 'done -4 true\n', stderr: '' });
    expect(await run('running-for-ever', 1500)).toMatchObject({ timedOut: true, stdout: 'started\n' });
  });
  it.concurrent('process.exit ends it while guests run', async () => {
    for (let i = 0; i < 3; i++)
      expect(await run('exit-mid-run')).toMatchObject({ status: 7, signal: null, stderr: '' });
  });
  it.concurrent('what `done` throws is an uncaught exception', async () => {
    expect(await run('throw-in-done')).toMatchObject({ status: 0, stdout: 'caught from done\n' });
    const result = await run('throw-in-done-uncaught');
    expect(result).toMatchObject({ status: 1, signal: null });
    expect(result.stderr).toContain('from done');
  });
  it.concurrent('`done` may detach and close everything', async () => {
    expect(await run('close-in-done')).toMatchObject({ status: 0, stdout: 'done 0\n' });
  });
});
