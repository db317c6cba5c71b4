/** What every command shares: the kernel it runs on, traces, output, interruption. */
import { UnsupportedError } from '../kernel/errors.ts';
import { realKernel } from '../kernel/native-kernel.ts';
import type { Backend, Selection, SelectOptions } from '../kernel/select.ts';
import type { Sys } from '../kernel/sys.ts';
import type { TraceSink } from '../kernel/trace.ts';
import { type FileSink, jsonFileSink, textSink } from '../kernel/trace-sinks.ts';
import { EXIT } from './exit-status.ts';
import { type Style, styleFor } from './style.ts';

export interface CommonOptions {
  readonly json?: boolean;
  /** True for lines on stderr, a string for JSON lines in that file. */
  readonly trace?: boolean | string;
}

export class Session {
  readonly json: boolean;
  readonly style: Style;
  /** Aborted by the first Ctrl-C: commands stop their vCPUs, close what they opened and end. */
  readonly interrupt: AbortSignal;
  readonly #trace: TraceSink | undefined;
  readonly #closers: (() => void)[] = [];

  constructor(options: CommonOptions) {
    this.json = options.json ?? false;
    this.style = styleFor(this.json ? process.stderr : process.stdout);
    this.#trace = this.#openTrace(options.trace);
    const controller = new AbortController();
    this.interrupt = controller.signal;
    const onInterrupt = (): void => controller.abort(new Interrupted());
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      // Once: a second Ctrl-C kills a process that does not answer to the first.
      process.once(signal, onInterrupt);
      this.#closers.push(() => process.removeListener(signal, onInterrupt));
    }
  }

  #openTrace(trace: boolean | string | undefined): TraceSink | undefined {
    if (trace === undefined || trace === false) return undefined;
    if (trace === true) return textSink((line) => process.stderr.write(line));
    const file = openTraceFile(trace);
    this.#closers.push(() => file.close());
    return file.sink;
  }

  /** Where --trace sends calls, and `watch` too if there is one; undefined when nobody wants to know. */
  traceTo(watch?: TraceSink): TraceSink | undefined {
    const asked = this.#trace;
    if (asked === undefined || watch === undefined) return asked ?? watch;
    return (record) => {
      asked(record);
      watch(record);
    };
  }

  /** `watch` gets every call, whether or not a trace is asked for. */
  async selectKernel(
    options: Omit<SelectOptions, 'trace'> & { readonly backend: Backend; readonly watch?: TraceSink | undefined },
  ): Promise<Selection> {
    const { watch, ...rest } = options;
    // Half of all modules are the simulation: commands that run on this host's kernel alone start without it.
    const { selectKernel } = await import('../kernel/select.ts');
    return selectKernel({ ...rest, trace: this.traceTo(watch) });
  }

  /** This host's kernel. UnsupportedError when it is of another architecture, or there is no addon. */
  realKernel(arch?: Sys['kernel']['arch']): Sys {
    return realKernel({ trace: this.traceTo(), arch });
  }

  /** A line for people: on stdout, or on stderr when stdout carries the JSON document. */
  say(line = ''): void {
    (this.json ? process.stderr : process.stdout).write(`${line}\n`);
  }

  /** The one document of --json. */
  document(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  close(): void {
    for (const close of this.#closers.splice(0)) close();
  }
}

function openTraceFile(path: string): FileSink {
  try {
    return jsonFileSink(path);
  } catch (error) {
    throw new RangeError(`--trace: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

export class Interrupted extends Error {
  constructor() {
    super('interrupted');
    this.name = 'Interrupted';
  }
}

/** Runs a command's body in a session of its own and turns how it ended into an exit status. */
export async function runInSession(options: CommonOptions, body: (session: Session) => Promise<number>): Promise<void> {
  let session: Session | undefined;
  try {
    session = new Session(options);
    process.exitCode = await body(session);
  } catch (error) {
    process.exitCode = report(error, options.json ?? false);
  } finally {
    session?.close();
  }
}

function report(error: unknown, json: boolean): number {
  if (error instanceof Interrupted) {
    process.stderr.write('privmem: interrupted\n');
    return EXIT.interrupted;
  }
  if (error instanceof UnsupportedError) {
    process.stderr.write(`privmem: not supported here: ${error.message}\n`);
    if (json) {
      const { missing, reason, nextStep } = error;
      process.stdout.write(`${JSON.stringify({ unsupported: true, missing, reason, nextStep }, null, 2)}\n`);
    }
    return EXIT.unsupported;
  }
  const text = error instanceof Error ? error.message : String(error);
  process.stderr.write(`privmem: ${text}\n`);
  if (process.env.PRIVMEM_DEBUG !== undefined && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  return error instanceof RangeError || error instanceof TypeError ? EXIT.usage : EXIT.failed;
}
