/** The order in which the calls of a recording happened: a run on a vCPU's own thread is recorded when it ends, and began earlier. */
import type { RecordedCall, Recording } from './recording.ts';

export type Step =
  | { readonly kind: 'call'; readonly call: RecordedCall }
  /** A run on the vCPU's own thread begins, */
  | { readonly kind: 'start'; readonly call: RecordedCall }
  /** and ends. */
  | { readonly kind: 'end'; readonly call: RecordedCall }
  /** A kick. `during` is the run that was under way on the vCPU, by its recording. */
  | { readonly kind: 'kick'; readonly call: RecordedCall; readonly during: RecordedCall | undefined };

const isRun = (call: RecordedCall): boolean => call.call === 'vcpuStart';

/** Every call once, a run twice: when it begins and when it ends. */
export function planOf({ calls }: Recording): Step[] {
  const starts = calls
    .filter(isRun)
    .sort((a, b) => (a.startedAfter ?? a.n - 1) - (b.startedAfter ?? b.n - 1) || a.at - b.at);
  const steps: Step[] = [];
  const underWay = new Map<unknown, RecordedCall>();
  let next = 0;
  for (const call of calls) {
    for (let start = starts[next]; start !== undefined; start = starts[next]) {
      if ((start.startedAfter ?? start.n - 1) >= call.n) break;
      steps.push({ kind: 'start', call: start });
      // The second one on the same vCPU was refused.
      if (!underWay.has(start.args[0])) underWay.set(start.args[0], start);
      next++;
    }
    if (isRun(call)) {
      steps.push({ kind: 'end', call });
      if (underWay.get(call.args[0]) === call) underWay.delete(call.args[0]);
    } else if (call.call === 'vcpuKick') {
      steps.push({ kind: 'kick', call, during: underWay.get(call.args[0]) });
    } else steps.push({ kind: 'call', call });
  }
  return steps;
}
