/** Comparisons and stories as Markdown. */
import type { Step } from '../lifecycle/words.ts';
import { countFindings, FINDINGS, findingOf, outcomeOf } from './findings.ts';
import { unique } from './matrix.ts';
import type { ReportRun } from './run.ts';
import type { Story } from './story.ts';

/** Text inside Markdown: what could be markup, a column or a line of its own is taken literally. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/\s*[\r\n]+\s*/g, ' ')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/[\\`*_[\]|#~!]/g, (found) => `\\${found}`);
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)];
}

function cell(run: ReportRun | undefined): string {
  if (run === undefined) return '';
  if (!run.supported) return '—';
  const counts = countFindings(run.steps).map(({ letter, count }) => `${letter}${count}`);
  return [run.passed === false ? '✗' : '✓', run.backend ?? '', ...counts].join(' ');
}

const LEGEND = Object.values(FINDINGS)
  .filter(({ letter }) => letter !== '·')
  .map(({ letter, meaning }) => `${letter} ${meaning}`)
  .join('; ');

/** What one step came to: the same text in every table of intents. */
export function stepText(step: Step | undefined): string {
  if (step === undefined) return '';
  const by = step.enforcedBy === 'kernel' ? '' : ` (${step.enforcedBy})`;
  const failed = step.expected ? '' : ' !';
  return `${findingOf(step) === 'done' && by === '' ? 'ok' : `${outcomeOf(step)}${by}`}${failed}`;
}

export function markdownOf(runs: readonly ReportRun[], intents: boolean): string {
  const technologies = unique(runs.map(({ technology }) => technology));
  const designs = unique(runs.map(({ design }) => design));
  const find = (design: string, technology: string) =>
    runs.find((run) => run.design === design && run.technology === technology);
  const lines = table(
    ['design', ...technologies].map(escapeMarkdown),
    designs.map((design) => [
      escapeMarkdown(design),
      ...technologies.map((technology) => cell(find(design, technology))),
    ]),
  );
  lines.push('', `✓ each step as promised, ✗ not; — not carried out; ${LEGEND}.`);
  const carriedOut = runs.filter(({ supported }) => supported);
  if (intents && carriedOut.length > 0) {
    const names = unique(carriedOut.flatMap(({ steps }) => steps.map(({ name }) => name)));
    const head = ['intent', ...carriedOut.map(({ design, technology }) => `${design} × ${technology}`)];
    const rows = names.map((name) => [
      name,
      ...carriedOut.map(({ steps }) => stepText(steps.find((step) => step.name === name))),
    ]);
    lines.push(
      '',
      ...table(
        head.map(escapeMarkdown),
        rows.map((row) => row.map(escapeMarkdown)),
      ),
    );
  }
  const missing = runs.filter(({ supported }) => !supported);
  if (missing.length > 0) {
    lines.push('', 'Not carried out:', '');
    for (const { design, technology, reason } of missing)
      lines.push(`- ${escapeMarkdown(`${design} × ${technology}: ${reason ?? 'no reason was given'}`)}`);
  }
  return `${lines.join('\n')}\n`;
}

export function storyMarkdown({ title, opening, steps, conclusion }: Story): string {
  const lines = [`## ${escapeMarkdown(title)}`, '', ...opening.map(escapeMarkdown)];
  for (const step of steps) {
    lines.push('', `### ${escapeMarkdown(step.title)}`, '');
    for (const [label, text] of step.lines) lines.push(`- **${label}**: ${escapeMarkdown(text)}`);
  }
  if (conclusion.length > 0)
    lines.push('', '### In short', '', ...conclusion.map((text) => `- ${escapeMarkdown(text)}`));
  return `${lines.join('\n')}\n`;
}
