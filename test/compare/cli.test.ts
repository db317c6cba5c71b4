/** `privmem compare` as a process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Step } from '../../lib/lifecycle/words.ts';
import { MAIN, privmem } from '../support/cli.ts';

const folder = mkdtempSync(path.join(os.tmpdir(), 'privmem-compare-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PAIR = ['--design', 'guest-memfd', '--technology', 'sw-protected'];

interface Shown {
  readonly cells: readonly {
    readonly design: string;
    readonly technology: string;
    readonly backend: string | null;
    readonly supported: boolean;
    readonly reason?: string;
    readonly steps: readonly Step[];
  }[];
}

describe('documents', () => {
  test('--json has a cell for every pair, each with steps or a reason, and nothing else on stdout', () => {
    const { status, stdout, stderr } = privmem('compare', '--backend', 'sim', '--json');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const document = JSON.parse(stdout) as Shown;
    expect(Object.keys(document)).toEqual(['cells']);
    expect(document.cells).toHaveLength(42);
    expect(new Set(document.cells.map(({ design, technology }) => `${design} ${technology}`)).size).toBe(42);
    for (const cell of document.cells) {
      const keys = ['design', 'technology', 'backend', 'supported', 'reason', 'steps'];
      expect(keys).toEqual(expect.arrayContaining(Object.keys(cell)));
      if (cell.supported) {
        expect(cell.backend).toBe('sim');
        expect(cell.steps.length).toBeGreaterThan(5);
        for (const step of cell.steps) {
          expect(step).toMatchObject({ name: expect.any(String), from: expect.any(String), to: expect.any(String) });
          expect(['ok', 'refused', 'fault', 'lost', 'unsupported']).toContain(step.outcome);
          expect(['kernel', 'library', 'nobody']).toContain(step.enforcedBy);
        }
      } else {
        expect(cell.backend).toBeNull();
        expect(cell.steps).toEqual([]);
        expect(cell.reason).toMatch(/simulation: .+/);
      }
    }
  }, 120_000);

  test('filters keep the order of the vocabulary; --format markdown and html are the same cells', () => {
    const filters = [
      '--backend',
      'sim',
      '--technology',
      'sw-protected',
      '--design',
      'guest-memfd-mmap',
      '--design',
      'guest-memfd',
    ];
    const { cells } = JSON.parse(privmem('compare', ...filters, '--json').stdout) as Shown;
    expect(cells.map(({ design }) => design)).toEqual(['guest-memfd', 'guest-memfd-mmap']);
    const markdown = privmem('compare', ...filters, '--format', 'markdown');
    expect(markdown.status).toBe(0);
    for (const { name } of cells[0]?.steps ?? []) expect(markdown.stdout).toContain(`| ${name} |`);
    const page = privmem('compare', ...filters, '--format', 'html');
    expect(page.status).toBe(0);
    expect(page.stdout).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/);
    expect(page.stdout.match(/class="run/g)).toHaveLength(2);
  });

  test('--intent shows those steps only, and a text that matches none is wrong usage', () => {
    const { cells } = JSON.parse(
      privmem('compare', '--backend', 'sim', ...PAIR, '--intent', 'bind', '--json').stdout,
    ) as Shown;
    expect(cells[0]?.steps.map(({ name }) => name)).toEqual(['bind']);
    const parts = privmem(
      'compare',
      '--backend',
      'sim',
      ...PAIR,
      '--intent',
      'after-bind',
      '--intent',
      'host-f',
      '--json',
    );
    const names = (JSON.parse(parts.stdout) as Shown).cells[0]?.steps.map(({ name }) => name) ?? [];
    expect(names.length).toBeGreaterThan(2);
    for (const name of names) expect(name).toMatch(/after-bind|host-f/);
    const none = privmem('compare', '--backend', 'sim', ...PAIR, '--intent', 'nonsense');
    expect(none).toMatchObject({ status: 2, stdout: '' });
    expect(none.stderr).toContain('matches none of create');
  });

  test('--report writes a page and says so on stderr; the steps are those of stdout', () => {
    const file = path.join(folder, 'report.html');
    const { status, stdout, stderr } = privmem('compare', '--backend', 'sim', ...PAIR, '--json', '--report', file);
    expect({ status, stderr }).toEqual({ status: 0, stderr: `report: ${file}\n` });
    const page = readFileSync(file, 'utf8');
    for (const { name } of (JSON.parse(stdout) as Shown).cells[0]?.steps ?? [])
      expect(page).toContain(`<span class="name">${name}</span>`);
  });
});

describe('stories', () => {
  const pair = ['--explain', 'guest-memfd', 'sw-protected'];

  test('--explain tells each step of the run, with worry and what the run shows', () => {
    const { cells } = JSON.parse(privmem('compare', '--backend', 'sim', ...pair, '--json').stdout) as Shown;
    const { status, stdout, stderr } = privmem('compare', '--backend', 'sim', ...pair);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    cells[0]?.steps.forEach(({ name }, i) => {
      expect(stdout).toContain(`\n${i + 1} ${name}\n  intent: `);
    });
    expect(stdout).toMatch(/the worry of 2022: Lutomirski: /);
    expect(stdout).toMatch(/\nin short\n/);
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100);
  });

  test('--intent tells some of them under their own numbers', () => {
    const { stdout } = privmem('compare', '--backend', 'sim', ...pair, '--intent', 'bind-to-second-vm');
    expect(stdout).toMatch(/\n\d+ bind-to-second-vm\n/);
    expect(stdout.match(/what happened:/g)).toHaveLength(1);
  });

  test('--format markdown and --report go with it', () => {
    const file = path.join(folder, 'story.html');
    const { status, stdout } = privmem(
      'compare',
      '--backend',
      'sim',
      ...pair,
      '--format',
      'markdown',
      '--report',
      file,
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/^## design guest-memfd, technology sw-protected\n/);
    expect(stdout).toContain('### In short');
    expect(readFileSync(file, 'utf8')).toContain('class="strip"');
  });
});

describe('exit statuses', () => {
  test.each([
    [['--design', 'nonsense'], '--design nonsense: there are inaccessible-memfd, '],
    [['--technology', 'sgx'], '--technology sgx: there are none, '],
    [['--explain', 'guest-memfd'], '--explain takes two names'],
    [['--explain', 'guest-memfd', 'tdx', 'sev'], '--explain takes two names'],
    [['--explain', 'tdx', 'guest-memfd'], '--explain tdx: there are'],
    [['--explain', 'guest-memfd', 'tdx', '--design', 'in-place'], 'do not go with it'],
    [['--format', 'xml'], 'Allowed choices are pretty, json, markdown, html'],
    [['--size', '5000', ...PAIR, '--backend', 'sim'], 'size must be a multiple of 4096'],
    [['--report', '/no/such/folder/report.html'], '--report: ENOENT'],
    [['--report', folder], 'is a folder'],
  ])('%j is wrong usage: 2', (args, message) => {
    const { status, stdout, stderr } = privmem('compare', ...args);
    expect(stderr).toContain(message);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });

  test('4 where no pair is supported, with the reason and in the document', () => {
    // No kernel gives a default VM private memory beside attributes that it has not.
    const pair = ['guest-memfd', 'none'];
    const told = privmem('compare', '--backend', 'sim', '--explain', ...pair);
    expect(told).toMatchObject({ status: 4, stdout: expect.stringContaining('Not carried out. simulation: ') });
    expect(told.stderr).toContain('not supported here: design guest-memfd with technology none: simulation: ');
    const json = privmem('compare', '--backend', 'sim', '--explain', ...pair, '--json');
    expect(json).toMatchObject({ status: 4, stderr: '' });
    expect((JSON.parse(json.stdout) as Shown).cells).toMatchObject([{ supported: false, backend: null }]);
  });
});

test('SIGINT ends it with 130, one line, and no report', async () => {
  const file = path.join(folder, 'interrupted.html');
  const args = [MAIN, 'compare', '--backend', 'sim', '--size', '64M', '--trace', '--report', file];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr, sent] = ['', '', false];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (!sent && stderr.includes('KVM_CREATE_VM')) {
      sent = true;
      child.kill('SIGINT');
    }
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  expect({ status, signal, stdout }).toEqual({ status: 130, signal: null, stdout: '' });
  expect(stderr).toMatch(/privmem: interrupted\n$/);
  expect(existsSync(file)).toBe(false);
}, 60_000);
