/** Each step in words: the list that the strip points into, and what is read in print. */
import type { Step } from '../lifecycle/words.ts';
import { callsText, FINDINGS, findingOf, microsText, outcomeOf } from './findings.ts';
import { html, type Markup } from './html.ts';
import type { ReportRun } from './run.ts';
import { STATES, stepId } from './strip.ts';

/** Lines of calls that one step shows; a step of a large lifecycle makes thousands. */
const MOST_CALLS = 200;

function calls(step: Step, lines: readonly string[] | undefined): Markup {
  const shown = lines?.slice(0, MOST_CALLS) ?? [];
  if (shown.length === 0) return html`<p class="calls">${callsText(step.calls)}</p>`;
  const left = step.calls - shown.length;
  return html`<details><summary>${callsText(step.calls)}</summary><pre tabindex="0">${shown.join('\n')}${
    left > 0 && `\n… and ${left} more`
  }</pre></details>`;
}

function memory({ memory: runs }: Step): Markup | undefined {
  if (runs === undefined || runs.length === 0) return undefined;
  const totals = Object.keys(STATES).map((state) => ({
    state,
    bytes: runs.filter((run) => run.state === state).reduce((sum, { length }) => sum + length, 0),
  }));
  const text = totals.filter(({ bytes }) => bytes > 0).map(({ state, bytes }) => `${bytes / 1024} KiB ${state}`);
  return html`<p class="mem">memory: ${text.join(', ')}</p>`;
}

function card(run: ReportRun, step: Step, i: number): Markup {
  const finding = findingOf(step);
  const state = step.from === step.to ? step.to : `${step.from} → ${step.to}`;
  const reported = Object.entries(step.reported ?? {});
  return html`<li id="${stepId(run, i)}" data-step="${i}" tabindex="-1" class="step b-${finding}${!step.expected && ' unexpected'}">
<h3>${i + 1} <span class="name">${step.name}</span> <span class="outcome f-${finding}"><b aria-hidden="true">${FINDINGS[finding].letter}</b> ${outcomeOf(step)}</span>${
    !step.expected && html` <strong class="not">not as promised</strong>`
  }</h3>
<p class="facts">${state}; enforced by <b class="e-${step.enforcedBy}">${step.enforcedBy}</b>; ${microsText(step.micros)}${step.fault !== undefined && `; ${step.fault}`}</p>
<p>${step.detail}</p>
${reported.length > 0 && html`<p class="reported">${reported.map(([name, value]) => html`<span>${name} <code>${value}</code></span> `)}</p>`}
${step.hint !== undefined && html`<p class="hint">${step.hint}</p>`}
${memory(step)}
${calls(step, run.calls?.[i])}
</li>`;
}

export function stepList(run: ReportRun): Markup {
  return html`<ol class="steps">${run.steps.map((step, i) => card(run, step, i))}</ol>`;
}
