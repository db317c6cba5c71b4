/** The page as text: self-contained, escaped, complete without its script. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { reportPage } from '../../lib/report/page.ts';
import { SCRIPT } from '../../lib/report/script.ts';
import { HOSTILE, runOf, stepOf } from '../support/steps.ts';

const page = (run = runOf()) => reportPage({ title: 'a report', runs: [run] });

test('it fetches nothing, and its policy lets nothing but its own script and style run', () => {
  const text = page();
  expect(text).not.toMatch(/\b(src|srcset)=|<link|@import|url\(|https?:/);
  const policy =
    /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(text)?.[1]?.replaceAll('&#39;', "'") ?? '';
  const hash = createHash('sha256').update(SCRIPT).digest('base64');
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain(`script-src 'sha256-${hash}'`);
  expect(text).not.toMatch(/ style="| on[a-z]+="/);
});

test('each step is there with its outcome, enforcer, calls and detail', () => {
  const steps = [
    stepOf({ name: 'bind', outcome: 'refused', errno: 'EINVAL', hint: 'another VM has it', expected: false, calls: 7 }),
    stepOf({ name: 'close', outcome: 'fault', fault: 'SIGBUS BUS_ADRERR', reported: { sum: '0x17' } }),
  ];
  const text = page(runOf({ steps, passed: false, calls: [['ioctl(3, KVM_RUN) = 0'], []] }));
  for (const part of ['refused EINVAL', 'another VM has it', '7 calls', 'not as promised', 'fault SIGBUS', '0x17'])
    expect(text).toContain(part);
  expect(text).toContain('ioctl(3, KVM_RUN) = 0\n… and 6 more');
  expect(text).toContain('<strong>failed</strong>: bind');
});

test('a pair that was not carried out says why, and has no strip', () => {
  const text = page(runOf({ supported: false, steps: [], reason: 'no such kernel' }));
  expect(text).toContain('not carried out: no such kernel');
  expect(text).not.toContain('class="strip"');
});

test('a step that made thousands of calls shows two hundred and says how many are left', () => {
  const calls = [Array.from({ length: 1000 }, (_, i) => `call ${i}`)];
  const text = page(runOf({ steps: [stepOf({ calls: 5000 })], calls }));
  expect(text).toContain('5000 calls');
  expect(text).toContain('call 199\n… and 4800 more');
  expect(text).not.toContain('call 200');
});

describe.each(HOSTILE)('with %j in every text', (bad) => {
  const step = stepOf({
    name: bad,
    errno: bad,
    fault: bad,
    detail: bad,
    hint: bad,
    reported: { [bad]: bad },
    memory: [{ offset: 0, length: 4096, state: 'shared' }],
  });
  const run = runOf({
    design: bad,
    technology: bad,
    kernel: bad,
    arch: bad,
    reason: bad,
    steps: [step],
    calls: [[bad]],
  });

  test('the tags are those of a harmless page', () => {
    const tags = (text: string) => [...text.matchAll(/<\/?([a-z0-9]+)/g)].map((match) => match[1]);
    const harmless = 'harmless';
    const tame = stepOf({
      ...step,
      name: harmless,
      errno: harmless,
      fault: harmless,
      detail: harmless,
      hint: harmless,
      reported: { [harmless]: harmless },
    });
    const like = runOf({
      design: harmless,
      technology: harmless,
      kernel: harmless,
      arch: harmless,
      reason: harmless,
      steps: [tame],
      calls: [[harmless]],
    });
    const make = (title: string, one: typeof run, other: typeof run) =>
      reportPage({ title, command: title, runs: [one, { ...other, supported: false }] });
    expect(tags(make(bad, run, run))).toEqual(tags(make(harmless, like, like)));
  });
});
