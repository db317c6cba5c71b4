/** Boots a kernel and runs one command in it. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { LineSplitter, parseMessage } from './control.ts';
import { guestEnvironment } from './environment.ts';
import { readImage } from './image.ts';
import { initProgram } from './init-program.ts';
import { initramfs } from './initramfs.ts';
import { Keep } from './keep.ts';
import { chooseAccelerator, findQemu, qemuArguments } from './qemu.ts';
import { FDS, type QemuProcess, startQemu } from './qemu-process.ts';
import { findPanic } from './splats.ts';
import { findKernel } from './store.ts';
import { type End, judge } from './verdict.ts';
import type { VmOptions, VmResult } from './words.ts';

const MEMORY = 2 ** 31;
const CPUS = 2;
const BOOT_TIMEOUT = 60_000;
const KEEP = 2 ** 24;
const CONSOLE_KEEP = 2 ** 22;
/** A boot prints something more often than this; milliseconds, stretched when the host is busy. */
const SILENCE = { tcg: 6_000, kvm: 3_000 } as const;
/** Between a panic's line and the machine's end, which panic=-1 brings at once, or init's answer that it was none. */
const PANIC_GRACE = 3_000;
/** Init's last line on the console comes after all that the kernel printed; where the console shows no such lines, not for ever. */
const CONSOLE_GRACE = 2_000;
const LAST_LINE = 'privmem-init: the command has ended';

