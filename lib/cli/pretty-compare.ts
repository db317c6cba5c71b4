/** Comparisons and stories for a terminal. */
import { groupBy } from '../conformance/report.ts';
import type { Step } from '../lifecycle/words.ts';
import { countFindings, FINDINGS, type Finding, findingOf } from '../report/findings.ts';
import { stepText } from '../report/markdown.ts';
import { unique } from '../report/matrix.ts';
import type { ReportRun } from '../report/run.ts';
import type { Story } from '../report/story.ts';
import type { Style } from './style.ts';
import { visibleWidth } from './table.ts';
import { breakable, fold, type GridCell, textGrid } from './text-grid.ts';

const COLOURS: Readonly<Record<Finding, Parameters<Style['paint']>[0]>> = {
  done: 'green',
  refused: 'green',
  convention: 'yellow',
  fault: 'cyan',
  lost: 'magenta',
  nobody: 'red',
  unsupported: 'dim',
};

export interface Screen {
  readonly style: Style;
  /** Columns of text. */
  readonly width: number;
}

/** A terminal must not be told what to do by a text that it shows. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out.
const plain = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');

/** What the terminal shows well: as wide as it is, between 80 and 120 columns. 100 where there is none. */
export const screenWidth = (stream: { readonly columns?: number | undefined }): number =>
  Math.min(120, Math.max(80, stream.columns ?? 100));

function cell(run: ReportRun | undefined, { paint }: Style): GridCell {
  if (run === undefined) return [];
  if (!run.supported) return [paint('dim', '—')];
  const failed = run.passed === false;
  const counts = countFindings(run.steps).map(({ finding, letter, count }) =>
    paint(COLOURS[finding], `${letter}${count}`),
  );
  return [paint(failed ? 'red' : 'green', failed ? 'FAILED' : 'ok'), paint('bold', run.backend ?? ''), ...counts];
}

function legend(runs: readonly ReportRun[], { style: { paint }, width }: Screen): string[] {
  const used = unique(runs.flatMap(({ steps }) => countFindings(steps).map(({ finding }) => finding)));
  const parts = (Object.keys(FINDINGS) as Finding[])
    .filter((finding) => used.includes(finding))
    .map((finding) => `${paint(COLOURS[finding], FINDINGS[finding].letter)} ${FINDINGS[finding].meaning}`);
  return parts.length === 0 ? [] : ['', ...fold(`${parts.join('; ')}.`, width), ...places(runs, width)];
}

function places(runs: readonly ReportRun[], width: number): string[] {
  const kernels = runs
    .filter(({ supported }) => supported)
    .map(({ backend, kernel, arch }) => `${backend}: Linux ${plain(kernel ?? '?')}, ${arch ?? '?'}`);
  return kernels.length === 0 ? [] : fold(`${unique(kernels).join('; ')}.`, width);
}

/** Why pairs were not carried out on the kernel before the one that did: each reason once. */
function fallbacks(runs: readonly ReportRun[], { style: { paint }, width }: Screen): string[] {
  const reasons = unique(runs.flatMap(({ supported, reason }) => (supported && reason !== undefined ? [reason] : [])));
  const lines = reasons.flatMap((reason) => fold(plain(reason), width, '  '));
  return lines.length === 0 ? [] : ['', paint('bold', 'why simulated'), ...lines];
}

/** With so many pairs, only what the last kernel said of each is shown. */
const MANY = 7;

/** `simulation: …` of `this host: …; simulation: …`. */
const lastReason = (reason: string): string => reason.slice(reason.lastIndexOf('; simulation: ')).replace(/^; /, '');

/** Reasons, each once, with the pairs that it is of. */
function missing(runs: readonly ReportRun[], { style: { paint }, width }: Screen): string[] {
  const lost = runs.filter(({ supported }) => !supported);
  const many = lost.length > MANY;
  const reasons = groupBy(lost, ({ reason = 'no reason was given' }) => (many ? lastReason(reason) : reason));
  const lines: string[] = [];
  for (const [reason, pairs] of reasons) {
    const names = pairs.map(({ design, technology }) => `${design} × ${technology}`).join(', ');
    lines.push(...fold(names, width - 2).map((text) => `  ${paint('dim', text)}`));
    lines.push(...fold(plain(reason), width, '    '));
  }
  if (many)
    lines.push('', ...fold('Every kernel that was asked: --design or --technology for some, --json for all.', width));
  return lines.length === 0 ? [] : ['', paint('bold', 'not carried out'), ...lines];
}

