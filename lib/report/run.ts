/** What a report shows: lifecycles that were carried out, or the reason why one was not. */
import type { LifecycleReport, MemoryRun, MemoryState, Step } from '../lifecycle/words.ts';

/** One pair of a design and a technology. A cell of a comparison is one, and so is a lifecycle. */
export interface ReportRun {
  readonly design: string;
  readonly technology: string;
  readonly backend?: 'kvm' | 'sim';
  /** Release, as `uname -r` gives it. */
  readonly kernel?: string;
  readonly arch?: string;
  readonly supported: boolean;
  readonly reason?: string;
  readonly passed?: boolean;
  readonly steps: readonly Step[];
  /** The calls of each step as lines, by the index of the step, where they were recorded. */
  readonly calls?: readonly (readonly string[])[];
}

export function runOfLifecycle(report: LifecycleReport, calls?: readonly (readonly string[])[]): ReportRun {
  const { design, technology, backend, kernel, arch, passed, steps } = report;
  const run = { design, technology, backend, kernel, arch, supported: true, passed, steps };
  return calls === undefined ? run : { ...run, calls };
}

/** A part of the memfile in which every page is alike at every step, in bytes. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
}

/** The fewest segments that show every change of state: cut wherever any step has a border. */
export function segmentsOf(steps: readonly Step[]): Segment[] {
  const cuts = new Set<number>();
  for (const { memory = [] } of steps) {
    for (const { offset, length } of memory) {
      cuts.add(offset);
      cuts.add(offset + length);
    }
  }
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(0, -1).map((offset, i) => ({ offset, length: (sorted[i + 1] ?? offset) - offset }));
}

/** The state of a segment in a step's memory; undefined where the step says nothing of it. */
export function stateOf(memory: readonly MemoryRun[] | undefined, { offset }: Segment): MemoryState | undefined {
  // The last one counts: a fault is laid over what the page was.
  return memory?.findLast((run) => offset >= run.offset && offset < run.offset + run.length)?.state;
}

const PAGE = 4096;

/** `page 3`, `pages 0 to 14`; bytes where a border lies within a page. */
export function segmentName({ offset, length }: Segment): string {
  if (offset % PAGE !== 0 || length % PAGE !== 0)
    return `bytes 0x${offset.toString(16)} to 0x${(offset + length - 1).toString(16)}`;
  const [first, last] = [offset / PAGE, (offset + length) / PAGE - 1];
  return first === last ? `page ${first}` : `pages ${first} to ${last}`;
}

/** A name for anchors and ids. */
export const runId = ({ design, technology }: ReportRun): string =>
  `${design}--${technology}`.replace(/[^A-Za-z0-9-]/g, (c) => `_${c.codePointAt(0)?.toString(16)}_`);
