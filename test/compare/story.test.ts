/** What a story says follows from what the steps did. */
import { describe, expect, test } from 'vitest';
import { intentsText, matrixText, screenWidth, storyText } from '../../lib/cli/pretty-compare.ts';
import { simulationCandidate } from '../../lib/kernel/candidates.ts';
import { compare } from '../../lib/lifecycle/compare.ts';
import type { Step } from '../../lib/lifecycle/words.ts';
import { INTENTS } from '../../lib/report/intents.ts';
import { escapeMarkdown, markdownOf, storyMarkdown } from '../../lib/report/markdown.ts';
import { storyOf } from '../../lib/report/story.ts';
import { HOSTILE, runOf, stepOf } from '../support/steps.ts';

const screen = { style: { paint: (_: unknown, text: string) => text }, width: 100 };
const linesOf = (step: Step) => Object.fromEntries(storyOf(runOf({ steps: [step] })).steps[0]?.lines ?? []);

describe('the same intent, told by its outcome', () => {
  const at = (given: Partial<Step>) => linesOf(stepOf({ name: 'host-access-after-complete', ...given }));
  test.each([
    [{ outcome: 'refused', errno: 'EPERM' }, /^refused EPERM:/, /any other program/, /by the kernel itself/],
    [{ outcome: 'refused', enforcedBy: 'library' }, /^refused:/, /library only/, /by convention only/],
    [{ outcome: 'fault', fault: 'SIGSEGV SEGV_MAPERR' }, /SIGSEGV SEGV_MAPERR/, /fault at the access/, /it faults/],
    [{ outcome: 'ok', enforcedBy: 'nobody' }, /^ok:/, /^Nobody/, /nothing on this kernel stands in its way/],
    [{ outcome: 'ok', enforcedBy: 'nobody', calls: 0 }, /0 calls/, /^Nobody/, /no call was made/],
    [{ outcome: 'lost' }, /^lost:/, /took the contents away/, /do not survive/],
    [{ outcome: 'ok' }, /^ok:/, /kernel carried it out/, /goes through/],
    [{ outcome: 'ok', enforcedBy: 'library' }, /^ok:/, /no such operation/, /kept by this library only/],
    [{ outcome: 'ok', expected: false }, /not what the design promises/, /kernel/, /does not promise/],
  ] as const)('%j', (given, what, who, shows) => {
    const lines = at(given);
    expect(lines['what happened']).toMatch(what);
    expect(lines['who enforced it']).toMatch(who);
    expect(lines['this run shows']).toMatch(shows);
    expect(lines['the worry of 2022']).toMatch(/^Peng: a third operation/);
  });

  test('created unbound or not', () => {
    expect(linesOf(stepOf({ name: 'create', to: 'unbound' }))['this run shows']).toContain('starts UNBOUND');
    expect(linesOf(stepOf({ name: 'create', to: 'brand-new' }))['this run shows']).toContain('starts brand-new');
  });
});

test('a worry is told once, and referred to from then on', () => {
  const steps = ['complete-with-live-mapping', 'remove-mapping', 'complete'].map((name) => stepOf({ name }));
  const [first, second, third] = storyOf(runOf({ steps })).steps.map(({ lines }) => Object.fromEntries(lines));
  expect(first?.['the worry of 2022']).toContain('third operation');
  expect(second?.['the worry of 2022']).toBeUndefined();
  expect(third?.['the worry of 2022']).toBe('that of step 1.');
});

test('the conclusion names each step under what it showed', () => {
  const steps = [
    stepOf({ name: 'a', outcome: 'refused' }),
    stepOf({ name: 'b', outcome: 'fault' }),
    stepOf({ name: 'c', outcome: 'refused', enforcedBy: 'library' }),
    stepOf({ name: 'd', enforcedBy: 'nobody' }),
    stepOf({ name: 'e', outcome: 'lost', expected: false }),
    stepOf({ name: 'f' }),
  ];
  const { conclusion } = storyOf(runOf({ steps }));
  expect(conclusion).toEqual([
    'Refused or stopped by the kernel: a, b.',
    'Refused by this library only: c.',
    'Went through although nobody enforces a rule: d.',
    'Contents lost at: e.',
    'Not as promised: e.',
  ]);
  const one = storyOf(runOf({ steps }), ({ name }) => name === 'f');
  expect(one.steps.map(({ title }) => title)).toEqual(['6 f']);
  expect(one.conclusion).toEqual([]);
});

test('a pair without a run says why, and tells no steps', () => {
  const story = storyOf(runOf({ supported: false, steps: [], reason: 'no kernel has both' }));
  expect(story).toMatchObject({ opening: ['Not carried out. no kernel has both'], steps: [], conclusion: [] });
});

test('no intent claims an outcome: only what is tried, and the question', () => {
  for (const { tries, worry } of Object.values(INTENTS)) {
    expect(`${tries} ${worry?.text ?? ''}`).not.toMatch(/\bE[A-Z]{3,}\b|SIG[A-Z]+|this run/);
    expect(tries).toMatch(/\.$/);
  }
});

