import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { privmem, ROOT } from '../support/cli.ts';

test('--help and --version end with 0, nothing at all with 2 and the help on stderr', () => {
  expect(privmem('--help')).toMatchObject({ status: 0, stderr: '' });
  expect(privmem('--help').stdout).toContain('Exit status');
  const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string };
  expect(privmem('--version')).toMatchObject({ status: 0, stdout: `${version}\n` });
  const bare = privmem();
  expect(bare).toMatchObject({ status: 2, stdout: '' });
  expect(bare.stderr).toContain('Usage: privmem');
});

test.each([
  [['nonsense'], "unknown command 'nonsense'"],
  [['lifecycle', 'extra'], 'too many arguments'],
  [['lifecycle', '--nonsense'], "unknown option '--nonsense'"],
  [['lifecycle', '--backend', 'xen'], 'Allowed choices are auto, kvm, sim'],
  [['lifecycle', '--size', 'big'], 'a number of bytes'],
  [['lifecycle', '--trace=/no/such/folder/file'], '--trace: ENOENT'],
])('%j is wrong usage: status 2 and %j on stderr', (args, message) => {
  const { status, stdout, stderr } = privmem(...args);
  expect(stderr).toContain(message);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
});

test.each(['probe', 'lifecycle'])('%s --help lists --json and --trace', (command) => {
  const { status, stdout } = privmem(command, '--help');
  expect(status).toBe(0);
  expect(stdout).toContain('--json');
  expect(stdout).toContain('--trace');
});
