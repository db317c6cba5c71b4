/** Boots a kernel and runs one command in it. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { feedInput } from './input.ts';
import { type Plan, planRun } from './plan.ts';
import { type QemuProcess, startQemu } from './qemu-process.ts';
import { judge } from './verdict.ts';
import { Watch } from './watch.ts';
import type { VmOptions, VmResult, VmTimings } from './words.ts';

/** A file that has no name any more: nothing is left behind, however this process ends. */
function namelessFile(content: Uint8Array): number {
  const directory = mkdtempSync(join(tmpdir(), 'privmem-vm-'));
  try {
    const file = join(directory, 'file');
    writeFileSync(file, content, { mode: 0o600 });
    return openSync(file, 'r+');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function start(plan: Plan, console: number): QemuProcess {
  const initramfs = namelessFile(plan.initramfs);
  try {
    return startQemu(plan.program, plan.args, { initramfs, console });
  } finally {
    closeSync(initramfs);
  }
}

function timingsOf({ commandStart, commandEnd, elapsed }: Watch): VmTimings {
  return {
    ...(commandStart === undefined ? {} : { boot: Math.round(commandStart) }),
    ...(commandStart === undefined || commandEnd === undefined
      ? {}
      : { command: Math.round(commandEnd - commandStart) }),
    total: Math.round(elapsed),
  };
}

/**
 * Boots `options.kernel` under QEMU with this host's root, read-only below a writable layer, and runs `command` in its current directory.
 * Resolves for whatever kernel and command do. Rejects with UnsupportedError when QEMU, the image or a compiler is missing, with NotAKernelError
 * or RangeError for wrong arguments, and with the signal's reason when it is aborted.
 */
export async function runInKernel(options: VmOptions, command: readonly string[]): Promise<VmResult> {
  const { signal } = options;
  signal?.throwIfAborted();
  const plan = planRun(options, command);
  const { arch, accelerator, acceleratorReason } = plan;
  options.onNote?.(`${arch === 'x64' ? 'x86-64' : arch} under ${accelerator}: ${acceleratorReason}`);
  const consoleFile = namelessFile(new Uint8Array());
  try {
    return await runPlan(plan, consoleFile, options);
  } finally {
    closeSync(consoleFile);
  }
}

async function runPlan(plan: Plan, consoleFile: number, options: VmOptions): Promise<VmResult> {
  const { signal } = options;
  const { arch, image, accelerator, acceleratorReason } = plan;
  const qemu = start(plan, consoleFile);
  const watch = new Watch(plan, qemu, consoleFile, options);
  signal?.addEventListener('abort', qemu.kill, { once: true });
  const letGo = options.stdin === undefined ? undefined : feedInput(qemu, options.stdin);
  try {
    const end = await watch.end;
    const timings = timingsOf(watch);
    qemu.kill();
    await watch.closed;
    watch.readConsole();
    signal?.throwIfAborted();
    const booted = watch.commandStart !== undefined;
    const console = watch.console.text();
    return {
      ...judge({ end, booted, console, complaints: qemu.complaints() }),
      booted,
      kernel: { image, arch, ...(watch.release === undefined ? {} : { release: watch.release }) },
      ...{ accelerator, acceleratorReason, timings, console },
      stdout: watch.stdout.text(),
      stderr: watch.stderr.text(),
      truncated: watch.stdout.truncated || watch.stderr.truncated,
    };
  } finally {
    qemu.kill();
    watch.stop();
    letGo?.();
    signal?.removeEventListener('abort', qemu.kill);
  }
}