describe('a terminal', () => {
  const designs = [
    'inaccessible-memfd',
    'register-converts',
    'unbound-first',
    'guest-memfd',
    'guest-memfd-mmap',
    'in-place',
  ];
  const technologies = ['none', 'sw-protected', 'sev', 'sev-es', 'sev-snp', 'tdx', 'pkvm'];
  const outcomes = ['refused', 'fault', 'lost', 'ok'] as const;
  const steps = Array.from({ length: 60 }, (_, i) =>
    stepOf({
      name: `host-access-at-moment-${i}`,
      outcome: outcomes[i % 4] ?? 'ok',
      enforcedBy: i % 5 === 0 ? 'library' : i % 4 === 3 ? 'nobody' : 'kernel',
      errno: 'EOPNOTSUPP',
    }),
  );
  const runs = designs.flatMap((design) => technologies.map((technology) => runOf({ design, technology, steps })));

  test.each([80, 100, 120])('the whole matrix fits %d columns', (width) => {
    const lines = matrixText(runs, { ...screen, width });
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(width);
    for (const name of designs) expect(lines.join('\n')).toContain(name);
  });

  test('is as wide as it is, within bounds', () => {
    expect([{}, { columns: 40 }, { columns: 96 }, { columns: 300 }].map(screenWidth)).toEqual([100, 80, 96, 120]);
  });

  test('a failed pair and one without a run are told apart, with reasons once', () => {
    const reason = 'simulation: no such thing';
    const text = matrixText(
      [
        runOf({ design: 'a', technology: 'x', passed: false }),
        runOf({ design: 'a', technology: 'y', supported: false, steps: [], reason }),
        runOf({ design: 'b', technology: 'y', supported: false, steps: [], reason }),
      ],
      screen,
    ).join('\n');
    expect(text).toMatch(/^a +FAILED sim +—$/m);
    expect(text.split(reason)).toHaveLength(2);
    expect(text).toContain('a × y, b × y');
  });

  test('why a pair is simulated is said once; nothing is said of letters that are not there', () => {
    const reason = 'this host: /dev/kvm: it is forbidden';
    const text = matrixText([runOf({ reason }), runOf({ technology: 'y', reason })], screen).join('\n');
    expect(text.split(reason)).toHaveLength(2);
    expect(text).toContain('why simulated');
    const lost = matrixText([runOf({ supported: false, steps: [], reason })], screen);
    expect(lost).not.toContain('.');
    expect(lost.join('\n')).not.toContain('why simulated');
  });

  test('no text of a run tells the terminal what to do', () => {
    for (const bad of HOSTILE) {
      const step = stepOf({ name: 'fill', errno: bad, detail: bad, hint: bad });
      const run = runOf({ kernel: bad, reason: bad, steps: [step] });
      const lost = runOf({ technology: 'sev', supported: false, steps: [], reason: bad });
      const lines = [
        ...matrixText([run, lost], screen),
        ...intentsText([run], screen),
        ...storyText(storyOf(run), screen),
      ];
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there.
      expect(lines.join('')).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    }
  });
});

describe('Markdown', () => {
  test.each(HOSTILE)('%j is text in a table and in a story', (bad) => {
    const escaped = escapeMarkdown(bad);
    expect(escaped).not.toMatch(/<|\n|(^|[^\\])(\\\\)*[|`*_[\]#]/);
    const run = runOf({ design: bad, technology: bad, steps: [stepOf({ detail: bad, errno: bad })] });
    const table = markdownOf([run, runOf({ design: 'x', supported: false, steps: [], reason: bad })], true);
    const bars = (line: string) => line.replace(/\\./g, '').split('|').length;
    const rows = table.split('\n').filter((line) => line.startsWith('|'));
    expect(rows.length).toBeGreaterThan(4);
    expect(new Set(rows.slice(0, 4).map(bars)).size).toBe(1);
    expect(
      storyMarkdown(storyOf(run))
        .split('\n')
        .filter((line) => /^#+ /.test(line)),
    ).toHaveLength(2);
  });

  test('shows findings, enforcers that are no kernel, and failures', () => {
    const steps = [
      stepOf({ name: 'a', outcome: 'refused', errno: 'EPERM' }),
      stepOf({ name: 'b', enforcedBy: 'nobody', expected: false }),
    ];
    const text = markdownOf([runOf({ steps, passed: false })], true);
    expect(text).toContain('| guest-memfd | ✗ sim R1 N1 |');
    expect(text).toContain('| a | refused EPERM |');
    expect(text).toContain('| b | ok (nobody) \\! |');
  });
});

test('every step of every design and technology that the simulation carries out has its intent in words', async () => {
  const { cells } = await compare({ kernels: [simulationCandidate()] });
  const carriedOut = cells.filter(({ supported }) => supported);
  expect(carriedOut.length).toBeGreaterThan(10);
  const names = new Set(carriedOut.flatMap(({ steps }) => steps.map(({ name }) => name)));
  expect([...names].filter((name) => INTENTS[name] === undefined)).toEqual([]);
  // And no intent is described that no script has.
  expect(Object.keys(INTENTS).filter((name) => !names.has(name))).toEqual([]);
}, 60_000);
