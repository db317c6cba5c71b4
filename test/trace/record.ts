/** Recordings for tests: a program traced into memory, read back as a file would be. */
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { traceKernel } from '../../lib/kernel/trace.ts';
import { recordToJson } from '../../lib/kernel/trace-sinks.ts';
import { parseTrace } from '../../lib/trace/reader.ts';
import type { Recording } from '../../lib/trace/recording.ts';

/** The lines that --trace=FILE would have written. */
export async function recordLines(kernel: Kernel, play: (traced: Kernel) => unknown): Promise<string[]> {
  const lines: string[] = [];
  await play(traceKernel(kernel, (record) => lines.push(recordToJson(record))));
  return lines;
}

export function parseLines(lines: readonly string[]): Recording {
  const [recording] = parseTrace(Buffer.from(lines.join('\n')), 'test.jsonl');
  if (recording === undefined) throw new Error('nothing was recorded');
  return recording;
}

export const record = async (kernel: Kernel, play: (traced: Kernel) => unknown): Promise<Recording> =>
  parseLines(await recordLines(kernel, play));

/** The differences of a replay, as text. */
export const summary = (report: {
  readonly different: readonly { readonly call: { readonly text: string }; readonly differences: readonly object[] }[];
  readonly skipped: readonly { readonly call: { readonly text: string }; readonly reason: string }[];
}): string[] => [
  ...report.different.map(({ call, differences }) => `${call.text.slice(0, 120)}: ${JSON.stringify(differences)}`),
  ...report.skipped.map(({ call, reason }) => `${call.text.slice(0, 120)}: not made: ${reason}`),
];
