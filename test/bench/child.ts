/** A program that lives as long as the run and performs one batch at a time on command, so that its start is never measured. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const GRACE_MS = 1000;
const running = new Set<Child>();

export class Child {
  readonly #name: string;
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #gone: Promise<unknown>;
  #waiting: ((line: string) => void) | undefined;
  #dead: string | undefined;

  private constructor(name: string, command: string, args: readonly string[]) {
    this.#name = name;
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process.on('error', (error) => this.#end(error.message));
    this.#process.on('exit', (code, signal) => this.#end(`it ended with ${signal ?? `status ${code}`}`));
    this.#process.stdin.on('error', () => {}); // its end is seen by 'exit'
    this.#gone = once(this.#process, 'close').catch(() => {});
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#answer(line));
    running.add(this);
  }

  /** Starts the program. Throws when there is no such program. */
  static async start(name: string, command: string, args: readonly string[] = []): Promise<Child> {
    const child = new Child(name, command, args);
    await Promise.race([once(child.#process, 'spawn'), child.#gone]);
    if (child.#dead !== undefined) throw new Error(`${name}: ${child.#dead}`);
    return child;
  }

  #answer(line: string): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(line);
  }

  #end(reason: string): void {
    running.delete(this);
    this.#dead ??= reason;
    this.#answer(`unsupported ${reason}`);
  }

  /** Nanoseconds that `ops` operations of `bytes` bytes took in the program. Throws with its reason when it cannot do them. */
  async batch(batch: string, ops: number, bytes: number): Promise<number> {
    if (this.#dead !== undefined) throw new Error(`${this.#name}: ${this.#dead}`);
    const line = await new Promise<string>((resolve) => {
      this.#waiting = resolve;
      this.#process.stdin.write(`${batch} ${ops} ${bytes}\n`);
    });
    const nanoseconds = Number(line);
    if (!Number.isFinite(nanoseconds)) throw new Error(`${this.#name}: ${line.replace(/^unsupported /, '')}`);
    return nanoseconds;
  }

  /** The program ends with its input; one that does not is killed. */
  async close(): Promise<void> {
    this.#process.stdin.end();
    const late = sleep(GRACE_MS, 'late', { ref: false });
    if ((await Promise.race([this.#gone, late])) === 'late') this.kill();
    await this.#gone;
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}

/** For the ways out that cannot wait. */
export function killChildren(): void {
  for (const child of running) child.kill();
}
