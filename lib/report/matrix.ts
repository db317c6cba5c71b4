/** The comparison at a glance: designs downwards, technologies to the right, each cell what its steps came to. */
import { countFindings, FINDINGS } from './findings.ts';
import { html, type Markup } from './html.ts';
import { type ReportRun, runId } from './run.ts';

export const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];

function cell(run: ReportRun | undefined, column: number): Markup {
  if (run === undefined) return html`<td data-step="${column}"></td>`;
  const { design, technology, supported, passed, backend, steps } = run;
  const verdict = supported ? (passed === false ? 'failed' : 'carried out') : 'not carried out';
  const counts = countFindings(steps);
  const words = counts.map(({ finding, count }) => `${count} ${FINDINGS[finding].meaning}`);
  const label = [
    `${design} with ${technology}: ${verdict}${backend === undefined ? '' : ` on ${backend}`}`,
    ...words,
  ].join('; ');
  const body = supported
    ? html`<span class="verdict">${passed === false ? '✗' : '✓'} ${backend ?? ''}</span> ${counts.map(
        ({ finding, letter, count }) => html`<span class="count f-${finding}">${letter}${count}</span> `,
      )}`
    : html`<span class="verdict">—</span> <span class="why">not carried out</span>`;
  return html`<td data-step="${column}" class="pair ${
    supported ? (passed === false ? 'failed' : 'passed') : 'missing'
  }" aria-label="${label}" title="${label}"><a href="#${runId(run)}">${body}</a></td>`;
}

export function matrix(runs: readonly ReportRun[]): Markup {
  const technologies = unique(runs.map(({ technology }) => technology));
  return html`
<div class="scroll" tabindex="-1">
<table class="matrix" aria-label="Designs by technologies. Arrow keys move, Enter opens the pair.">
<thead><tr><th scope="col">design</th>${technologies.map(
    (technology) => html`<th scope="col">${technology}</th>`,
  )}</tr></thead>
<tbody>${unique(runs.map(({ design }) => design)).map(
    (design) =>
      html`<tr><th scope="row">${design}</th>${technologies.map((technology, i) =>
        cell(
          runs.find((run) => run.design === design && run.technology === technology),
          i,
        ),
      )}</tr>`,
  )}</tbody>
</table>
</div>`;
}
