/** `privmem compare`: the same intents under every design and technology. */
import { type Command, Option } from 'commander';
import { hostCandidate, type KernelCandidate, simulationCandidate } from '../../kernel/candidates.ts';
import { UnsupportedError } from '../../kernel/errors.ts';
import { type Cell, compare } from '../../lifecycle/compare.ts';
import { DESIGN_NAMES, TECHNOLOGY_NAMES } from '../../lifecycle/pairs.ts';
import type { Step } from '../../lifecycle/words.ts';
import { markdownOf, storyMarkdown } from '../../report/markdown.ts';
import { reportPage } from '../../report/page.ts';
import { storyOf } from '../../report/story.ts';
import { EXIT } from '../exit-status.ts';
import {
  intentsText,
  matrixText,
  pairsText,
  type Screen,
  screenWidth,
  stepNames,
  storyText,
} from '../pretty-compare.ts';
import { commandLine, ReportFile } from '../report-file.ts';
import { type CommonOptions, runInSession, type Session } from '../session.ts';
import { parseSize } from '../units.ts';

const FORMATS = ['pretty', 'json', 'markdown', 'html'] as const;

interface CompareCommandOptions extends CommonOptions {
  readonly backend: 'auto' | 'kvm' | 'sim';
  readonly design: readonly string[];
  readonly technology: readonly string[];
  readonly intent: readonly string[];
  readonly format: (typeof FORMATS)[number];
  readonly size: number;
  readonly report?: string;
  readonly explain?: readonly string[];
}

const more = (text: string, all: readonly string[]): string[] => [...all, text];

/** The names asked for, in the order of the vocabulary; all of them if none is. */
function chosen(option: string, asked: readonly string[], known: readonly string[]): string[] {
  const unknown = asked.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new RangeError(`${option} ${unknown}: there are ${known.join(', ')}`);
  return known.filter((name) => asked.length === 0 || asked.includes(name));
}

interface Pairs {
  readonly designs: readonly string[];
  readonly technologies: readonly string[];
}

function pairsOf({ design, technology, explain }: CompareCommandOptions): Pairs {
  if (explain === undefined) {
    return {
      designs: chosen('--design', design, DESIGN_NAMES),
      technologies: chosen('--technology', technology, TECHNOLOGY_NAMES),
    };
  }
  const [one, other, ...rest] = explain;
  if (one === undefined || other === undefined || rest.length > 0)
    throw new RangeError(`--explain takes two names: --explain DESIGN TECHNOLOGY, got ${explain.join(' ')}`);
  if (design.length > 0 || technology.length > 0)
    throw new RangeError('--explain names its pair: --design and --technology do not go with it');
  return {
    designs: chosen('--explain', [one], DESIGN_NAMES),
    technologies: chosen('--explain', [other], TECHNOLOGY_NAMES),
  };
}

function kernelsFor(session: Session, backend: CompareCommandOptions['backend']): KernelCandidate[] {
  const trace = session.traceTo();
  const kernels: KernelCandidate[] = [];
  if (backend !== 'sim') kernels.push(hostCandidate(trace));
  if (backend !== 'kvm') kernels.push(simulationCandidate(trace));
  return kernels;
}

/** The cells as the contract has them. No kernel carried a pair out: no backend. */
const documentOf = (cells: readonly Cell[]) => ({
  cells: cells.map(({ design, technology, backend, supported, reason, steps }) => ({
    design,
    technology,
    backend: backend ?? null,
    supported,
    ...(reason === undefined ? {} : { reason }),
    steps,
  })),
});

async function carryOut(options: CompareCommandOptions, session: Session, pairs: Pairs): Promise<Cell[]> {
  const order = pairs.designs.flatMap((design) => pairs.technologies.map((technology) => `${design} × ${technology}`));
  const progress = process.stderr.isTTY === true;
  let done = 0;
  const show = (): void => {
    if (progress && done < order.length) process.stderr.write(`\r\u001b[K${done + 1}/${order.length} ${order[done]} …`);
  };
  show();
  try {
    const { cells } = await compare({
      kernels: kernelsFor(session, options.backend),
      ...pairs,
      size: options.size,
      signal: session.interrupt,
      onCell: () => {
        done++;
        show();
      },
    });
    return [...cells];
  } finally {
    if (progress) process.stderr.write('\r\u001b[K');
  }
}

function filtered(cells: readonly Cell[], intents: readonly string[]): Cell[] {
  if (intents.length === 0) return [...cells];
  const names = new Set(cells.flatMap(({ steps }) => steps.map(({ name }) => name)));
  // A whole name means that step; anything else, every step whose name contains it.
  const wanted = (name: string): boolean =>
    intents.some((text) => (names.has(text) ? name === text : name.includes(text)));
  if (names.size > 0 && ![...names].some(wanted))
    throw new RangeError(`--intent ${intents.join(' ')} matches none of ${[...names].join(', ')}`);
  return cells.map((cell) => ({ ...cell, steps: cell.steps.filter(({ name }) => wanted(name)) }));
}