export function matrixText(runs: readonly ReportRun[], screen: Screen): string[] {
  const { style, width } = screen;
  const technologies = unique(runs.map(({ technology }) => technology));
  const rows = unique(runs.map(({ design }) => design)).map((design) => [
    [style.paint('bold', design)],
    ...technologies.map((technology) =>
      cell(
        runs.find((run) => run.design === design && run.technology === technology),
        style,
      ),
    ),
  ]);
  const head = ['design', ...technologies].map((name) => breakable(name).map((part) => style.paint('dim', part)));
  return [
    ...textGrid([head, ...rows], width, 'apart'),
    ...legend(runs, screen),
    ...fallbacks(runs, screen),
    ...missing(runs, screen),
  ];
}

/** Step by step, for a few pairs: those of one design, or of one technology. */
export function intentsText(runs: readonly ReportRun[], { style: { paint }, width }: Screen): string[] {
  const carriedOut = runs.filter(({ supported }) => supported);
  const one = new Set(carriedOut.map(({ design }) => design)).size === 1;
  const names = stepNames(carriedOut);
  const head = ['intent', ...carriedOut.map(({ design, technology }) => (one ? technology : design))];
  const grid = (text: (step: Step) => string): string[] => {
    const rows = names.map((name) => [
      breakable(plain(name)),
      ...carriedOut.map(({ steps }) =>
        stepCell(
          steps.find((step) => step.name === name),
          text,
          paint,
        ),
      ),
    ]);
    return textGrid([head.map((name) => breakable(name).map((part) => paint('dim', part))), ...rows], width);
  };
  const lines = grid(stepText);
  if (lines.every((line) => visibleWidth(line) <= width)) return lines;
  // The legend of the matrix holds for these letters too.
  return grid((step) => FINDINGS[findingOf(step)].letter + (step.expected ? '' : ' !'));
}

/** A row for each pair, a column for each step: for a few steps. */
export function pairsText(runs: readonly ReportRun[], { style: { paint }, width }: Screen): string[] {
  const carriedOut = runs.filter(({ supported }) => supported);
  const names = stepNames(carriedOut);
  const rows = carriedOut.map(({ design, technology, steps }) => [
    [design],
    [technology],
    ...names.map((name) =>
      stepCell(
        steps.find((step) => step.name === name),
        stepText,
        paint,
      ),
    ),
  ]);
  const head = ['design', 'technology', ...names].map((name) =>
    breakable(plain(name)).map((part) => paint('dim', part)),
  );
  return [...textGrid([head, ...rows], width), '', ...places(runs, width)];
}

export const stepNames = (runs: readonly ReportRun[]): string[] =>
  unique(runs.flatMap(({ steps }) => steps.map(({ name }) => name)));

function stepCell(step: Step | undefined, text: (step: Step) => string, paint: Style['paint']): GridCell {
  if (step === undefined) return [];
  const colour = step.expected ? COLOURS[findingOf(step)] : 'red';
  const words = plain(text(step)).replace('KVM_EXIT_', '').split(' ');
  return words.flatMap(breakable).map((word) => paint(colour, word));
}

export function storyText(story: Story, { style: { paint }, width }: Screen): string[] {
  const lines = [paint('bold', story.title), ...story.opening.flatMap((text) => fold(plain(text), width))];
  for (const step of story.steps) {
    lines.push('', paint('bold', plain(step.title)));
    for (const [label, text] of step.lines) {
      const [first = '', ...rest] = fold(`${label}: ${plain(text)}`, width - 2, '  ');
      lines.push(first.replace(`${label}:`, paint('cyan', `${label}:`)), ...rest.map((more) => `  ${more}`));
    }
  }
  if (story.conclusion.length > 0)
    lines.push('', paint('bold', 'in short'), ...story.conclusion.flatMap((text) => fold(plain(text), width, '  ')));
  return lines;
}
