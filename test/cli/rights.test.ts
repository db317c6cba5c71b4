/** What a user without rights on /dev/kvm is told. Needs root, to become such a user. */
import { chmodSync, cpSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noKvm, ROOT, run } from '../support/cli.ts';

const NOBODY = 65534;
const readable = noKvm() === undefined;
const everybody = readable && (statSync('/dev/kvm').mode & 0o006) === 0o006;
const reason =
  process.getuid?.() !== 0 ? 'needs root to drop rights' : everybody ? '/dev/kvm is open to everybody' : noKvm();

describe.skipIf(reason !== undefined)(
  `without rights on /dev/kvm${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    // The checkout may lie where others cannot look, so the user gets a copy of what an installation holds.
    const home = mkdtempSync(path.join(tmpdir(), 'privmem-user-'));
    afterAll(() => rmSync(home, { recursive: true }));
    for (const part of [
      'dist',
      'native',
      'build/Release',
      'package.json',
      'node_modules/commander',
      'node_modules/node-gyp-build',
    ]) {
      cpSync(path.join(ROOT, part), path.join(home, part), { recursive: true });
    }
    for (const entry of readdirSync(home, { recursive: true, withFileTypes: true })) {
      chmodSync(path.join(entry.parentPath, entry.name), 0o755);
    }
    chmodSync(home, 0o755);
    const asNobody = (...args: string[]) =>
      run(process.execPath, [path.join(home, 'dist/cli/main.js'), ...args], { cwd: home, uid: NOBODY, gid: NOBODY });

    test('lifecycle --backend kvm ends with 4 and the next step', () => {
      const ended = asNobody('lifecycle', '--backend', 'kvm');
      expect(ended).toMatchObject({ status: 4, stdout: '' });
      expect(ended.stderr).toMatch(/\/dev\/kvm: there is no right to open it\nnext step: join the group/);
    });

    test('probe explains and ends with 0', () => {
      const text = asNobody('probe');
      expect(text.status).toBe(0);
      expect(text.stdout).toMatch(
        /not available: \/dev\/kvm: there is no right to open it\n +next step: join the group/,
      );
      const report = JSON.parse(asNobody('probe', '--json').stdout) as {
        kvm: { available: boolean };
        technologies: Record<string, { supported: boolean }>;
      };
      expect(report.kvm.available).toBe(false);
      expect(Object.values(report.technologies).every(({ supported }) => !supported)).toBe(true);
    });
  },
);
