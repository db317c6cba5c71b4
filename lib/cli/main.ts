#!/usr/bin/env node
/** The command line. Commands live in commands/, one file each. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addCompare } from './commands/compare.ts';
import { addConformance } from './commands/conformance.ts';
import { addLifecycle } from './commands/lifecycle.ts';
import { addProbe } from './commands/probe.ts';
import { addTrace } from './commands/trace.ts';
import { addVm } from './commands/vm.ts';
import { EXIT } from './exit-status.ts';

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function build(): Command {
  const program = new Command('privmem')
    .description('Drive KVM guest private memory: probe a host, carry out lifecycles, watch every system call.')
    .version(version())
    .helpCommand(false)
    .showHelpAfterError('(--help shows the options)')
    .addHelpText(
      'after',
      '\nExit status: 0 done and as expected; 1 an expectation failed; 2 wrong usage; 4 not supported here; 130 interrupted.',
    )
    .exitOverride();
  addProbe(program);
  addLifecycle(program);
  addCompare(program);
  addConformance(program);
  addVm(program);
  addTrace(program);
  for (const command of program.commands) {
    command.exitOverride().allowExcessArguments(false).showHelpAfterError('(--help shows the options)');
  }
  return program;
}

/** A reader that goes away (`privmem probe | head`) is no failure. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(EXIT.done);
});

try {
  const program = build();
  if (process.argv.length <= 2) program.help({ error: true });
  await program.parseAsync(process.argv);
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
}
