/** The command line of a differential run. */
import { SUITES, type SuiteName } from './suites.ts';

export interface Options {
  readonly commands: number;
  readonly seed: number;
  readonly suites: readonly SuiteName[];
  readonly most: number;
  /** Plant the mistakes of faults.ts, and find each. */
  readonly faults: boolean;
  readonly json: boolean;
}

export const USAGE = `Usage: npm run test:differential -- [options]

Carries out random commands on the simulation and on this host's kernel, and reports the first disagreement of each suite as a short
script. In a test kernel: node build/differential/test/differential/main.js [options]

  --commands N   how many in all (default 20000)
  --seed N       the first seed (default: from the clock); it is printed
  --suite NAMES  of ${SUITES.join(', ')}: separated by commas (default: what this host has)
  --most N       how many disagreements of each suite to report (default 1): the first usually hides others
  --faults       plant mistakes in the simulation, one at a time: each must be found
  --json         one document on stdout
  --help

Exit status: 0 no disagreement, 1 disagreements, 2 wrong usage, 4 not supported here.`;

const DEFAULT_COMMANDS = 20_000;
const SEEDS = 2 ** 32;

function whole(name: string, text: string | undefined, limit: number): number {
  const value = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value < limit)) throw new RangeError(`${name} must be a whole number below ${limit}, got ${text ?? 'nothing'}`);
  return value;
}

const isSuite = (name: string): name is SuiteName => (SUITES as readonly string[]).includes(name);

function suitesOf(text: string | undefined): readonly SuiteName[] {
  const names = (text ?? '').split(',');
  const unknown = names.find((name) => !isSuite(name));
  if (unknown !== undefined) throw new RangeError(`--suite knows ${SUITES.join(', ')}, not ${JSON.stringify(unknown)}`);
  return names.filter(isSuite);
}

/** Undefined when help is asked for. RangeError for what is not understood. */
export function readOptions(argv: readonly string[], now = Date.now()): Options | undefined {
  let options: Options = {
    commands: DEFAULT_COMMANDS,
    seed: now % 1_000_000,
    suites: [],
    most: 1,
    faults: false,
    json: false,
  };
  const rest = argv.flatMap((word) =>
    /^--\w+=/.test(word) ? [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)] : [word],
  );
  while (rest.length > 0) {
    const word = rest.shift();
    if (word === '--help') return undefined;
    else if (word === '--json') options = { ...options, json: true };
    else if (word === '--faults') options = { ...options, faults: true };
    else if (word === '--commands') options = { ...options, commands: whole(word, rest.shift(), 2 ** 40) };
    else if (word === '--most') options = { ...options, most: whole(word, rest.shift(), 1000) };
    else if (word === '--seed') options = { ...options, seed: whole(word, rest.shift(), SEEDS) };
    else if (word === '--suite') options = { ...options, suites: suitesOf(rest.shift()) };
    else throw new RangeError(`unknown option ${word}\n\n${USAGE}`);
  }
  return options;
}
