/** One self-contained page: nothing is fetched, and nothing that it holds but its own script and style can run. */
import { createHash } from 'node:crypto';
import { verdictText } from '../lifecycle/words.ts';
import { FINDINGS } from './findings.ts';
import { html, Markup } from './html.ts';
import { matrix } from './matrix.ts';
import { type ReportRun, runId } from './run.ts';
import { SCRIPT } from './script.ts';
import { stepList } from './steps.ts';
import { STATES, strip } from './strip.ts';
import { STYLE } from './style.ts';

export interface ReportPage {
  readonly title: string;
  /** One for a lifecycle, many for a comparison. */
  readonly runs: readonly ReportRun[];
  /** The command that makes this page. */
  readonly command?: string;
}

const sourceHash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

function kernelText({ backend, kernel, arch }: ReportRun): string {
  const kind = backend === 'sim' ? 'the simulated kernel' : 'the real kernel';
  return `${kind}, Linux ${kernel ?? 'of an unknown release'}, ${arch ?? 'of an unknown architecture'}`;
}

function verdict({ steps, passed }: ReportRun): Markup {
  const unexpected = steps.filter((step) => !step.expected).map(({ name }) => name);
  if (passed !== false && unexpected.length === 0) return html`<p class="good">${verdictText(steps)}</p>`;
  return html`<p class="bad"><strong>failed</strong>: ${unexpected.join(', ') || 'see the steps'}</p>`;
}

function section(run: ReportRun): Markup {
  const { design, technology, supported, reason, steps } = run;
  const enforcers = (['kernel', 'library', 'nobody'] as const).map(
    (who) => `${who} ${steps.filter((step) => step.enforcedBy === who).length}`,
  );
  const body = supported
    ? html`<p class="soft">on ${kernelText(run)}; enforced by: ${enforcers.join(', ')}</p>
${reason !== undefined && html`<p class="soft">not on a kernel before it: ${reason}</p>`}
${verdict(run)}
<div class="panel" role="region" aria-live="polite" aria-label="The step in focus" tabindex="0"></div>
${strip(run)}
<h3>Steps</h3>
${stepList(run)}`
    : html`<p>not carried out: ${reason ?? 'no reason was given'}</p>`;
  return html`<section class="run${supported && ' carried-out'}" id="${runId(run)}" aria-labelledby="${runId(run)}-title">
<h2 tabindex="-1" id="${runId(run)}-title">design ${design}, technology ${technology}</h2>
${body}
</section>`;
}

function legend(): Markup {
  const states = Object.entries(STATES).map(
    ([state, { letter, meaning }]) => html`<li><span class="m ${state}">${letter}</span>${meaning}</li>`,
  );
  const findings = Object.entries(FINDINGS).map(
    ([finding, { letter, meaning }]) => html`<li><span class="key f-${finding}">${letter}</span>${meaning}</li>`,
  );
  return html`<ul class="legend" aria-label="States of memory">${states}</ul>
<ul class="legend" aria-label="What steps come to">${findings}<li><span class="key e-kernel">k</span> <span class="key e-library">l</span> <span class="key e-nobody">n</span>enforced by the kernel, the library only, nobody</li></ul>`;
}

export function reportPage({ title, runs, command }: ReportPage): string {
  const carriedOut = runs.filter(({ supported }) => supported).length;
  const policy = `default-src 'none'; style-src ${sourceHash(STYLE)}; script-src ${sourceHash(SCRIPT)}`;
  const overview = html`<p>${runs.length} pairs: ${carriedOut} carried out, ${runs.length - carriedOut} not. Each cell counts what its steps came to.</p>
${matrix(runs)}
<p class="choice"><label><input type="checkbox" id="everything"> show all pairs below, for reading and printing</label></p>`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
${command !== undefined && html`<p class="soft"><code>${command}</code></p>`}
${legend()}
</header>
<main>
${runs.length > 1 && overview}
${runs.map(section)}
</main>
<script>${new Markup(SCRIPT)}</script>
</body>
</html>
`.text;
}
