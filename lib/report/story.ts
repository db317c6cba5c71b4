/** The story of one pair in words. Every sentence about the run is chosen by what its steps did; nothing here knows an outcome beforehand. */
import type { Step } from '../lifecycle/words.ts';
import { callsText, type Finding, findingOf, outcomeOf } from './findings.ts';
import { INTENTS, type Worry } from './intents.ts';
import type { ReportRun } from './run.ts';

export interface StoryStep {
  /** `5 bind-to-second-vm` */
  readonly title: string;
  /** What is said of it, by what it is about. */
  readonly lines: readonly (readonly [label: string, text: string])[];
}

export interface Story {
  readonly title: string;
  /** Where it was carried out, and how it came out. */
  readonly opening: readonly string[];
  readonly steps: readonly StoryStep[];
  readonly conclusion: readonly string[];
}

function happened(step: Step): string {
  const state = step.from === step.to ? '' : ` State: ${step.from} to ${step.to}.`;
  const reported = Object.entries(step.reported ?? {}).map(([name, value]) => `${name} ${value}`);
  const guest = reported.length > 0 ? ` Reported: ${reported.join(', ')}.` : '';
  const fault = step.fault === undefined ? '' : ` (${step.fault})`;
  const promised = step.expected ? '' : ' This is not what the design promises.';
  return `${outcomeOf(step)}${fault}: ${step.detail} (${callsText(step.calls)}).${state}${guest}${promised}`;
}

const ENFORCED: Readonly<Record<Finding, string>> = {
  done: '',
  refused: 'The kernel refused; any other program would have met the same.',
  convention: 'This library only. The kernel was not asked, and would let another program with the descriptor through.',
  fault: 'The kernel, by a fault at the access.',
  lost: 'The kernel: what it did took the contents away.',
  nobody: 'Nobody. It went through, and nothing on this kernel keeps a rule here.',
  unsupported: '',
};

function enforced(step: Step): string {
  const finding = findingOf(step);
  if (finding === 'lost' && step.enforcedBy !== 'kernel')
    return step.enforcedBy === 'library' ? 'This library.' : 'Nobody: the contents are not what they must be.';
  if (finding === 'done')
    return step.enforcedBy === 'library'
      ? 'This library keeps the rule; the kernel has no such operation.'
      : 'The kernel carried it out.';
  return ENFORCED[finding];
}

/** What a run says to a worry. */
const SHOWN: Readonly<Record<Finding, string>> = {
  done: 'it goes through; what happened says what comes of it.',
  refused: 'the worry is met by the kernel itself, with an errno and before anything happens.',
  convention: 'the worry is met by convention only.',
  fault: 'the worry is met at the access: it faults, and the process that tried is told.',
  lost: 'the contents do not survive this step. Whoever needs them has to copy them first.',
  nobody: 'it goes through, and nothing on this kernel stands in its way.',
  unsupported: 'this kernel cannot answer.',
};

function shown(step: Step): string {
  if (!step.expected) return 'an outcome that the design does not promise: see what happened.';
  if (step.name === 'create') {
    return step.to === 'unbound'
      ? 'the file starts UNBOUND. Whether the kernel keeps that, the next steps try.'
      : `the file starts ${step.to}: the first state allows what an ordinary file allows.`;
  }
  if (findingOf(step) === 'done' && step.enforcedBy === 'library')
    return 'it goes through, and the rule behind it is kept by this library only.';
  if (findingOf(step) === 'nobody' && step.calls === 0)
    return 'no call was made, because the kernel has no operation for it: nothing checks what the mail wants checked.';
  return SHOWN[findingOf(step)];
}

function storyStep(step: Step, number: number, told: Map<Worry, number>): StoryStep {
  const intent = INTENTS[step.name];
  const lines: [string, string][] = [];
  if (intent !== undefined) lines.push(['intent', intent.tries]);
  lines.push(['what happened', happened(step)]);
  const who = enforced(step);
  if (who !== '') lines.push(['who enforced it', who]);
  if (step.hint !== undefined) lines.push(['why', `${step.hint}.`]);
  const worry = intent?.worry;
  if (worry !== undefined) {
    const before = told.get(worry);
    if (before === undefined) told.set(worry, number);
    lines.push(['the worry of 2022', before === undefined ? `${worry.who}: ${worry.text}` : `that of step ${before}.`]);
    lines.push(['this run shows', shown(step)]);
  }
  return { title: `${number} ${step.name}`, lines };
}

const listed = (steps: readonly Step[]): string => steps.map(({ name }) => name).join(', ');

function conclusion({ steps }: ReportRun): string[] {
  const by = (...findings: Finding[]) => steps.filter((step) => findings.includes(findingOf(step)));
  const parts: [string, Step[]][] = [
    ['Refused or stopped by the kernel', by('refused', 'fault')],
    ['Refused by this library only', by('convention')],
    ['Went through although nobody enforces a rule', by('nobody')],
    ['Contents lost at', by('lost')],
    ['This kernel could not do', by('unsupported')],
    ['Not as promised', steps.filter((step) => !step.expected)],
  ];
  return parts.filter(([, found]) => found.length > 0).map(([text, found]) => `${text}: ${listed(found)}.`);
}

/** `only`: tells those steps, under their numbers, and draws no conclusion. */
export function storyOf(run: ReportRun, only?: (step: Step) => boolean): Story {
  const { design, technology, supported, reason, backend, kernel, arch, steps, passed } = run;
  const title = `design ${design}, technology ${technology}`;
  if (!supported) return { title, opening: [`Not carried out. ${reason ?? ''}`.trim()], steps: [], conclusion: [] };
  const where = backend === 'sim' ? 'the simulated kernel' : "this host's kernel";
  const opening = [`Carried out on ${where} (Linux ${kernel ?? '?'}, ${arch ?? '?'}), ${steps.length} steps.`];
  if (reason !== undefined) opening.push(`Not on a kernel before it: ${reason}.`);
  if (passed === false) opening.push('Not every step came out as the design promises.');
  const told = new Map<Worry, number>();
  const chosen = steps.flatMap((step, i) => (only?.(step) === false ? [] : [storyStep(step, i + 1, told)]));
  return { title, opening, steps: chosen, conclusion: only === undefined ? conclusion(run) : [] };
}
