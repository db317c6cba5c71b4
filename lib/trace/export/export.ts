/** A recorded trace as a program in C that makes the same calls and says of each whether it met the same outcome. */
import { FdKinds } from '../kinds.ts';
import { planOf, type Step } from '../plan.ts';
import type { RecordedCall, Recording } from '../recording.ts';
import { Context } from './c-context.ts';
import { emitIoctl } from './c-ioctl.ts';
import { emitPlain, emitWrites } from './c-plain.ts';
import { catchesFaults, INCLUDES, prelude } from './c-prelude.ts';
import { emitAttach, emitDetach, emitKick, emitRun, emitStart } from './c-run.ts';
import { comment, hex, indent } from './c-text.ts';
import { guestCode } from './code.ts';

export interface ExportedTrace {
  readonly source: string;
  /** Calls that could not be written, with the reason in the source. */
  readonly left: readonly RecordedCall[];
}

/** Calls in one function: compilers take long over very large ones. */
const PER_FUNCTION = 60;

function lineOf(call: RecordedCall): string {
  return `// ${call.n}: ${comment(call.text)}`;
}

function emitCall(context: Context, call: RecordedCall): string[] | undefined {
  switch (call.call) {
    case 'ioctl':
      return emitIoctl(context, call);
    case 'vcpuAttach':
      return emitAttach(context, call);
    case 'vcpuDetach':
      return emitDetach(context, call);
    default:
      return emitPlain(context, call);
  }
}

/** While a guest runs, what the host does comes when it came in the recording. */
function pause(micros: number): string[] {
  const LEAST_US = 1000;
  const LONGEST_US = 5_000_000;
  return micros < LEAST_US
    ? []
    : [`usleep(${Math.min(Math.round(micros), LONGEST_US)}); // as long as in the recording`];
}

/** The lines of each step. A run that nothing happens during needs no thread. */
function* stepLines(steps: readonly Step[], context: Context, left: RecordedCall[]): Generator<string[]> {
  const threaded = new Set<RecordedCall>();
  /** Runs under way in threads, and when the last thing happened while one was. */
  const underWay = new Set<RecordedCall>();
  let last = 0;
  for (const [i, step] of steps.entries()) {
    const { call } = step;
    const next = steps[i + 1];
    if (step.kind === 'start') {
      if (next?.kind === 'end' && next.call === call) continue;
      threaded.add(call);
      underWay.add(call);
      last = call.at;
      yield [`// ${call.n}: begins here`, ...emitStart(context, call)];
      continue;
    }
    let lines: string[] | undefined;
    underWay.delete(call);
    const delay = underWay.size === 0 || step.kind === 'end' ? [] : pause(call.at - last);
    if (underWay.size > 0) last = Math.max(last, call.at);
    if (step.kind === 'end') lines = emitRun(context, call, threaded.has(call));
    else if (step.kind === 'kick') lines = emitKick(context, call, step.during);
    else if (call.call === 'vcpuRun') lines = emitRun(context, call, false);
    else {
      const writes = emitWrites(context, call);
      const own = emitCall(context, call);
      lines = own === undefined ? undefined : [...writes, ...own];
    }
    if (lines === undefined) left.push(call);
    context.kinds.follow(call);
    yield [lineOf(call), ...delay, ...(lines ?? ['// left out: there is no safe way to write this call'])];
  }
}

function header(recording: Recording, calls: number): string[] {
  const { backend, release, arch } = recording.kernel;
  const kernel = `${backend === 'sim' ? 'a simulated kernel' : 'Linux'} ${comment(release)} (${arch})`;
  return [
    '/*',
    ` * ${calls} system calls and memory accesses as they were recorded on ${kernel}.`,
    ' * Makes them again and prints one line for each: what was called, what was expected, what came.',
    ' * Exit status 0 if all is as recorded, 1 if not.',
    ' *',
    ' * cc -Wall -Wextra -pthread -o reproducer reproducer.c && ./reproducer',
    ' *',
    ' * Written by privmem trace export. Structs and numbers are its own, so that no new kernel headers are needed.',
    ' */',
  ];
}

const guard = (arch: 'x64' | 'arm64'): string[] =>
  arch === 'x64'
    ? ['#ifndef __x86_64__', '#error "recorded on x86-64"', '#endif']
    : ['#ifndef __aarch64__', '#error "recorded on arm64"', '#endif'];

const defineUnlessThere = ([name, value]: readonly [string, bigint | number]): string[] => [
  `#ifndef ${name}`,
  `#define ${name} ${hex(value)}`,
  '#endif',
];

/** Writes `recording` as C. Descriptors and addresses become variables; what is compared is what {@link replayTrace} compares. */
export function exportTrace(recording: Recording): ExportedTrace {
  const context = new Context(new FdKinds(recording), guestCode(recording), recording.kernel.arch);
  const left: RecordedCall[] = [];
  const steps = planOf(recording);
  const bodies = [...stepLines(steps, context, left)];
  const functions: string[] = [];
  const names: string[] = [];
  for (let at = 0; at < bodies.length; at += PER_FUNCTION) {
    const name = `calls_${names.length + 1}`;
    names.push(name);
    const lines = bodies.slice(at, at + PER_FUNCTION).flatMap((body) => [...body, '']);
    functions.push(`static void ${name}(void)`, '{', ...indent(lines.slice(0, -1)), '}', '');
  }
  const main = [
    'int main(void)',
    '{',
    ...(catchesFaults(context.helpers) ? ['\tcatch_faults();'] : []),
    '\tsetvbuf(stdout, NULL, _IOLBF, 0);',
    ...names.map((name) => `\t${name}();`),
    '\tprintf("%d calls, %d different\\n", calls, differing);',
    '\treturn differing == 0 ? 0 : 1;',
    '}',
  ];
  const source = [
    ...header(recording, recording.calls.length),
    INCLUDES,
    ...guard(recording.kernel.arch),
    '',
    ...[...context.syscalls].flatMap(([name, number]) => defineUnlessThere([`SYS_${name}`, number])),
    ...[...context.structs.names].flatMap(defineUnlessThere),
    ...[...context.requests].map(([name, value]) => `#define ${name} ${value}`),
    '',
    ...context.structs.lines(),
    prelude(context.helpers),
    ...[...context.tables.values()].flatMap((lines) => [...lines, '']),
    ...context.names.declarations,
    '',
    ...functions,
    ...main,
    '',
  ].join('\n');
  return { source, left };
}
