/** The order of things: C, ours, C, ours, … so that both see the same host, however busy it is. */
import { type Batch, type Contestant, type Item, inC } from './item.ts';
import type { Options } from './options.ts';
import type { Reference } from './reference.ts';
import { median, type Ratio, ratioOf } from './statistics.ts';

export interface Measured {
  readonly name: string;
  /** Nanoseconds per operation. */
  readonly median: number;
  readonly min: number;
  /** Missing when there is no C to compare with. */
  readonly ratio?: Ratio;
  readonly aim?: number;
  /** Whether the median ratio is within the aim. */
  readonly pass?: boolean;
}

export interface Missing {
  readonly name: string;
  readonly unsupported: string;
}

export interface ItemResult {
  readonly id: string;
  readonly title: string;
  readonly results: readonly (Measured | Missing)[];
}

/** A contestant in the ring: how many operations make a batch, and what it took so far. */
interface Entry {
  readonly contestant: Pick<Contestant, 'name' | 'aim'>;
  readonly ops: number;
  readonly batch: Batch;
  readonly close: () => void;
  readonly times: number[];
  /** What C took in the same rounds. */
  readonly beside: number[];
}

const MOST_OPS = 5_000_000;
const WARM_UPS = 3;
/** On one line, since it becomes a cell of a table. */
const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ').trim();

/** Finds how many operations fill a batch, and in passing gets caches and compiler warm. */
async function calibrate(batch: Batch, batchMs: number, mostOps: number): Promise<number> {
  const target = batchMs * 1e6;
  let ops = 1;
  for (let warm = 0; warm < WARM_UPS; ) {
    const took = Math.max(1, await batch(ops));
    const fits = Math.min(mostOps, Math.max(1, Math.round((ops * target) / took)));
    // In steps, since the first operations are slow and not at all like the rest.
    if (fits > ops * 10) ops = Math.min(mostOps, ops * 10);
    else {
      ops = fits;
      warm++;
    }
  }
  return ops;
}

async function enter(contestant: Contestant, c: Reference | string, { batchMs }: Options): Promise<Entry> {
  const { batch, close } = await contestant.open(c);
  try {
    const ops = await calibrate(batch, batchMs, contestant.mostOps ?? MOST_OPS);
    return { contestant, ops, batch, close, times: [], beside: [] };
  } catch (error) {
    close();
    throw error;
  }
}

function summarise({ contestant: { name, aim }, times, beside }: Entry): Measured {
  const result = { name, median: median(times), min: Math.min(...times) };
  if (beside.length === 0) return result;
  const ratio = ratioOf(times, beside);
  return { ...result, ratio, ...(aim === undefined ? {} : { aim, pass: ratio.median <= aim }) };
}

/** Runs one item. Nothing that a contestant throws ends the run: it becomes the reason why there is no number. */
export async function runItem(item: Item, reference: Reference | string, options: Options): Promise<ItemResult> {
  const results: (Measured | Missing)[] = [];
  const entries: Entry[] = [];
  const add = async (contestant: Contestant): Promise<Entry | undefined> => {
    try {
      return await enter(contestant, reference, options);
    } catch (error) {
      results.push({ name: contestant.name, unsupported: reasonOf(error) });
      return undefined;
    }
  };
  const [batch, bytes] = item.reference ?? [];
  const first = batch === undefined ? undefined : await add({ name: 'C', open: (c) => inC(c, batch, bytes ?? 0) });
  try {
    for (const contestant of item.contestants) {
      const entry = await add(contestant);
      if (entry !== undefined) entries.push(entry);
    }
    for (let round = 0; round < options.rounds; round++) {
      for (const entry of entries) {
        const beside = first === undefined ? undefined : (await first.batch(first.ops)) / first.ops;
        entry.times.push((await entry.batch(entry.ops)) / entry.ops);
        if (beside === undefined) continue;
        first?.times.push(beside);
        entry.beside.push(beside);
      }
    }
  } finally {
    for (const { close } of entries) close();
  }
  const measured = (first === undefined || first.times.length === 0 ? entries : [first, ...entries]).map(summarise);
  return { id: item.id, title: item.title, results: [...measured, ...results] };
}
