/** `privmem conformance` as a process: verdicts about scenarios that hang, die and fail; formats; comparison. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ConformanceReport } from '../../lib/conformance/report.ts';
import { SCENARIOS, selectScenarios } from '../../lib/conformance/scenarios/index.ts';
import { MAIN, noKvm, privmem } from '../support/cli.ts';

const ODD = path.join(import.meta.dirname, 'odd-scenarios.mjs');
const folder = mkdtempSync(path.join(tmpdir(), 'privmem-conformance-'));
afterAll(() => rmSync(folder, { recursive: true }));

const odd = (...args: string[]) =>
  privmem('conformance', '--backend', 'sim', '--also', ODD, '--filter', 'odd/', ...args);
/** Those that neither hang nor die. */
const FEW = ['*expects_too_much', '*needs_the_future', '*throws'].flatMap((name) => ['--filter', name]);
const few = (...args: string[]) => privmem('conformance', '--backend', 'sim', '--also', ODD, ...FEW, ...args);
const report = (text: string) => JSON.parse(text) as ConformanceReport;
const outcomes = (text: string) =>
  Object.fromEntries(report(text).scenarios.map(({ name, outcome }) => [name.slice(12), outcome]));

describe('verdicts', () => {
  it('survive scenarios that die, block, never settle and throw', { timeout: 60_000 }, () => {
    const { status, stdout } = odd('--json', '--seed', '1');
    expect(status).toBe(1);
    expect(outcomes(stdout)).toMatchObject({
      passes_before: 'passed',
      dies_of_SIGKILL: 'failed',
      exits: 'failed',
      passes_between: 'passed',
      blocks: 'failed',
      never_settles: 'failed',
      expects_too_much: 'failed',
      throws: 'failed',
      needs_the_future: 'skipped',
      leaves_everything_open: 'passed',
      checks_nothing: 'failed',
      passes_at_the_end: 'passed',
      dies_after_its_result: 'passed',
      comes_next: 'failed',
      comes_last: 'passed',
    });
    const { totals, scenarios } = report(stdout);
    expect(totals.passed + totals.failed + totals.skipped).toBe(scenarios.length);
    // Each scenario has one result.
    expect(new Set(scenarios.map(({ name }) => name)).size).toBe(scenarios.length);
    const detail = (name: string) => scenarios.find((scenario) => scenario.name === `odd/process/${name}`)?.detail;
    expect(detail('dies_of_SIGKILL')).toContain('SIGKILL');
    expect(detail('exits')).toContain('status 0');
    expect(detail('blocks')).toContain('hangs');
    expect(detail('never_settles')).toContain('200 ms');
    expect(detail('expects_too_much')).toMatch(/^an ordinary memfd: expected EPERM, got success/);
    expect(detail('checks_nothing')).toContain('checked nothing');
    expect(detail('comes_next')).toContain('status 3');
    expect(detail('throws')).toContain('a mistake of its own');
    expect(detail('needs_the_future')).toContain('needs Linux 99.0');
  });

  it('--bail ends after the first failure and says what was not run', () => {
    const { status, stdout } = odd('--json', '--bail');
    expect(status).toBe(1);
    const { scenarios, notRun } = report(stdout);
    expect(scenarios.map(({ outcome }) => outcome)).toEqual(['passed', 'failed']);
    expect(notRun?.[0]).toBe('odd/process/exits');
  });

  it('a seed repeats the random numbers, and --repeat names the round that failed', () => {
    const seeds = ['1', '2', '3', '4', '5', '6'];
    const only = (...args: string[]) =>
      privmem('conformance', '--backend', 'sim', '--also', ODD, '--filter', '*random_numbers', '--json', ...args)
        .stdout;
    const verdicts = seeds.map((seed) => report(only('--seed', seed)).scenarios[0]?.outcome);
    expect(new Set(verdicts).size).toBe(2);
    expect(seeds.map((seed) => report(only('--seed', seed)).scenarios[0]?.outcome)).toEqual(verdicts);
    expect(report(only('--seed', '1', '--repeat', '20')).scenarios[0]?.detail).toMatch(
      /^round \d+, seed \d+: a random bit/,
    );
  });

  it('a suite interrupted by Ctrl-C ends with 130 and leaves no process', { timeout: 60_000 }, async () => {
    const told = path.join(folder, 'blocks');
    const child = spawn(
      process.execPath,
      [MAIN, 'conformance', '--backend', 'sim', '--also', ODD, '--filter', '*process/blocks'],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ODD_BLOCKS: told } },
    );
    // Not before the scenario is under way, however long the machine takes to come there.
    await expect.poll(() => existsSync(told), { timeout: 50_000, interval: 10 }).toBe(true);
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean);
    expect(children.length).toBe(1);
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    for (const pid of children) expect(() => process.kill(Number(pid), 0)).toThrow('ESRCH');
  });
});

