/**
 * Runs scenarios in a child process, so that the verdict survives what a broken kernel does to it: a child that dies or hangs in a
 * system call is a failed scenario, and the next one gets a new child.
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { KernelChoice } from './child.ts';
import type { ScenarioResult } from './run.ts';
import { DEFAULT_TIMEOUT_MS, type Scenario } from './scenario.ts';

/** How long a child may be late with a result: it has its own timer, which cannot fire while a system call blocks. */
const GRACE_MS = 4000;
/** How long a child may take to load and open the kernel: seconds, under emulation on a busy machine. */
const START_MS = 180_000;
/** How long a killed child may take to end before the kernel is taken to hold it. */
const DEATH_MS = 5000;

/** What the child says. */
export type ChildMessage =
  | { readonly type: 'ready'; readonly kernel: string; readonly arch: string; readonly backend: 'kvm' | 'sim' }
  | { readonly type: 'start'; readonly name: string }
  | { readonly type: 'result'; readonly result: ScenarioResult }
  | { readonly type: 'failed'; readonly message: string };

/** What it is told. */
export interface ChildOrder {
  readonly names: readonly string[];
  readonly kernel: KernelChoice;
  readonly seed: number;
  readonly repeat: number;
  /** Marks each scenario in the kernel's log, for consoles of kernels that do not survive it. */
  readonly kmsg: boolean;
  /** URLs of modules with further scenarios. */
  readonly modules: readonly string[];
}

export interface SuperviseOptions extends Omit<ChildOrder, 'names'> {
  /** Ends after the first failure. */
  readonly bail: boolean;
  readonly signal: AbortSignal;
  readonly onStart?: (name: string) => void;
  readonly onResult?: (result: ScenarioResult) => void;
}

export interface SuiteRun {
  readonly backend: 'kvm' | 'sim';
  readonly kernel: string;
  readonly arch: string;
  readonly results: readonly ScenarioResult[];
  /** Names that were not reached, because of `bail`. */
  readonly notRun: readonly string[];
}

type Ending =
  | { readonly kind: 'done' }
  | { readonly kind: 'lost'; readonly name: string; readonly detail: string; readonly millis: number };

class Suite {
  readonly #options: SuperviseOptions;
  readonly #limits: ReadonlyMap<string, number>;
  readonly results: ScenarioResult[] = [];
  identity: { readonly kernel: string; readonly arch: string; readonly backend: 'kvm' | 'sim' } | undefined;

  constructor(scenarios: readonly Scenario[], options: SuperviseOptions) {
    this.#options = options;
    const { repeat } = options;
    this.#limits = new Map(scenarios.map(({ name, timeoutMs = DEFAULT_TIMEOUT_MS }) => [name, timeoutMs * repeat]));
  }

  get bailed(): boolean {
    return this.#options.bail && this.results.some(({ outcome }) => outcome === 'failed');
  }

  add(result: ScenarioResult): void {
    this.results.push(result);
    this.#options.onResult?.(result);
  }

  /** Runs these in one child until all are done or the child is lost. */
  async child(names: readonly string[]): Promise<Ending> {
    const { kernel, seed, repeat, kmsg, modules, signal } = this.#options;
    const child = fork(new URL('./child.js', import.meta.url), [], { serialization: 'advanced', execArgv: [] });
    const order: ChildOrder = { names, kernel, seed, repeat, kmsg, modules };
    // Without a result yet: the scenario under way, or the one that comes next.
    let current = { name: names[0] ?? '', since: performance.now() };
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Ending>((resolve, reject) => {
        const lost = (detail: string): void =>
          resolve({ kind: 'lost', name: current.name, detail, millis: performance.now() - current.since });
        const abort = (): void => reject(signal.reason);
        if (signal.aborted) abort();
        signal.addEventListener('abort', abort, { once: true });
        const watch = (limit: number): void => {
          clearTimeout(timer);
          timer = setTimeout(() => lost(`no answer for ${limit} ms: it hangs in a system call`), limit);
        };
        watch(START_MS);
        child.on('message', (message: ChildMessage) => {
          // What the child did before it heard of the first failure does not count.
          if (this.bailed) return;
          if (message.type === 'ready') this.identity = message;
          else if (message.type === 'failed') reject(new Error(message.message));
          else if (message.type === 'start') {
            current = { name: message.name, since: performance.now() };
            this.#options.onStart?.(message.name);
            watch((this.#limits.get(message.name) ?? DEFAULT_TIMEOUT_MS) + GRACE_MS);
          } else {
            this.add(message.result);
            current = { name: names[names.indexOf(message.result.name) + 1] ?? '', since: performance.now() };
            if (this.results.length > 0 && message.result.name === names[names.length - 1]) resolve({ kind: 'done' });
            else if (this.bailed) resolve({ kind: 'done' });
          }
        });
        child.on('error', reject);
        child.on('exit', (code, killedBy) => {
          const how = killedBy === null ? `ended with status ${code}` : `was killed by ${killedBy}`;
          lost(`the process of the scenario ${how}`);
        });
        child.send(order, (error) => {
          if (error !== null) reject(error);
        });
      });
    } finally {
      clearTimeout(timer);
      child.removeAllListeners();
      // Errors of the dying channel are not news.
      child.on('error', () => {});
      await kill(child);
    }
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGKILL');
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), DEATH_MS);
  });
  if ((await Promise.race([ended, late])) === 'late') {
    process.stderr.write(`privmem: process ${child.pid} does not end: it sleeps in the kernel\n`);
    child.unref();
    child.channel?.unref();
  }
  clearTimeout(timer);
}

/** Carries out the scenarios in order. Rejects with the signal's reason, or when no child can be started. */
export async function supervise(scenarios: readonly Scenario[], options: SuperviseOptions): Promise<SuiteRun> {
  const suite = new Suite(scenarios, options);
  let rest = scenarios.map(({ name }) => name);
  while (rest.length > 0 && !suite.bailed) {
    const before = suite.results.length;
    const ending = await suite.child(rest);
    if (ending.kind === 'lost') {
      // A child that never came to its first scenario would be started again and again.
      if (suite.identity === undefined) throw new Error(`the suite cannot start: ${ending.detail}`);
      suite.add({ name: ending.name, outcome: 'failed', detail: ending.detail, millis: ending.millis });
    }
    const done = new Set(suite.results.slice(before).map(({ name }) => name));
    rest = rest.filter((name) => !done.has(name));
  }
  const { identity } = suite;
  if (identity === undefined) throw new Error('no scenario was selected');
  return { ...identity, results: suite.results, notRun: rest };
}
