/** What the builder says when it cannot build: nothing is fetched or compiled here. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { findToolchain } from '../../lib/testvm/build/toolchain.ts';
import { type Ended, MAIN, ROOT, run } from '../support/cli.ts';

const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  writeFileSync(join(work, name), text);
  return join(work, name);
};

/** With an empty cache of its own. */
const build = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Ended =>
  run(process.execPath, [MAIN, 'vm', '--build', ...args], { env: { ...process.env, XDG_CACHE_HOME: work, ...env } });

function toolchainMissing(): string | undefined {
  try {
    findToolchain(process.arch === 'arm64' ? 'arm64' : 'x64');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0] : String(error);
  }
}
const missing = toolchainMissing();

describe('a build that cannot be', () => {
  test('missing tools are named with the packages that have them', () => {
    const ended = build(['7.3'], { PATH: work });
    expect(ended.status).toBe(4);
    expect(ended.stderr).toMatch(/missing here: .*flex.*bison.*next step: apt-get install .*flex/s);
  });

  test('wrong usage', () => {
    expect(build([])).toMatchObject({ status: 2 });
    expect(build(['7.3', '6.12'])).toMatchObject({ status: 2 });
    const flag = build(['7.3', '--debug', 'lockdep,everything']);
    expect(flag.status).toBe(2);
    expect(flag.stderr).toContain('lockdep, kasan');
    const absent = build(['7.3', '--patch', join(work, 'absent.patch')]);
    expect(absent).toMatchObject({ status: 2 });
    expect(absent.stderr).toContain('absent.patch: no such file');
    const fragment = build(['7.3', '--config', file('odd.config', 'CONFIG_A=y\nwhat\n')]);
    expect(fragment).toMatchObject({ status: 2 });
    expect(fragment.stderr).toContain('odd.config:2: neither CONFIG_NAME=value nor a comment: what');
  });

  test.skipIf(missing !== undefined)(`wrong sources${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
    for (const [source, words] of [
      ['no-such-thing', 'neither a source tree, a tarball nor a release'],
      [ROOT, 'not a kernel source tree'],
      [file('text.tar', 'not a tarball'), 'tar'],
    ] as const) {
      const ended = build([source]);
      expect(ended.stderr).toContain(words);
      expect(ended.status).not.toBe(0);
    }
    const name = build([ROOT, '--name', '../x']);
    expect(name).toMatchObject({ status: 2 });
  });

  test.skipIf(missing !== undefined)('a tarball of something else is not taken for a kernel', () => {
    writeFileSync(join(work, 'README'), 'hello\n');
    const tarball = join(work, 'other.tar.gz');
    run('tar', ['-czf', tarball, '-C', work, 'README']);
    const ended = build([tarball]);
    expect(ended).toMatchObject({ status: 2 });
    expect(ended.stderr).toContain('no Kbuild in it');
  });
});
