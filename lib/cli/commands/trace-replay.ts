/** `privmem trace replay`: a recorded trace on another kernel. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UnsupportedError } from '../../kernel/errors.ts';
import {
  type Backend,
  kvmAccess,
  nearestRelease,
  SIM_RELEASES,
  type SimRelease,
  type SimulateOptions,
} from '../../kernel/select.ts';
import type { Recording } from '../../trace/recording.ts';
import { replayTrace } from '../../trace/replay.ts';
import { isFaithful, type ReplayedCall, type ReplayReport } from '../../trace/replay-report.ts';
import { KVM_CAP, KVM_CHECK_EXTENSION } from '../../uapi/index.ts';
import { EXIT } from '../exit-status.ts';
import { type CommonOptions, Interrupted, runInSession, type Session } from '../session.ts';
import { pickRecording, showTexts } from '../trace-files.ts';
import { parseSize } from '../units.ts';

interface ReplayCommandOptions extends CommonOptions {
  readonly backend: Backend;
  readonly release?: SimRelease;
  readonly open: readonly string[];
  readonly memory?: number;
  readonly runLimit?: number;
  readonly undeclared?: boolean;
  readonly recording: number;
}

/** A machine like the recorded one: its release, and software-protected VMs only where that one had them. */
function machineOf({ kernel, calls }: Recording, release: SimRelease | undefined): SimulateOptions {
  const { KVM_CAP_VM_TYPES } = KVM_CAP.value;
  const types = calls.find(
    ({ call, args }) => call === 'ioctl' && args[1] === KVM_CHECK_EXTENSION.request && args[2] === KVM_CAP_VM_TYPES,
  )?.result;
  const SW_PROTECTED = 2;
  const chosen = release ?? nearestRelease(kernel.release);
  const without = types === undefined || (types & SW_PROTECTED) === 0;
  return { arch: kernel.arch, release: chosen, ...(without ? { technologies: [] } : {}) };
}

function obstacleOf(recording: Recording): UnsupportedError | undefined {
  const needsKvm = recording.calls.some(({ call, args }) => call === 'open' && args[0] === '/dev/kvm');
  const access = kvmAccess();
  if (!needsKvm || access === 'usable') return undefined;
  return new UnsupportedError('/dev/kvm', access, 'replay with --backend sim, or where /dev/kvm can be opened');
}

function show(session: Session, report: ReplayReport, why: string): void {
  const { paint } = session.style;
  const { recorded, on, calls, same, different, processor, skipped, opened, unwatched } = report;
  const kernelText = ({ backend, release, arch }: ReplayReport['on']): string =>
    `${backend} (Linux ${release}, ${arch})`;
  session.say(`${paint('bold', 'replay')}  of ${kernelText(recorded)} on ${kernelText(on)}; ${why}`);
  const paths = new Set(opened.map(({ path, result }) => `${path}${result < 0 ? ', in vain' : ''}`));
  for (const path of paths) session.say(`opened  ${path}`);
  for (const call of unwatched) {
    session.say(paint('yellow', `call ${call.n}: what the host wrote through this view was not recorded`));
  }
  session.say();
  for (const { call, differences } of different) {
    session.say(`${paint('red', 'differs')}  ${showTexts(call)}`);
    for (const { what, expected, got } of differences)
      session.say(`           ${what}: recorded ${expected}, here ${got}`);
  }
  for (const { call, reason } of skipped) {
    session.say(`${paint('yellow', 'not made')} ${showTexts(call)}`);
    session.say(`           ${reason}`);
  }
  if (different.length + skipped.length > 0) session.say();
  const parts = [`${same} the same`, `${different.length} different`, `${skipped.length} not made`];
  if (processor.length > 0) parts.push(`${processor.length} about another processor`);
  session.say(paint(isFaithful(report) ? 'green' : 'red', `${calls} calls: ${parts.join(', ')}`));
}

function document(report: ReplayReport, why: string): object {
  const { different, processor, skipped, unwatched, same, calls, ...rest } = report;
  const brief = ({ call, differences }: ReplayedCall): object => ({
    n: call.n,
    line: call.line,
    text: call.text,
    differences,
  });
  return {
    ...rest,
    why,
    passed: isFaithful(report),
    calls,
    same,
    different: different.map(brief),
    processor: processor.map(brief),
    skipped: skipped.map(({ call, reason }) => ({ n: call.n, line: call.line, text: call.text, reason })),
    unwatched: unwatched.map(({ n }) => n),
  };
}

async function replay(session: Session, file: string, options: ReplayCommandOptions): Promise<number> {
  const recording = pickRecording(file, options.recording);
  const { sys, why } = await session.selectKernel({
    backend: options.backend,
    obstacle: () => obstacleOf(recording),
    simulate: machineOf(recording, options.release),
  });
  const report = await replayTrace(recording, sys.kernel, {
    signal: session.interrupt,
    open: options.open,
    memoryLimit: options.memory,
    runLimitMs: options.runLimit,
    undeclared: options.undeclared,
  });
  if (report.interrupted) throw new Interrupted();
  if (session.json) session.document(document(report, why));
  else show(session, report, why);
  return isFaithful(report) ? EXIT.done : EXIT.failed;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0) || seconds > 86_400) throw new InvalidArgumentError('a number of seconds');
  return seconds * 1000;
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('a number from 1');
  return Number(text);
}

export function addReplay(trace: Command): void {
  trace
    .command('replay')
    .description('make the calls of a trace on another kernel; lists every call whose outcome differs')
    .argument('<file>', 'what --trace=FILE wrote')
    .addOption(new Option('--backend <kind>', 'the kernel to run on').choices(['auto', 'kvm', 'sim']).default('auto'))
    .addOption(
      new Option('--release <version>', 'the kernel that a simulation imitates; default: the recorded one').choices(
        SIM_RELEASES,
      ),
    )
    .option(
      '--open <path>',
      'a path that may be opened besides /dev/kvm; may be given again',
      (path: string, paths: readonly string[]) => [...paths, path],
      [],
    )
    .option('--memory <size>', 'memory that one call may take; default: half of what is free', parseSize)
    .option(
      '--run-limit <seconds>',
      'how long one KVM_RUN may take; default: 10, or 20 times the recorded time',
      parseSeconds,
    )
    .option('--undeclared', 'make requests that no table describes, with their bytes as recorded')
    .option('--recording <number>', 'which recording of the file, where it holds several', parseCount, 1)
    .option('--json', 'one JSON document on stdout, everything else on stderr')
    .option('--trace [file]', 'every system call: lines on stderr, or JSON lines into --trace=FILE')
    .action((file: string, options: ReplayCommandOptions) =>
      runInSession(options, (session) => replay(session, file, options)),
    );
}
