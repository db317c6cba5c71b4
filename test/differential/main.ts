/** `npm run test:differential`: a long run, outside any test framework, so that it also runs where there is nothing but Node. */
import { setImmediate } from 'node:timers/promises';
import { type FaultReport, findFaults } from './find-faults.ts';
import { type Options, readOptions, USAGE } from './options.ts';
import { type Host, openHost } from './pair.ts';
import { disagreementText, runSuite, type SuiteReport } from './report.ts';
import { lacking, SUITES, type SuiteName, suiteOf } from './suites.ts';

const EXIT = { agree: 0, disagree: 1, usage: 2, unsupported: 4, interrupted: 130 } as const;

interface Document {
  readonly seed: number;
  readonly kernel: string;
  /** The release that is imitated. */
  readonly profile: string;
  readonly commands: number;
  readonly suites: readonly SuiteReport[];
  /** Planted mistakes; null when none were. */
  readonly faults: readonly FaultReport[] | null;
  readonly leftOut: readonly { readonly suite: SuiteName; readonly reason: string }[];
  readonly interrupted: boolean;
}

let interrupted = false;

/** One line that is overwritten, and nothing where nobody watches. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

/** Lets signals in between two sequences. Undefined when one came. */
async function drive<T>(steps: AsyncGenerator<number | string, T>, label: string): Promise<T | undefined> {
  for (;;) {
    const turn = await steps.next();
    if (turn.done === true) return turn.value;
    progress(`${label} ${turn.value}`);
    await setImmediate();
    if (interrupted) return undefined;
  }
}

const say = ({ json }: Options, text: string): void => {
  if (!json) process.stdout.write(`${text}\n`);
};

async function runSuites(host: Host, names: readonly SuiteName[], options: Options): Promise<SuiteReport[]> {
  const done: SuiteReport[] = [];
  const share = Math.ceil(options.commands / names.length);
  for (const name of names) {
    // Each suite has commands of its own type.
    const run = <N extends SuiteName>(suite: N) =>
      runSuite(suite, suiteOf(host, suite), { ...options, commands: share });
    const report = await drive(run(name), `${name} (of ${share})`);
    progress('');
    if (report === undefined) break;
    done.push(report);
    const { commands, seconds, disagreements } = report;
    const found = disagreements.length === 0 ? 'no disagreement' : `${disagreements.length} disagreements`;
    say(options, `${name}: ${commands} commands in ${seconds.toFixed(1)} s, ${found}`);
    for (const one of disagreements)
      say(
        options,
        `
${disagreementText(name, one)}`,
      );
  }
  return done;
}

async function plantFaults(host: Host, names: readonly SuiteName[], options: Options): Promise<FaultReport[] | null> {
  if (!options.faults) return null;
  const found: FaultReport[] = [];
  for (const name of names) {
    for (const one of findFaults(host, name, options.seed)) {
      const report = await drive(one.steps, `fault "${one.name}"`);
      progress('');
      if (report === undefined) return found;
      found.push(report);
      const verdict = report.foundAfter === null ? 'NOT FOUND' : `found after ${report.foundAfter} commands`;
      say(options, `planted in ${name}: ${report.name}: ${verdict}`);
    }
  }
  return found;
}

function statusOf({ suites, faults, interrupted: stopped }: Document): number {
  if (stopped) return EXIT.interrupted;
  const failed =
    suites.some(({ disagreements }) => disagreements.length > 0) ||
    faults?.some(({ foundAfter }) => foundAfter === null);
  return failed === true ? EXIT.disagree : EXIT.agree;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(`${USAGE}\n`);
    return EXIT.agree;
  }
  const host = openHost();
  if (typeof host === 'string') {
    process.stderr.write(`no real kernel to compare with: ${host}\n`);
    return EXIT.unsupported;
  }
  const wanted = options.suites.length > 0 ? options.suites : SUITES;
  const leftOut = wanted.flatMap((suite) => {
    const reason = lacking(host, suite);
    return reason === undefined ? [] : [{ suite, reason }];
  });
  const names = wanted.filter((name) => lacking(host, name) === undefined);
  const { seed } = options;
  const guests =
    host.kvm === undefined ? '' : host.kvm.hardware ? ', guests on a processor' : ', guests emulated by KVM';
  say(options, `seed ${seed}; Linux ${host.real.release}${guests}; simulated as ${host.profile.release}`);
  for (const { suite, reason } of leftOut) say(options, `left out: ${suite}: ${reason}`);
  if (names.length === 0) return EXIT.unsupported;
  const suites = await runSuites(host, names, options);
  const faults = interrupted ? null : await plantFaults(host, names, options);
  const commands = suites.reduce((sum, one) => sum + one.commands, 0);
  const kernel = host.real.release;
  const document: Document = {
    seed,
    kernel,
    profile: host.profile.release,
    commands,
    suites,
    faults,
    leftOut,
    interrupted,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
  else say(options, interrupted ? 'interrupted' : `${commands} commands in all, seed ${seed}`);
  return statusOf(document);
}

process.once('SIGINT', () => {
  interrupted = true;
  // Again: at once.
  process.once('SIGINT', () => process.exit(EXIT.interrupted));
});

try {
  process.exitCode = await main();
} catch (error) {
  progress('');
  if (!(error instanceof RangeError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = EXIT.usage;
}
