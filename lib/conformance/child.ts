/** The process that carries out scenarios for supervise.ts. Talks over the channel that fork makes. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type Backend, type SimulateOptions, selectKernel } from '../kernel/select.ts';
import { jsonFileSink, textSink } from '../kernel/trace-sinks.ts';
import { loadModules } from './modules.ts';
import { Runner } from './run.ts';
import { SCENARIOS } from './scenarios/index.ts';
import type { ChildMessage, ChildOrder } from './supervise.ts';

export interface KernelChoice {
  readonly backend: Exclude<Backend, 'auto'>;
  readonly simulate: SimulateOptions;
  /** True for lines on stderr, a string for JSON lines in that file. */
  readonly trace: boolean | string;
}

/** Resolves once the message has left: a scenario that kills the process must be known by then. */
const say = (message: ChildMessage): Promise<void> =>
  new Promise((resolve, reject) => {
    process.send?.(message, (error: Error | null) => (error === null ? resolve() : reject(error)));
  });

function sinkFor(trace: boolean | string) {
  if (trace === true) return textSink((line) => process.stderr.write(line));
  return typeof trace === 'string' ? jsonFileSink(trace).sink : undefined;
}

function openLog(): number | undefined {
  try {
    return openSync('/dev/kmsg', 'w');
  } catch {
    return undefined;
  }
}

async function carryOut({ names, kernel, seed, repeat, kmsg, modules }: ChildOrder): Promise<void> {
  const scenarios = [...SCENARIOS, ...(await loadModules(modules))];
  const { sys } = selectKernel({ ...kernel, trace: sinkFor(kernel.trace) });
  const { release, arch, backend } = sys.kernel;
  const runner = new Runner(sys, { seed, repeat });
  await say({ type: 'ready', kernel: release, arch, backend });
  const byName = new Map(scenarios.map((scenario) => [scenario.name, scenario]));
  const log = kmsg ? openLog() : undefined;
  try {
    for (const name of names) {
      const scenario = byName.get(name);
      if (scenario === undefined) throw new RangeError(`unknown scenario ${name}`);
      await say({ type: 'start', name });
      if (log !== undefined) writeSync(log, `privmem: ${name}\n`);
      await say({ type: 'result', result: await runner.run(scenario) });
    }
  } finally {
    runner.close();
    if (log !== undefined) closeSync(log);
  }
}

// The terminal sends SIGINT to the whole group; the parent decides what becomes of this process.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit(1));
process.once('message', (order: ChildOrder) => {
  carryOut(order).catch((error: unknown) =>
    say({ type: 'failed', message: error instanceof Error ? error.message : String(error) }).catch(() => {}),
  );
});