describe('formats', () => {
  it('KTAP has a plan, a subtest for each area and directives for skips', () => {
    const { stdout } = few('--format', 'ktap', '--filter', 'memfd/create/*');
    const lines = stdout.trim().split('\n');
    expect(lines.slice(0, 2)).toEqual(['KTAP version 1', '1..2']);
    expect(lines.filter((line) => /^ {4}1\.\.\d+$/.test(line)).length).toBe(2);
    expect(lines).toContainEqual(
      expect.stringMatching(/^ {4}ok \d+ odd\/process\/needs_the_future # SKIP needs Linux 99\.0/),
    );
    expect(lines).toContainEqual(expect.stringMatching(/^ {4}not ok \d+ odd\/process\/expects_too_much$/));
    expect(lines.at(-1)).toBe('not ok 2 odd');
  });

  it('a run that was cut short does not look complete', () => {
    const { status, stdout } = few('--format', 'ktap', '--bail');
    expect(status).toBe(1);
    expect(stdout).toContain('Bail out!');
    expect(stdout).toContain('not ok 1 odd/process/expects_too_much');
    expect(stdout).not.toContain('odd/process/throws');
  });

  it('JUnit counts and escapes', () => {
    const { stdout } = few('--format', 'junit');
    expect(stdout).toMatch(/^<\?xml version="1.0"/);
    expect(stdout.match(/<testcase /g)?.length).toBe(3);
    expect(stdout).toContain('<failure message="an ordinary memfd: expected EPERM');
  });

  it('pretty says what failed and why others were skipped', () => {
    const { stdout, stderr } = few();
    expect(stdout).toContain('needs Linux 99.0');
    expect(stdout).toMatch(/failed odd\/process\/throws\n.*TypeError: a mistake/);
    expect(stderr).toBe('');
  });

  it('--list names each scenario with its promise', () => {
    const { stdout } = privmem('conformance', '--list', '--json');
    const listed = JSON.parse(stdout) as { name: string; promise: string }[];
    expect(listed.map(({ name }) => name)).toEqual(SCENARIOS.map(({ name }) => name));
    for (const { promise } of listed) expect(promise).toMatch(/[a-z_]+\(2\)|\.[ch]\b|\.rst\b/);
  });
});

describe('--compare', () => {
  const write = (name: string, text: string): string => {
    const file = path.join(folder, name);
    writeFileSync(file, text);
    return file;
  };

  it('names the behaviours that differ', () => {
    const a = write('a.json', privmem('conformance', '--backend', 'sim', '--filter', 'memfd/create', '--json').stdout);
    const b = write(
      'b.json',
      privmem('conformance', '--backend', 'sim', '--release', '6.1', '--filter', 'memfd/create', '--json').stdout,
    );
    const { status, stdout } = privmem('conformance', '--compare', a, b);
    expect(status).toBe(1);
    expect(stdout).toContain('memfd/create/EXEC_with_NOEXEC_SEAL_is_EINVAL: passed on A, skipped on B');
    expect(privmem('conformance', '--compare', a, a)).toMatchObject({ status: 0 });
    const json = JSON.parse(privmem('conformance', '--json', '--compare', a, b).stdout) as { differences: unknown[] };
    expect(json.differences.length).toBeGreaterThan(0);
  });

  it('says what is wrong with its files', () => {
    const good = write('good.json', privmem('conformance', '--backend', 'sim', '--filter', 'size_0', '--json').stdout);
    expect(privmem('conformance', '--compare', good)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('two files'),
    });
    expect(privmem('conformance', '--compare', good, '/nonexistent')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('ENOENT'),
    });
    expect(privmem('conformance', '--compare', good, write('bad.json', '{'))).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('no JSON'),
    });
    const odd = write(
      'odd.json',
      '{"kernel":"1","backend":"sim","arch":"x64","scenarios":[{"name":"x","outcome":"good"}]}',
    );
    expect(privmem('conformance', '--compare', good, odd)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('scenarios[0] (x) has no outcome'),
    });
  });
});

describe('wrong usage', () => {
  it.each([
    [['--filter', 'no-such-thing'], 'no scenario matches'],
    [['--format', 'xml'], 'xml'],
    [['--seed', 'x'], 'a whole number'],
    [['--repeat', '0'], 'a whole number'],
    [['some-file'], 'files are for --compare'],
    [['--also', '/nonexistent.mjs'], 'nonexistent'],
    [['--also', import.meta.filename.replace('suite.test.ts', 'nothing.mjs')], 'nothing.mjs'],
  ])('%j', (args, words) => {
    expect(privmem('conformance', ...args)).toMatchObject({ status: 2, stderr: expect.stringContaining(words) });
  });

  it('no right to /dev/kvm, no KVM: not supported', () => {
    if (noKvm() !== undefined) expect(privmem('conformance', '--backend', 'kvm').status).toBe(4);
    else expect(privmem('conformance', '--backend', 'kvm', '--filter', 'memfd/create').status).toBe(0);
  });
});

describe('names', () => {
  it('differ, and those of an area stand together', () => {
    const names = SCENARIOS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const areas = names.map((name) => name.split('/')[0]);
    const starts = areas.filter((area, i) => area !== areas[i - 1]);
    expect(new Set(starts).size).toBe(starts.length);
  });

  it('are selected by parts and by patterns', () => {
    expect(selectScenarios(['memfd/create/*']).every(({ name }) => name.startsWith('memfd/create/'))).toBe(true);
    expect(selectScenarios(['create']).some(({ name }) => name.startsWith('guest_memfd/create'))).toBe(true);
    expect(selectScenarios(['*.EINVAL'])).toEqual([]);
  });
});
