/** The memory over time: pages downwards, steps to the right; under it, aligned, what each step came to. */
import type { MemoryState, Step } from '../lifecycle/words.ts';
import { callsText, FINDINGS, findingOf, outcomeOf } from './findings.ts';
import { html, type Markup } from './html.ts';
import { type ReportRun, runId, type Segment, segmentName, segmentsOf, stateOf } from './run.ts';

export const STATES: Readonly<Record<MemoryState, { readonly letter: string; readonly meaning: string }>> = {
  private: { letter: 'P', meaning: "private: the guest's alone" },
  shared: { letter: 'S', meaning: 'shared: host and guest' },
  unbacked: { letter: '–', meaning: 'unbacked: nothing is there' },
  faulting: { letter: '!', meaning: 'faulting: the access of this step met a fault there' },
};

export const stepId = (run: ReportRun, index: number): string => `${runId(run)}--${index + 1}`;

/** Consecutive steps that end in one state. */
function spans(steps: readonly Step[]): { readonly state: string; readonly length: number }[] {
  const out: { state: string; length: number }[] = [];
  for (const { to } of steps) {
    const last = out.at(-1);
    if (last?.state === to) last.length++;
    else out.push({ state: to, length: 1 });
  }
  return out;
}

/** Taller for more pages, by magnitude: one page and a thousand both stay visible. */
const height = ({ length }: Segment): number => 1 + Math.min(3, Math.floor(Math.log2(Math.max(1, length / 4096)) / 3));

function memoryRow(steps: readonly Step[], segment: Segment): Markup {
  const name = segmentName(segment);
  let before: MemoryState | undefined;
  const cells = steps.map((step, i) => {
    const state = stateOf(step.memory, segment);
    const changed = i > 0 && state !== before ? ' changed' : '';
    before = state;
    const words = state === undefined ? { letter: '', meaning: 'not there yet, or no longer' } : STATES[state];
    const label = `${name}, step ${i + 1} ${step.name}: ${words.meaning}`;
    return html`<td data-step="${i}" class="m ${state ?? 'none'}${changed}" aria-label="${label}" title="${label}">${words.letter}</td>`;
  });
  return html`<tr class="memory h${height(segment)}"><th scope="row">${name}</th>${cells}</tr>`;
}

function stepRow(name: string, steps: readonly Step[], cell: (step: Step, i: number) => Markup): Markup {
  return html`<tr><th scope="row">${name}</th>${steps.map(cell)}</tr>`;
}

/** Nothing where no step was carried out. */
export function strip(run: ReportRun): Markup {
  const { steps, design, technology } = run;
  if (steps.length === 0) return html``;
  const segments = segmentsOf(steps);
  const rows =
    segments.length > 0
      ? segments.map((segment) => memoryRow(steps, segment))
      : html`<tr class="memory"><th scope="row">memory</th><td class="m none" colspan="${steps.length}">no step recorded the state of the memory</td></tr>`;
  return html`
<div class="scroll" tabindex="-1">
<table class="strip" aria-label="Memory over time: ${design} with ${technology}. Arrow keys move, Enter goes to the step.">
<thead><tr><th scope="row">state</th>${spans(steps).map(
    ({ state, length }) =>
      html`<th scope="colgroup" colspan="${length}" class="state s-${state}" title="${state}"><span>${state}</span></th>`,
  )}</tr></thead>
<tbody>${rows}</tbody>
<tbody class="below">
${stepRow('step', steps, (step, i) => {
  const label = `step ${i + 1}, ${step.name}: ${outcomeOf(step)}${step.expected ? '' : ', not as promised'}`;
  return html`<td data-step="${i}" class="number${!step.expected && ' unexpected'}" aria-label="${label}"><a href="#${stepId(run, i)}">${i + 1}</a></td>`;
})}
${stepRow('outcome', steps, (step, i) => {
  const { letter, meaning } = FINDINGS[findingOf(step)];
  const promised = step.expected ? '' : '; not as promised';
  return html`<td data-step="${i}" class="f-${findingOf(step)}" aria-label="${step.name}: ${outcomeOf(step)}, ${meaning}${promised}">${letter}${!step.expected && html`<b>!</b>`}</td>`;
})}
${stepRow('enforced by', steps, (step, i) => html`<td data-step="${i}" class="e-${step.enforcedBy}" aria-label="${step.name}: enforced by ${step.enforcedBy}">${step.enforcedBy.slice(0, 1)}</td>`)}
${stepRow('calls', steps, (step, i) => html`<td data-step="${i}" class="calls" aria-label="${step.name}: ${callsText(step.calls)}">${step.calls}</td>`)}
<tr class="names"><th scope="row">intent</th>${steps.map(
    (step, i) => html`<td data-step="${i}" class="name"><span>${step.name}</span></td>`,
  )}</tr>
</tbody>
</table>
</div>`;
}
