import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { MAIN, noKvm } from '../support/cli.ts';

const reason = noKvm();

describe.skipIf(reason !== undefined)(`interruption${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  test('Ctrl-C in the middle of a guest run ends with 130 and one line', async () => {
    // Large enough that the guest is still reading when the signal comes.
    const child = spawn(process.execPath, [MAIN, 'lifecycle', '--size', '32M', '--trace'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    let sent = false;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      // The loader's mapping is gone: next the guest reads all of its memory, which takes seconds where KVM emulates it.
      if (!sent && /munmap\(0x[0-9a-f]+, 0x2000000\)/.test(stderr)) {
        sent = true;
        setTimeout(() => child.kill('SIGINT'), 400);
      }
    });
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    expect({ status, signal }).toEqual({ status: 130, signal: null });
    expect(stderr).toContain('KVM_RUN, 0) = -1 EINTR');
    // Everything was closed in order, not dropped.
    expect(stderr).toMatch(/close\(\d+<guest_memfd>\) = 0/);
    expect(stderr).toMatch(/close\(\d+<kvm>\) = 0\nprivmem: interrupted\n$/);
  });
});
