/** What a step shows, in one word and one letter: the same in the terminal, in Markdown and on a page. */
import type { Step } from '../lifecycle/words.ts';

export type Finding = 'done' | 'refused' | 'convention' | 'fault' | 'lost' | 'nobody' | 'unsupported';

export interface FindingWords {
  readonly letter: string;
  /** For a legend. */
  readonly meaning: string;
}

export const FINDINGS: Readonly<Record<Finding, FindingWords>> = {
  done: { letter: '·', meaning: 'done' },
  refused: { letter: 'R', meaning: 'refused by the kernel' },
  convention: { letter: 'C', meaning: 'refused by the library only: a convention' },
  fault: { letter: 'F', meaning: 'the access met a fault' },
  lost: { letter: 'L', meaning: 'contents lost' },
  nobody: { letter: 'N', meaning: 'went through, and nobody enforces a rule' },
  unsupported: { letter: 'U', meaning: 'this kernel cannot do the step' },
};

export function findingOf({ outcome, enforcedBy }: Pick<Step, 'outcome' | 'enforcedBy'>): Finding {
  if (outcome === 'ok') return enforcedBy === 'nobody' ? 'nobody' : 'done';
  if (outcome === 'refused') return enforcedBy === 'library' ? 'convention' : 'refused';
  return outcome;
}

export interface Count {
  readonly finding: Finding;
  readonly letter: string;
  readonly count: number;
}

/** How often each finding but `done` is there, without zeros, in the order of the legend. */
export function countFindings(steps: readonly Step[]): Count[] {
  const found = steps.map(findingOf);
  return (Object.keys(FINDINGS) as Finding[])
    .filter((finding) => finding !== 'done')
    .map((finding) => ({
      finding,
      letter: FINDINGS[finding].letter,
      count: found.filter((other) => other === finding).length,
    }))
    .filter(({ count }) => count > 0);
}

/** `refused EPERM`, `fault SIGBUS`, `ok`. */
export const outcomeOf = ({ outcome, errno, fault }: Step): string =>
  [outcome, errno ?? fault?.split(' ')[0]].filter(Boolean).join(' ');

export const microsText = (value: number): string =>
  value < 10_000 ? `${value.toFixed(0)} µs` : `${(value / 1000).toFixed(1)} ms`;

export const callsText = (count: number): string => `${count} call${count === 1 ? '' : 's'}`;
