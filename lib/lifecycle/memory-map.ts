/**
 * The memfile page by page: whose each is, from what the lifecycle did, and whether it is there at all, from what the kernel answers. Kept in runs,
 * so that a large memfile costs what it is fragmented.
 */
import { KernelError } from '../kernel/errors.ts';
import type { MemFile } from '../memory/mem-file.ts';
import type { Memfile, Range } from './designs/index.ts';
import type { MemoryRun, MemoryState } from './words.ts';

type Side = 'private' | 'shared';
interface Run {
  readonly offset: number;
  readonly length: number;
  readonly state: Side;
}

const PAGE = 4096;
/** Questions to the kernel for one picture: a badly fragmented file is shown as far as they reach. */
const MOST_QUESTIONS = 4096;

function put<T extends { offset: number; length: number }>(
  runs: readonly T[],
  { offset, length }: Range,
  make: (old: T, offset: number, length: number) => T,
): T[] {
  const end = offset + length;
  const out: T[] = [];
  for (const run of runs) {
    const to = run.offset + run.length;
    const [from, until] = [Math.max(run.offset, offset), Math.min(to, end)];
    if (from >= until) {
      out.push(run);
      continue;
    }
    if (run.offset < from) out.push({ ...run, length: from - run.offset });
    out.push(make(run, from, until - from));
    if (until < to) out.push({ ...run, offset: until, length: to - until });
  }
  return out;
}

function merged<T extends { offset: number; length: number; state: string }>(runs: readonly T[]): T[] {
  const out: T[] = [];
  for (const run of runs) {
    const last = out.at(-1);
    if (last !== undefined && last.state === run.state)
      out[out.length - 1] = { ...last, length: last.length + run.length };
    else out.push(run);
  }
  return out;
}

/** Which parts of a range a file holds. `allocated`: all of it, as far as the lifecycle knows. */
function held(file: MemFile, range: Range, allocated: boolean): Range[] {
  let questions = 0;
  const pages = (offset: number, length: number): number => {
    questions++;
    try {
      return file.residency(offset, length).cache;
    } catch (error) {
      // Before 6.5 a memfd can be asked where data was written, though not what was only allocated.
      if (error instanceof KernelError && error.code === 'ENOSYS')
        return allocated ? length / PAGE : dataPages(file, offset, length);
      throw error;
    }
  };
  const look = (offset: number, length: number): Range[] => {
    const count = pages(offset, length);
    if (count === 0) return [];
    if (count * PAGE >= length || questions >= MOST_QUESTIONS) return [{ offset, length }];
    const half = Math.ceil(length / PAGE / 2) * PAGE;
    return [...look(offset, half), ...look(offset + half, length - half)];
  };
  return look(range.offset, range.length);
}

function dataPages(file: MemFile, offset: number, length: number): number {
  const end = offset + length;
  let count = 0;
  for (let at = offset; at < end; ) {
    const data = file.raw.seek('data', at);
    if (!data.ok || Number(data.value) >= end) break;
    const hole = file.raw.seek('hole', data.value);
    const to = Math.min(end, hole.ok ? Number(hole.value) : end);
    count += Math.ceil((to - Number(data.value)) / PAGE);
    at = to;
  }
  return count;
}

export class MemoryMap {
  readonly #size: number;
  #runs: Run[];
  /** pKVM: what the guest has touched. */
  #touched: Range[] = [];

  constructor(size: number) {
    this.#size = size;
    this.#runs = [{ offset: 0, length: size, state: 'shared' }];
  }

  set(range: Range, state: Side): void {
    this.#runs = merged(put(this.#runs, range, (_, offset, length) => ({ offset, length, state })));
  }

  /** The guest touched it, and it becomes its own if it was not given out before. */
  touch(range: Range): void {
    const fresh = [range].flatMap((part) => subtract(part, this.#touched));
    for (const part of fresh) {
      this.set(part, 'private');
      this.#touched.push(part);
    }
  }

  stateAt(offset: number): Side {
    return this.#runs.find((run) => offset >= run.offset && offset < run.offset + run.length)?.state ?? 'shared';
  }

  /** From 0 to the end, without gaps. What the kernel does not tell counts as being there. */
  runs(memfile: Memfile, bound: boolean, faulting?: Range): readonly MemoryRun[] {
    let runs: MemoryRun[] = [];
    for (const { offset, length, state } of this.#runs) {
      // What no slot has yet has one side: the file itself.
      const file = state === 'private' || !bound ? memfile.file : memfile.sharedFile;
      if (file.closed) {
        runs.push({ offset, length, state: 'unbacked' });
        continue;
      }
      let part: MemoryRun[] = [{ offset, length, state: 'unbacked' }];
      for (const range of held(file, { offset, length }, state === 'private'))
        part = put(part, range, (_, from, bytes) => ({ offset: from, length: bytes, state: state as MemoryState }));
      runs.push(...part);
    }
    if (faulting !== undefined)
      runs = put(runs, faulting, (_, offset, length) => ({ offset, length, state: 'faulting' as const }));
    return merged(runs).filter(({ offset }) => offset < this.#size);
  }
}

function subtract(range: Range, taken: readonly Range[]): Range[] {
  let parts: Range[] = [range];
  for (const cut of taken) {
    parts = parts.flatMap((part) => {
      const end = part.offset + part.length;
      const [from, to] = [Math.max(part.offset, cut.offset), Math.min(end, cut.offset + cut.length)];
      if (from >= to) return [part];
      return [
        { offset: part.offset, length: from - part.offset },
        { offset: to, length: end - to },
      ].filter(({ length }) => length > 0);
    });
  }
  return parts;
}
