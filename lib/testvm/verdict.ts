/** From what was observed to the one word for it. */
import { consoleLines, findPanic, findSplats } from './splats.ts';
import type { Outcome, Splat, VmResult } from './words.ts';

/** Why the run ended. */
export type End =
  | { readonly kind: 'exit'; readonly status: number }
  | { readonly kind: 'command-timeout'; readonly limit: number }
  | { readonly kind: 'boot-timeout'; readonly limit: number }
  | { readonly kind: 'silence'; readonly seconds: number }
  | { readonly kind: 'fault'; readonly text: string }
  | { readonly kind: 'panic' }
  | { readonly kind: 'machine-ended'; readonly status: number | null; readonly signal: string | null };

export interface Observed {
  readonly end: End;
  readonly booted: boolean;
  readonly console: string;
  readonly complaints: string;
}

export type Verdict = Pick<VmResult, 'outcome' | 'status' | 'reason' | 'timedOut' | 'splats' | 'panic'>;

const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(1))} s`;

function lastLine(console: string): string {
  const line = consoleLines(console)
    .filter((text) => text.trim() !== '')
    .at(-1);
  return line === undefined ? 'the console had nothing' : `the console's last line: ${line.trim()}`;
}

function bootFailure({ end, console, complaints }: Observed): string {
  const init = /privmem-init: (.*)/.exec(console)?.[1]?.trim();
  switch (end.kind) {
    case 'fault':
      return end.text;
    case 'silence':
      return console.trim() === ''
        ? `not one character on the console in ${end.seconds} s: not a kernel for this machine, or dead at its first instructions`
        : `the console fell silent for ${end.seconds} s before the command could start; ${lastLine(console)}`;
    case 'boot-timeout':
      return `still booting after ${seconds(end.limit)}; ${lastLine(console)}`;
    case 'machine-ended': {
      if (init !== undefined) return init;
      if (end.status !== 0) {
        const how = end.signal === null ? `status ${end.status}` : end.signal;
        return `QEMU ended with ${how}: ${complaints || 'it did not say why'}`;
      }
      return `the machine was reset or switched off during boot, without a panic; ${lastLine(console)}`;
    }
    default:
      return 'the command never started';
  }
}

const count = (splats: readonly Splat[]): string =>
  splats.length === 1 ? (splats[0]?.title ?? '') : `${splats.length} reports, the first: ${splats[0]?.title ?? ''}`;

export function judge(observed: Observed): Verdict {
  const { end, booted, console } = observed;
  const splats = findSplats(console);
  const status = end.kind === 'exit' ? end.status : null;
  const timedOut = end.kind === 'command-timeout';
  const verdict = (outcome: Outcome, reason: string): Verdict => ({ outcome, status, reason, timedOut, splats });

  // A line of a panic on the console counts only when the machine went down with it: anyone may write such a line.
  const panic = end.kind === 'panic' || end.kind === 'machine-ended' ? findPanic(console) : undefined;
  if (panic !== undefined) {
    const phase = booted ? 'command' : 'boot';
    const when = booted ? 'while the command ran' : 'during boot';
    return { ...verdict('panicked', `the kernel panicked ${when}: ${panic.message}`), panic: { ...panic, phase } };
  }
  if (!booted) return verdict('failed-to-boot', bootFailure(observed));
  if (end.kind === 'fault') return verdict('died', end.text);
  if (end.kind === 'machine-ended' || end.kind === 'panic') {
    const why =
      end.kind === 'machine-ended' && end.status !== 0 ? `QEMU ended: ${observed.complaints}` : lastLine(console);
    return verdict('died', `the machine was reset or switched off while the command ran, without a panic; ${why}`);
  }
  const damage = splats.filter(({ severity }) => severity === 'oopsed');
  const how = timedOut ? 'the command was ended by its time limit' : `the command ended with ${status}`;
  if (damage.length > 0) return verdict('oopsed', `${how}, and the kernel is damaged: ${count(damage)}`);
  if (end.kind === 'command-timeout') return verdict('timed-out', `the command ran longer than ${seconds(end.limit)}`);
  if (status !== 0) return verdict('failed', how);
  if (splats.length > 0) return verdict('warned', `${how}, but the kernel warned: ${count(splats)}`);
  return verdict('passed', how);
}
