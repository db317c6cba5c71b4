/** What commands with --report share: the file, and the calls of each step. */
import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TraceSink } from '../kernel/trace.ts';
import type { Step } from '../lifecycle/words.ts';

/** Looked at before the work begins, written after it: what is interrupted leaves nothing. */
export class ReportFile {
  readonly path: string;

  constructor(file: string) {
    this.path = file;
    this.#try(() => {
      accessSync(path.dirname(path.resolve(file)), constants.W_OK);
      if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) throw new Error(`${file} is a folder`);
    });
  }

  #try(body: () => void): void {
    try {
      body();
    } catch (error) {
      throw new RangeError(`--report: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  write(text: string): void {
    this.#try(() => writeFileSync(this.path, text));
  }
}

/** Lines kept for one step. The rest is in a trace: --trace=FILE. */
const MOST_LINES = 1000;

/** Lines of system calls by step, in strace's manner. What is called between steps belongs to none. */
export class CallLines {
  readonly lines: string[][] = [];
  #current: string[] | undefined;

  nextStep(): void {
    this.#current = [];
    this.lines.push(this.#current);
  }

  /** What follows the calls that the step counts is the ledger's own looking at the memory. */
  endStep({ calls }: Step): void {
    this.#current?.splice(calls);
    this.#current = undefined;
  }

  readonly sink: TraceSink = ({ syscall, text }) => {
    const step = this.#current;
    if (syscall !== null && step !== undefined && step.length < MOST_LINES) step.push(text);
  };
}

/** The command as it was given, for the page that it makes. */
export const commandLine = (): string =>
  ['privmem', ...process.argv.slice(2)].map((word) => (/^[\w./=:@,+-]+$/.test(word) ? word : `'${word}'`)).join(' ');
