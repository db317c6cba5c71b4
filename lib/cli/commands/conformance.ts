/** `privmem conformance`: the scenarios against a kernel. */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { compareReports, parseReport } from '../../conformance/compare.ts';
import { junit } from '../../conformance/format/junit.ts';
import { Ktap } from '../../conformance/format/ktap.ts';
import { loadModules } from '../../conformance/modules.ts';
import { type ConformanceReport, reportOf } from '../../conformance/report.ts';
import type { ScenarioResult } from '../../conformance/run.ts';
import type { Scenario } from '../../conformance/scenario.ts';
import { SCENARIOS, selectScenarios } from '../../conformance/scenarios/index.ts';
import { supervise } from '../../conformance/supervise.ts';
import { UnsupportedError } from '../../kernel/errors.ts';
import { type Backend, SIM_RELEASES, type SimRelease } from '../../kernel/select.ts';
import type { Sys } from '../../kernel/sys.ts';
import { Kvm } from '../../kvm/kvm.ts';
import { EXIT } from '../exit-status.ts';
import { Pretty } from '../pretty-conformance.ts';
import { type CommonOptions, runInSession, type Session } from '../session.ts';

const FORMATS = ['pretty', 'ktap', 'json', 'junit'] as const;

interface ConformanceOptions extends CommonOptions {
  readonly list?: boolean;
  readonly filter: readonly string[];
  readonly format: (typeof FORMATS)[number];
  readonly backend: Backend;
  readonly release?: SimRelease;
  readonly repeat: number;
  readonly seed?: number;
  readonly bail?: boolean;
  readonly kmsg?: boolean;
  readonly compare?: string;
  readonly also: readonly string[];
}

const isDocument = (format: string): boolean => format !== 'pretty';

function whole(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('a whole number');
  return value;
}

const atLeastOne = (text: string): number => whole(text) || whole('');

const urlsOf = (files: readonly string[]): string[] => files.map((file) => pathToFileURL(file).href);
const more = (text: string, all: readonly string[]): string[] => [...all, text];

function noKvm(sys: Sys): UnsupportedError | undefined {
  try {
    Kvm.open(sys).close();
    return undefined;
  } catch (error) {
    if (error instanceof UnsupportedError) return error;
    throw error;
  }
}

function list(session: Session, options: ConformanceOptions, all: readonly Scenario[]): number {
  const chosen = selectScenarios(options.filter, all);
  if (isDocument(options.format)) session.document(chosen.map(({ name, promise }) => ({ name, promise })));
  else for (const { name, promise } of chosen) session.say(`${name}  ${session.style.paint('dim', promise)}`);
  return EXIT.done;
}

async function carryOut(session: Session, options: ConformanceOptions, all: readonly Scenario[]): Promise<number> {
  const chosen = selectScenarios(options.filter, all);
  if (chosen.length === 0) throw new RangeError(`no scenario matches ${options.filter.join(', ')}; see --list`);
  const simulate = options.release === undefined ? {} : { release: options.release };
  // Chosen here, once: the child must not choose anew when it is started again.
  const { sys, why } = await session.selectKernel({ backend: options.backend, obstacle: noKvm, simulate });
  const { backend, release, arch } = sys.kernel;
  if (backend === 'kvm') {
    const lack = noKvm(sys);
    if (lack !== undefined) throw lack;
  }
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  const { format } = options;
  const identity = `Linux ${release}, ${arch}, backend ${backend} (${why})`;
  const ktap =
    format === 'ktap'
      ? new Ktap(
          chosen.map(({ name }) => name),
          (line) => process.stdout.write(`${line}\n`),
        )
      : undefined;
  const pretty = new Pretty(session, chosen.length, format === 'pretty');
  pretty.begin(`${identity}, seed ${seed}`);
  const add = (result: ScenarioResult): void => {
    ktap?.add(result);
    pretty.add(result);
  };
  const run = await supervise(chosen, {
    kernel: { backend, simulate, trace: options.trace ?? false },
    seed,
    repeat: options.repeat,
    bail: options.bail ?? false,
    kmsg: options.kmsg ?? false,
    modules: urlsOf(options.also),
    signal: session.interrupt,
    onStart: (name) => pretty.start(name),
    onResult: add,
  }).finally(() => pretty.clear());
  const report = reportOf(run, seed);
  if (ktap !== undefined) ktap.end();
  else if (format === 'json') session.document(report);
  else if (format === 'junit') process.stdout.write(`${junit(report)}\n`);
  pretty.end(report);
  return report.totals.failed > 0 ? EXIT.failed : EXIT.done;
}

