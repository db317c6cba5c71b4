/** `privmem vm --build` and `--releases`: kernels for testing, from source. */
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import { buildKernel } from '../../testvm/build/build.ts';
import { DEBUG_FLAGS, type DebugFlag } from '../../testvm/build/options.ts';
import { progressOn } from '../../testvm/build/progress.ts';
import { listReleases } from '../../testvm/build/source.ts';
import { cacheDirectory } from '../../testvm/cache.ts';
import type { TestArch } from '../../testvm/words.ts';
import { EXIT } from '../exit-status.ts';
import type { Session } from '../session.ts';
import { formatTable } from '../table.ts';

export interface VmBuildOptions {
  readonly build?: boolean;
  readonly releases?: boolean;
  readonly arch?: TestArch;
  readonly patch: readonly string[];
  readonly config: readonly string[];
  readonly debug: readonly DebugFlag[];
  readonly name?: string;
  readonly suite?: readonly string[];
  readonly mirror?: string;
  readonly update?: boolean;
  readonly jobs?: number;
}

const collect = (value: string, all: readonly string[] | undefined): readonly string[] => [...(all ?? []), value];

function parseDebug(text: string, all: readonly DebugFlag[]): readonly DebugFlag[] {
  const flags = text.split(',').map((word) => {
    if (!Object.hasOwn(DEBUG_FLAGS, word))
      throw new InvalidArgumentError(`one of ${Object.keys(DEBUG_FLAGS).join(', ')}`);
    return word as DebugFlag;
  });
  return [...new Set([...all, ...flags])];
}

function parseJobs(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('a positive number');
  return Number(text);
}

const warn = (session: Session, text: string): void => {
  process.stderr.write(`privmem vm: ${session.style.paint('yellow', 'warning')}: ${text}\n`);
};

export async function build(session: Session, options: VmBuildOptions, operands: readonly string[]): Promise<number> {
  const [source, ...rest] = operands;
  if (source === undefined || rest.length > 0) {
    throw new RangeError('one source: privmem vm --build RELEASE|TREE|TARBALL, such as 7.3');
  }
  const progress = progressOn(process.stderr, 'privmem vm: ');
  const { arch, name, mirror, update, jobs } = options;
  const result = await buildKernel({
    ...{ source, arch, name, mirror, update, jobs, suites: options.suite },
    ...{ patches: options.patch, configs: options.config, debug: options.debug },
    signal: session.interrupt,
    onStage: (text) => progress.stage(text),
    onLine: (line) => progress.line(line),
    onWarning: (text) => {
      progress.done();
      warn(session, text);
    },
  }).finally(() => progress.done());
  const { kernel, cached, seconds, absent } = result;
  if (absent.length > 0)
    process.stderr.write(`privmem vm: options of ours that this release has not got:\n  ${absent.join('\n  ')}\n`);
  if (session.json) {
    session.document(result);
    return EXIT.done;
  }
  session.say(
    `${kernel.name} (${kernel.arch}): Linux ${kernel.release}, ${cached ? 'in the cache already' : `built in ${seconds.toFixed(0)} s`}`,
  );
  session.say(`image   ${kernel.image}`);
  session.say(`config  ${kernel.config}`);
  session.say(`log     ${kernel.log}`);
  session.say(
    `run it: privmem vm --kernel ${kernel.name}${options.arch === undefined ? '' : ` --arch ${kernel.arch}`} -- COMMAND…`,
  );
  return EXIT.done;
}

export async function releases(session: Session, options: VmBuildOptions): Promise<number> {
  const progress = progressOn(process.stderr, 'privmem vm: ');
  const found = await listReleases(
    { suites: options.suite, mirror: options.mirror },
    {
      cache: cacheDirectory(),
      signal: session.interrupt,
      onStage: (text) => progress.stage(text),
      onLine: () => {},
    },
  ).finally(() => progress.done());
  if (session.json) {
    session.document({ releases: found });
    return EXIT.done;
  }
  const rows = found.flatMap(({ release, packages }) =>
    packages.map(({ version, suites }) => [release, version, suites.join(', ')]),
  );
  const columns = ['release', 'package', 'suites'].map((title) => ({ title }));
  for (const line of formatTable(columns, rows)) session.say(line);
  return EXIT.done;
}

/** The options that only these two have. */
export function addBuildOptions(command: Command): Command {
  return command
    .option('--build', 'build a kernel from a release name, a source tree or a tarball; it is kept in the cache')
    .option('--releases', "the releases that Debian's suites offer as source packages")
    .option('--patch <file>', 'with --build: apply a unified diff (-p1); may be repeated', collect, [])
    .option('--config <file>', 'with --build: a fragment of a .config; may be repeated, the last wins', collect, [])
    .addOption(
      new Option('--debug <flags>', `with --build: ${Object.keys(DEBUG_FLAGS).join(', ')}; separated by commas`)
        .argParser<readonly DebugFlag[]>(parseDebug)
        .default([], 'none'),
    )
    .option('--name <name>', 'with --build: what to call it (default: source, flags and patches)')
    .option('--suite <name>', "with --build and --programs: Debian's suite to look in, may be repeated", collect)
    .option('--mirror <url>', "with --build and --programs: Debian's mirror")
    .option('--update', 'with --build: look for a newer package of the release than the one in the cache')
    .option('--jobs <n>', 'with --build: parallel jobs (default: one for each processor)', parseJobs);
}
