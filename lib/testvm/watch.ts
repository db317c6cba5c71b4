/** Watches a machine from its start to the first reason to end the run. */
import { readSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { type InitMessage, LineSplitter, parseMessage } from './control.ts';
import { Keep } from './keep.ts';
import type { Plan } from './plan.ts';
import type { QemuProcess } from './qemu-process.ts';
import { findPanic } from './splats.ts';
import type { End } from './verdict.ts';
import type { VmOptions } from './words.ts';

const KEEP = 2 ** 24;
const CONSOLE_KEEP = 2 ** 22;
/** A boot prints something more often than this; milliseconds, stretched when the host is busy. */
const SILENCE = { tcg: 6_000, kvm: 3_000 } as const;
/** Between a panic's line and the machine's end, which panic=-1 brings at once, or init's answer that it was none. */
const PANIC_GRACE = 3_000;
/** Init's last line on the console comes after all that the kernel printed; where the console shows no such lines, not for ever. */
const CONSOLE_GRACE = 2_000;
/** How often the console is looked at, in milliseconds. */
const CONSOLE_POLL = 25;
const LAST_LINE = 'privmem-init: the command has ended';

export class Watch {
  /** Settles once; never rejects. */
  readonly end: Promise<End>;
  /** Settles when QEMU has ended. */
  readonly closed: Promise<void>;
  readonly stdout: Keep;
  readonly stderr: Keep;
  readonly console = new Keep(CONSOLE_KEEP, 'end');
  /** uname -r. */
  release: string | undefined;
  /** Milliseconds from the start to the command's, and to its end. */
  commandStart: number | undefined;
  commandEnd: number | undefined;

  readonly #plan: Plan;
  readonly #qemu: QemuProcess;
  readonly #options: VmOptions;
  readonly #started = performance.now();
  readonly #timers = new Set<NodeJS.Timeout>();
  #settle: (end: End) => void = () => {};
  #exit: Extract<InitMessage, { kind: 'exit' }> | undefined;
  readonly #consoleFile: number;
  readonly #block = Buffer.alloc(1 << 16);
  #consoleRead = 0;
  #lastConsole = performance.now();
  /** The console's last few kilobytes. */
  #tail = '';
  #callOffBoot: () => void;
  #callOffPanic: (() => void) | undefined;

  /** `consoleFile`: a descriptor of the file that QEMU writes the console to. */
  constructor(plan: Plan, qemu: QemuProcess, consoleFile: number, options: VmOptions) {
    this.#plan = plan;
    this.#qemu = qemu;
    this.#consoleFile = consoleFile;
    this.#options = options;
    this.stdout = new Keep(options.keep ?? KEEP, 'beginning');
    this.stderr = new Keep(options.keep ?? KEEP, 'beginning');
    this.end = new Promise((done) => {
      this.#settle = done;
    });
    this.closed = this.#watchProcess();
    this.#watchControl();
    this.#watchOutputs();
    this.#callOffBoot = this.#endAfter(plan.bootTimeout, { kind: 'boot-timeout', limit: plan.bootTimeout });
    this.#timers.add(setInterval(() => this.readConsole(), CONSOLE_POLL));
    this.#timers.add(setInterval(() => this.#checkSilence(), 250));
  }

  /** Milliseconds since QEMU was started. */
  get elapsed(): number {
    return performance.now() - this.#started;
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  #endAfter(ms: number, end: End): () => void {
    const timer = setTimeout(() => this.#settle(end), ms);
    this.#timers.add(timer);
    return () => clearTimeout(timer);
  }

  #watchProcess(): Promise<void> {
    const { child, complaints } = this.#qemu;
    // A virtual processor that KVM cannot run is stopped, and nothing more happens.
    child.stderr?.on('data', () => {
      if (/^KVM(:| internal error)/m.test(complaints())) {
        this.#settle({ kind: 'machine-ended', status: 1, signal: null });
      }
    });
    return new Promise((done) => {
      child.once('close', (status, signal) => {
        this.#settle({ kind: 'machine-ended', status, signal });
        done();
      });
      child.once('error', (error) => {
        this.#settle({ kind: 'fault', text: `QEMU cannot be started: ${error.message}` });
        done();
      });
    });
  }

  #watchControl(): void {
    const splitter = new LineSplitter();
    this.#qemu.channels.control.setEncoding('utf8').on('data', (text: string) => {
      for (const line of splitter.push(text)) {
        const message = parseMessage(this.#plan.nonce, line);
        if (message !== undefined) this.#hear(message);
      }
    });
  }

  #hear(message: InitMessage): void {
    const { timeout } = this.#plan;
    const { onNote } = this.#options;
    switch (message.kind) {
      case 'ready':
        this.#callOffBoot();
        this.commandStart = this.elapsed;
        this.release = message.release;
        if (timeout !== undefined) this.#endAfter(timeout, { kind: 'command-timeout', limit: timeout });
        onNote?.(`Linux ${message.release} up after ${(this.commandStart / 1000).toFixed(1)} s`);
        break;
      case 'note':
        onNote?.(message.text);
        break;
      case 'fault':
        this.#settle(message);
        break;
      case 'pong':
        // Somebody is there: what looked like a panic was not.
        this.#callOffPanic?.();
        this.#callOffPanic = undefined;
        this.#tail = '';
        break;
      case 'exit':
        this.#exit = message;
        this.#timers.add(setTimeout(() => this.#endIfComplete(true), CONSOLE_GRACE));
        this.#endIfComplete(false);
        break;
    }
  }

  /** The command has ended, and everything that it and the kernel said has arrived. */
  #endIfComplete(late: boolean): void {
    const exit = this.#exit;
    if (exit === undefined || this.stdout.total < exit.stdout || this.stderr.total < exit.stderr) return;
    this.commandEnd ??= this.elapsed;
    if (late || this.#tail.includes(LAST_LINE)) this.#settle({ kind: 'exit', status: exit.status });
    // Outputs that come later than the grace: the next of them looks again.
    else if (this.elapsed - this.commandEnd > CONSOLE_GRACE) this.#settle({ kind: 'exit', status: exit.status });
  }

  #watchOutputs(): void {
    const { onStdout, onStderr } = this.#options;
    for (const [name, callback] of [['stdout', onStdout] as const, ['stderr', onStderr] as const]) {
      this.#qemu.channels[name].on('data', (bytes: Buffer) => {
        this[name].push(bytes);
        callback?.(bytes);
        this.#endIfComplete(false);
      });
    }
  }

  /** Takes what the console has got since it was last looked at. */
  readConsole(): void {
    for (;;) {
      const size = readSync(this.#consoleFile, this.#block, 0, this.#block.length, this.#consoleRead);
      if (size === 0) return;
      this.#consoleRead += size;
      const bytes = Buffer.from(this.#block.subarray(0, size));
      this.console.push(bytes);
      this.#lastConsole = performance.now();
      this.#tail = (this.#tail + bytes.toString('latin1')).slice(-8192);
      this.#options.onConsole?.(bytes);
      this.#checkPanic();
      this.#endIfComplete(false);
    }
  }

  #checkPanic(): void {
    if (this.#callOffPanic !== undefined || !this.#tail.includes('Kernel panic')) return;
    if (findPanic(this.#tail) === undefined) return;
    // The machine goes down at once. If it does not: is anybody there? A command may write such a line, too.
    this.#callOffPanic = this.#endAfter(PANIC_GRACE, { kind: 'panic' });
    if (this.commandStart !== undefined) this.#qemu.channels.control.write('ping\n');
  }

  #checkSilence(): void {
    if (this.commandStart !== undefined) return;
    const busy = (loadavg()[0] ?? 0) / availableParallelism();
    const limit = SILENCE[this.#plan.accelerator] * Math.min(4, Math.max(1, busy));
    if (performance.now() - this.#lastConsole < limit) return;
    this.#settle({ kind: 'silence', seconds: Math.round(limit / 1000) });
  }
}
