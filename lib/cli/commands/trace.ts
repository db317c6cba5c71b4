/** `privmem trace`: what can be done with the files that --trace=FILE writes. */
import type { Command } from 'commander';
import { addDiff } from './trace-diff.ts';
import { addExport } from './trace-export.ts';
import { addReplay } from './trace-replay.ts';

export function addTrace(program: Command): void {
  const trace = program.command('trace').description('replay, compare and export recorded traces').helpCommand(false);
  addReplay(trace);
  addDiff(trace);
  addExport(trace);
}
