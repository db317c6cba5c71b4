/** `privmem trace export --c`: a trace as a program in C. */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { exportTrace } from '../../trace/export/export.ts';
import { EXIT } from '../exit-status.ts';
import { runInSession, type Session } from '../session.ts';
import { pickRecording, showTexts } from '../trace-files.ts';
import { parseCount } from './trace-replay.ts';

interface ExportOptions {
  readonly c?: boolean;
  readonly output?: string;
  readonly recording: number;
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new RangeError(`--output: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function exportFile(session: Session, file: string, options: ExportOptions): number {
  if (options.c !== true) throw new RangeError('say what to export to: --c');
  const { source, left } = exportTrace(pickRecording(file, options.recording));
  if (options.output === undefined) process.stdout.write(source);
  else write(options.output, source);
  for (const call of left) process.stderr.write(`${session.style.paint('yellow', 'left out')}  ${showTexts(call)}\n`);
  return left.length === 0 ? EXIT.done : EXIT.failed;
}

export function addExport(trace: Command): void {
  trace
    .command('export')
    .description('write a trace as a program that makes the same calls and prints what differs')
    .argument('<file>', 'what --trace=FILE wrote')
    .option('--c', 'C that compiles with cc -Wall -Wextra against plain system headers')
    .option('-o, --output <file>', 'where to write it; default: stdout')
    .option('--recording <number>', 'which recording of the file, where it holds several', parseCount, 1)
    .action((file: string, options: ExportOptions) =>
      runInSession({}, async (session) => exportFile(session, file, options)),
    );
}
