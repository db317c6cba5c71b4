#!/usr/bin/env node
/** The command line. Commands live in commands/, one file each. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { EXIT } from './exit-status.ts';

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** In the order of the help. Only what is asked for is loaded: in a test kernel under emulation every module costs milliseconds. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  probe: async () => (await import('./commands/probe.ts')).addProbe,
  lifecycle: async () => (await import('./commands/lifecycle.ts')).addLifecycle,
  compare: async () => (await import('./commands/compare.ts')).addCompare,
  conformance: async () => (await import('./commands/conformance.ts')).addConformance,
  vm: async () => (await import('./commands/vm.ts')).addVm,
  boot: async () => (await import('./commands/boot.ts')).addBoot,
  trace: async () => (await import('./commands/trace.ts')).addTrace,
};

async function build(asked: string | undefined): Promise<Command> {
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
  const names = asked !== undefined && Object.hasOwn(COMMANDS, asked) ? [asked] : Object.keys(COMMANDS);
  if (asked !== '--version' && asked !== '-V') for (const name of names) (await COMMANDS[name]?.())?.(program);
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
  const program = await build(process.argv[2]);
  if (process.argv.length <= 2) program.help({ error: true });
  await program.parseAsync(process.argv);
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
}
