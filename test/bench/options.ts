/** The command line. */
import { parseArgs } from 'node:util';

export interface Options {
  readonly json: boolean;
  readonly write: boolean;
  readonly filter: string;
  readonly rounds: number;
  /** How long one batch is to take. */
  readonly batchMs: number;
}

export const USAGE = `usage: npm run bench -- [options]
  --filter <text>   only items whose id contains the text, e.g. ioctl, copy-out
  --rounds <n>      rounds of each contestant (default 25)
  --quick           5 rounds of short batches: to see that it works, not to compare
  --json            one JSON document instead of the table
  --write           put the table into docs/performance.md
  --help            this text`;

const ROUNDS = { full: 25, quick: 5 };
const BATCH_MS = { full: 20, quick: 3 };

/** Throws a TypeError or RangeError for what it does not understand; undefined when help was asked for. */
export function readOptions(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      filter: { type: 'string', default: '' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const pace = values.quick ? 'quick' : 'full';
  const rounds = values.rounds === undefined ? ROUNDS[pace] : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds must be a positive integer`);
  if (values.write && values.filter !== '') throw new RangeError('--write takes the whole run: leave --filter out');
  return { json: values.json, write: values.write, filter: values.filter, rounds, batchMs: BATCH_MS[pace] };
}