function readReport(path: string): ConformanceReport {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new RangeError(`${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RangeError(`${path}: no JSON (${error instanceof Error ? error.message : String(error)})`, {
      cause: error,
    });
  }
  return parseReport(value, path);
}

function compare(session: Session, [first, second, ...more]: readonly string[], json: boolean): number {
  if (first === undefined || second === undefined || more.length > 0)
    throw new RangeError('--compare takes two files: --compare A.json B.json');
  const [a, b] = [readReport(first), readReport(second)];
  const differences = compareReports(a, b);
  const name = ({ kernel, arch, backend }: ConformanceReport) => ({ kernel, arch, backend });
  if (json) session.document({ a: name(a), b: name(b), differences });
  else {
    const { paint } = session.style;
    const words = (run: ConformanceReport) => `Linux ${run.kernel} (${run.backend}, ${run.arch})`;
    session.say(`A ${words(a)}\nB ${words(b)}`);
    for (const { name, a: left, b: right } of differences) {
      session.say(`${paint('bold', name)}: ${left?.outcome ?? 'absent'} on A, ${right?.outcome ?? 'absent'} on B`);
      if (left?.detail !== undefined) session.say(`    A: ${left.detail}`);
      if (right?.detail !== undefined) session.say(`    B: ${right.detail}`);
    }
    session.say(differences.length === 0 ? 'no difference' : `${differences.length} behaviours differ`);
  }
  return differences.length === 0 ? EXIT.done : EXIT.failed;
}

export function addConformance(program: Command): void {
  program
    .command('conformance')
    .description(
      `carry out the ${SCENARIOS.length} scenarios against a kernel; each is one behaviour, with where it is promised`,
    )
    .argument('[files...]', 'with --compare: the second document')
    .option('--list', 'names and promises, without running anything')
    .option(
      '--filter <text>',
      'scenarios whose name contains it; with * a pattern for the whole name; may be given again',
      more,
      [],
    )
    .option('--also <module>', 'scenarios of your own: a module that exports SCENARIOS; may be given again', more, [])
    .addOption(new Option('--format <name>', 'how results are written').choices(FORMATS).default('pretty'))
    .option('--json', 'the same as --format json')
    .addOption(new Option('--backend <kind>', 'the kernel to run on').choices(['auto', 'kvm', 'sim']).default('auto'))
    .addOption(new Option('--release <version>', 'the kernel that a simulation imitates').choices(SIM_RELEASES))
    .option('--repeat <times>', 'carry out each scenario so often', atLeastOne, 1)
    .option('--seed <number>', 'of the random numbers; printed with every run', whole)
    .option('--bail', 'end after the first failure')
    .option('--kmsg', "mark each scenario in the kernel's log, to see on a console which one a kernel did not survive")
    .option('--compare <A.json>', 'which behaviours differ between two JSON documents: --compare A.json B.json')
    .option('--trace [file]', 'every system call: lines on stderr, or JSON lines into --trace=FILE')
    .addHelpText(
      'after',
      '\nExit status: 0 nothing failed; 1 a behaviour is not as promised (with --compare: behaviours differ); 2 wrong usage; 4 not supported here; 130 interrupted.',
    )
    .action((files: readonly string[], given: ConformanceOptions) => {
      const options: ConformanceOptions = given.json ? { ...given, format: 'json' } : given;
      return runInSession({ ...options, trace: false, json: isDocument(options.format) }, async (session) => {
        if (options.compare !== undefined)
          return compare(session, [options.compare, ...files], options.format === 'json');
        if (files.length > 0) throw new RangeError(`${files.join(' ')}: files are for --compare`);
        const all = [...SCENARIOS, ...(await loadModules(urlsOf(options.also)))];
        return options.list ? list(session, options, all) : carryOut(session, options, all);
      });
    });
}