/** A file that has no name any more: nothing is left behind, however this process ends. */
function namelessFile(content: Uint8Array): number {
  const directory = mkdtempSync(join(tmpdir(), 'privmem-vm-'));
  try {
    const file = join(directory, 'initramfs');
    writeFileSync(file, content, { mode: 0o600 });
    return openSync(file, 'r');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function checkedDirectory(what: string, path: string): string {
  const full = resolve(path);
  let directory = false;
  try {
    directory = statSync(full).isDirectory();
  } catch (error) {
    throw new RangeError(`${what}: ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  if (!directory) throw new RangeError(`${what}: ${path} is not a directory`);
  return full;
}

function checkedNumber(what: string, given: number | undefined, fallback: number, least: number): number {
  const number = given ?? fallback;
  if (!Number.isFinite(number) || number < least)
    throw new RangeError(`${what} must be at least ${least}, not ${number}`);
  return number;
}

/** Waits for the first of many reasons to end. */
class Ending {
  readonly #resolve: (end: End) => void;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly first: Promise<End>;
  #ended = false;

  constructor() {
    let settle: (end: End) => void = () => {};
    this.first = new Promise((done) => {
      settle = done;
    });
    this.#resolve = settle;
  }

  get ended(): boolean {
    return this.#ended;
  }

  end(end: End): void {
    this.#ended = true;
    this.#resolve(end);
  }

  /** Ends the run after `ms`; returns what calls that off. */
  after(ms: number, end: End): () => void {
    const timer = setTimeout(() => this.end(end), ms);
    this.#timers.push(timer);
    return () => clearTimeout(timer);
  }

  every(ms: number, action: () => void): void {
    this.#timers.push(setInterval(action, ms));
  }

  clear(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
  }
}

function feed(qemu: QemuProcess, input: NonNullable<VmOptions['stdin']>): void {
  const { stdin, control } = qemu.channels;
  let sent = 0;
  const finish = (): void => {
    control.write(`input ${sent}\n`);
  };
  if (typeof input === 'string' || input instanceof Uint8Array) {
    const bytes = Buffer.from(input as Uint8Array);
    sent = bytes.length;
    stdin.write(bytes);
    finish();
    return;
  }
  input.on('data', (chunk: Buffer | string) => {
    const bytes = Buffer.from(chunk as Buffer);
    sent += bytes.length;
    if (stdin.write(bytes)) return;
    input.pause();
    stdin.once('drain', () => input.resume());
  });
  input.once('end', finish);
  input.once('error', finish);
}

/**
 * Boots `options.kernel` under QEMU with this host's root, read-only below a writable layer, and runs `command` in its current directory.
 * Resolves for whatever kernel and command do. Rejects with UnsupportedError when QEMU, the image or a compiler is missing, with NotAKernelError
 * or RangeError for wrong arguments, and with the signal's reason when it is aborted.
 */
export async function runInKernel(options: VmOptions, command: readonly string[]): Promise<VmResult> {
  options.signal?.throwIfAborted();
  if (command.length === 0) throw new RangeError('no command to run in the test kernel');
  const image = findKernel(options.kernel, options.arch).image;
  const { arch } = readImage(image);
  if (options.arch !== undefined && options.arch !== arch) {
    throw new RangeError(`${image} is a kernel for ${arch}, not for ${options.arch}`);
  }
  const program = findQemu(arch);
  const { accelerator, reason: acceleratorReason } = chooseAccelerator(arch, options.accelerator ?? 'auto');
  const root = checkedDirectory('root', options.root ?? '/');
  const cwd = options.cwd ?? process.cwd();
  if (!isAbsolute(cwd)) throw new RangeError(`cwd must be absolute, not ${cwd}`);
  const shares = (options.shares ?? []).map((path, i) => ({ tag: `share${i}`, path: checkedDirectory('share', path) }));
  const layers = (options.layers ?? []).map((path, i) => ({ tag: `layer${i}`, path: checkedDirectory('layer', path) }));
  const bootTimeout = checkedNumber('bootTimeout', options.bootTimeout, BOOT_TIMEOUT, 1);
  const memory = checkedNumber('memory', options.memory, MEMORY, 2 ** 26);
  const cpus = checkedNumber('cpus', options.cpus, CPUS, 1);
  const keep = checkedNumber('keep', options.keep, KEEP, 0);
  if (options.timeout !== undefined) checkedNumber('timeout', options.timeout, 0, 1);

  const nonce = randomBytes(16).toString('hex');
  const config = {
    nonce,
    cwd,
    command,
    env: options.env ?? guestEnvironment(),
    shares,
    layers: layers.map(({ tag }) => tag),
    input: options.stdin !== undefined,
    hostname: 'testvm',
  };
  const archive = namelessFile(initramfs(initProgram(arch), config));
  const args = qemuArguments({
    ...{ arch, accelerator, image, memory, cpus, root, layers, shares, fds: FDS },
    ...{ cpuModel: options.cpuModel, append: options.append, extra: options.qemuArgs ?? [] },
    initramfs: `/dev/fd/${FDS.initramfs}`,
  });
  options.onNote?.(`${arch === 'x64' ? 'x86-64' : arch} under ${accelerator}: ${acceleratorReason}`);

  const started = performance.now();
  const since = (): number => performance.now() - started;
  let qemu: QemuProcess;
  try {
    qemu = startQemu(program, args, archive);
  } finally {
    closeSync(archive);
  }
  const ending = new Ending();
  const closed = new Promise<void>((done) => {
    qemu.child.once('close', (status, signal) => {
      ending.end({ kind: 'machine-ended', status, signal });
      done();
    });
    qemu.child.once('error', (error) => {
      ending.end({ kind: 'fault', text: `QEMU cannot be started: ${error.message}` });
      done();
    });
  });
  // A virtual processor that KVM cannot run is stopped, and nothing more happens.
  qemu.child.stderr?.on('data', () => {
    if (/^KVM(:| internal error)/m.test(qemu.complaints()))
      ending.end({ kind: 'machine-ended', status: 1, signal: null });
  });
  const onAbort = (): void => qemu.kill();
  options.signal?.addEventListener('abort', onAbort, { once: true });

  const outputs = { stdout: new Keep(keep, 'beginning'), stderr: new Keep(keep, 'beginning') };
  const console = new Keep(CONSOLE_KEEP, 'end');
  let release: string | undefined;
  let boot: number | undefined;
  let commandEnd: number | undefined;
  let exit: { readonly status: number; readonly stdout: number; readonly stderr: number } | undefined;
  let lastConsole = started;
  let callOffPanic: (() => void) | undefined;
  let tail = '';

  const finishIfComplete = (consoleDone: boolean): void => {
    if (exit === undefined || outputs.stdout.total < exit.stdout || outputs.stderr.total < exit.stderr) return;
    commandEnd ??= since();
    if (consoleDone || tail.includes(LAST_LINE)) ending.end({ kind: 'exit', status: exit.status });
  };
  const bootTimer = ending.after(bootTimeout, { kind: 'boot-timeout', limit: bootTimeout });
  ending.every(250, () => {
    const busy = (loadavg()[0] ?? 0) / availableParallelism();
    const limit = SILENCE[accelerator] * Math.min(4, Math.max(1, busy));
    if (boot === undefined && performance.now() - lastConsole > limit) {
      ending.end({ kind: 'silence', seconds: Math.round(limit / 1000) });
    }
  });

  const splitter = new LineSplitter();
  qemu.channels.control.setEncoding('utf8').on('data', (text: string) => {
    for (const line of splitter.push(text)) {
      const message = parseMessage(nonce, line);
      if (message?.kind === 'ready') {
        boot = since();
        release = message.release;
        bootTimer();
        if (options.timeout !== undefined) {
          ending.after(options.timeout, { kind: 'command-timeout', limit: options.timeout });
        }
        options.onNote?.(`Linux ${release} up after ${(boot / 1000).toFixed(1)} s`);
      } else if (message?.kind === 'note') {
        options.onNote?.(message.text);
      } else if (message?.kind === 'pong') {
        callOffPanic?.();
        callOffPanic = undefined;
        tail = '';
      } else if (message?.kind === 'fault') {
        ending.end(message);
      } else if (message?.kind === 'exit') {
        exit = message;
        setTimeout(() => finishIfComplete(true), CONSOLE_GRACE).unref();
        finishIfComplete(false);
      }
    }
  });
  for (const name of ['stdout', 'stderr'] as const) {
    const callback = name === 'stdout' ? options.onStdout : options.onStderr;
    qemu.channels[name].on('data', (bytes: Buffer) => {
      outputs[name].push(bytes);
      callback?.(bytes);
      finishIfComplete(false);
    });
  }
  qemu.channels.console.on('data', (bytes: Buffer) => {
    console.push(bytes);
    lastConsole = performance.now();
    tail = (tail + bytes.toString('latin1')).slice(-8192);
    options.onConsole?.(bytes);
    if (callOffPanic === undefined && tail.includes('Kernel panic') && findPanic(tail) !== undefined) {
      // The machine goes down at once. If it does not: is anybody there? A command may write such a line, too.
      callOffPanic = ending.after(PANIC_GRACE, { kind: 'panic' });
      if (boot !== undefined) qemu.channels.control.write('ping\n');
    }
    finishIfComplete(false);
  });
  if (options.stdin !== undefined) feed(qemu, options.stdin);

  try {
    const end = await ending.first;
    qemu.kill();
    await closed;
    options.signal?.throwIfAborted();
    const text = console.text();
    const observed = { end, booted: boot !== undefined, console: text, complaints: qemu.complaints() };
    return {
      ...judge(observed),
      booted: boot !== undefined,
      kernel: { image, arch, ...(release === undefined ? {} : { release }) },
      accelerator,
      acceleratorReason,
      timings: {
        ...(boot === undefined ? {} : { boot: Math.round(boot) }),
        ...(boot === undefined || commandEnd === undefined ? {} : { command: Math.round(commandEnd - boot) }),
        total: Math.round(since()),
      },
      stdout: outputs.stdout.text(),
      stderr: outputs.stderr.text(),
      truncated: outputs.stdout.truncated || outputs.stderr.truncated,
      console: text,
    };
  } finally {
    qemu.kill();
    ending.clear();
    options.signal?.removeEventListener('abort', onAbort);
  }
}