function write(session: Session, options: CompareCommandOptions, all: readonly Cell[]): void {
  const { format, intent, explain } = options;
  const cells = filtered(all, intent);
  const [only] = all;
  const wanted = new Set(stepNames(cells));
  const told = intent.length === 0 ? undefined : ({ name }: Step): boolean => wanted.has(name);
  const story = explain === undefined || only === undefined ? undefined : storyOf(only, told);
  // Columns for the steps of each pair are readable for one row or one column of the matrix.
  const few =
    new Set(all.map(({ design }) => design)).size === 1 || new Set(all.map(({ technology }) => technology)).size === 1;
  const title = explain === undefined ? 'Designs and technologies compared' : `Compared: ${explain.join(' with ')}`;
  const page = (): string => reportPage({ title, runs: cells, command: commandLine() });
  if (options.report !== undefined) {
    const file = new ReportFile(options.report);
    file.write(page());
    process.stderr.write(`report: ${file.path}\n`);
  }
  if (format === 'json') session.document(documentOf(cells));
  else if (format === 'html') process.stdout.write(page());
  else if (format === 'markdown')
    process.stdout.write(story === undefined ? markdownOf(cells, few) : storyMarkdown(story));
  else {
    const screen: Screen = { style: session.style, width: screenWidth(process.stdout) };
    for (const line of story === undefined ? tables(cells, intent, few, screen) : storyText(story, screen))
      session.say(line);
  }
}

/** Steps that a table has room for in columns of their own. */
const FEW_STEPS = 6;

/** The matrix, and step by step where that is readable; only the latter where some steps are asked for. */
function tables(cells: readonly Cell[], intent: readonly string[], few: boolean, screen: Screen): string[] {
  if (cells.every(({ supported }) => !supported)) return matrixText(cells, screen);
  if (intent.length > 0 && stepNames(cells).length <= FEW_STEPS) return pairsText(cells, screen);
  if (intent.length > 0 && few) return intentsText(cells, screen);
  return few ? [...matrixText(cells, screen), '', ...intentsText(cells, screen)] : matrixText(cells, screen);
}

function statusOf(cells: readonly Cell[]): number {
  if (cells.every(({ supported }) => !supported)) return EXIT.unsupported;
  return cells.some(({ passed }) => passed === false) ? EXIT.failed : EXIT.done;
}

async function run(session: Session, options: CompareCommandOptions): Promise<number> {
  const pairs = pairsOf(options);
  // Told before minutes of work, not after.
  if (options.report !== undefined) new ReportFile(options.report);
  const cells = await carryOut(options, session, pairs);
  write(session, options, cells);
  const status = statusOf(cells);
  const [{ design = '', technology = '', reason = '' } = {}] = cells;
  if (status === EXIT.unsupported && cells.length === 1 && options.format !== 'json')
    throw new UnsupportedError(`design ${design} with technology ${technology}`, reason, 'see `privmem compare`');
  return status;
}

export function addCompare(program: Command): void {
  program
    .command('compare')
    .description('the same intents under every design and technology, each pair on the best kernel that has it')
    .addOption(
      new Option('--backend <kind>', 'the kernels to run on; auto: this host if it can, else a simulated one')
        .choices(['auto', 'kvm', 'sim'])
        .default('auto'),
    )
    .option('--design <name>', `${DESIGN_NAMES.join(', ')}; may be given again`, more, [])
    .option('--technology <name>', `${TECHNOLOGY_NAMES.join(', ')}; may be given again`, more, [])
    .option(
      '--intent <text>',
      'show only the step of that name, or those whose name contains it; may be given again',
      more,
      [],
    )
    .option('--size <bytes>', 'private memory, a multiple of 4096; K, M and G are understood', parseSize, 2 ** 16)
    .addOption(new Option('--format <name>', 'how results are written').choices(FORMATS).default('pretty'))
    .option('--json', 'the same as --format json')
    .option('--report <file>', 'a page of HTML: the matrix, and the memory over time of each pair')
    .option('--explain <names...>', 'the story of one pair in words: --explain DESIGN TECHNOLOGY')
    .option('--trace [file]', 'every system call: lines on stderr, or JSON lines into --trace=FILE')
    .addHelpText(
      'after',
      '\nExit status: 0 each step as promised; 1 a step is not; 2 wrong usage; 4 no pair is supported here; 130 interrupted.',
    )
    .action((given: CompareCommandOptions) => {
      const options: CompareCommandOptions = given.json ? { ...given, format: 'json' } : given;
      return runInSession({ ...options, json: options.format === 'json' }, (session) => run(session, options));
    });
}
