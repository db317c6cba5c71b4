/** A run as it was asked for, checked, with everything that can be missing found. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { guestEnvironment } from './environment.ts';
import { readImage } from './image.ts';
import { initProgram } from './init-program.ts';
import { initramfs } from './initramfs.ts';
import { findPrograms, foreignEnvironment } from './programs.ts';
import { chooseAccelerator, findQemu, qemuArguments } from './qemu.ts';
import { FDS } from './qemu-process.ts';
import { findKernel } from './store.ts';
import type { Accelerator, TestArch, VmOptions } from './words.ts';

const MEMORY = 2 ** 31;
const CPUS = 2;
const BOOT_TIMEOUT = 60_000;

export interface Plan {
  readonly image: string;
  readonly arch: TestArch;
  readonly accelerator: Accelerator;
  readonly acceleratorReason: string;
  /** QEMU. */
  readonly program: string;
  readonly args: readonly string[];
  readonly initramfs: Buffer;
  /** What lines of this run's init begin with. */
  readonly nonce: string;
  /** Milliseconds. */
  readonly bootTimeout: number;
  readonly timeout: number | undefined;
}

function directory(what: string, path: string): string {
  const full = resolve(path);
  let found = false;
  try {
    found = statSync(full).isDirectory();
  } catch (error) {
    throw new RangeError(`${what}: ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  if (!found) throw new RangeError(`${what}: ${path} is not a directory`);
  return full;
}

const directories = (what: string, paths: readonly string[] = []): { tag: string; path: string }[] =>
  paths.map((path, i) => ({ tag: `${what}${i}`, path: directory(what, path) }));

function atLeast(what: string, number: number, least: number): number {
  if (Number.isFinite(number) && number >= least) return number;
  throw new RangeError(`${what} must be at least ${least}, not ${number}`);
}

/** RangeError, NotAKernelError or UnsupportedError for what cannot be run. */
export function planRun(options: VmOptions, command: readonly string[]): Plan {
  if (command.length === 0) throw new RangeError('no command to run in the test kernel');
  const { image } = findKernel(options.kernel, options.arch);
  const { arch } = readImage(image);
  if (options.arch !== undefined && options.arch !== arch) {
    throw new RangeError(`${image} is a kernel for ${arch}, not for ${options.arch}`);
  }
  const program = findQemu(arch);
  const { accelerator, reason: acceleratorReason } = chooseAccelerator(arch, options.accelerator ?? 'auto');
  const cwd = options.cwd ?? process.cwd();
  if (!isAbsolute(cwd)) throw new RangeError(`cwd must be absolute, not ${cwd}`);
  const programs = arch === process.arch || options.root !== undefined ? undefined : findPrograms(arch);
  const layers = directories('layer', [...(options.layers ?? []), ...(programs === undefined ? [] : [programs.root])]);
  const shares = directories('share', options.shares);
  const env = options.env ?? guestEnvironment();
  const nonce = randomBytes(16).toString('hex');
  const args = qemuArguments({
    ...{ arch, accelerator, image, layers, shares, fds: FDS },
    memory: atLeast('memory', options.memory ?? MEMORY, 2 ** 26),
    cpus: atLeast('cpus', options.cpus ?? CPUS, 1),
    root: directory('root', options.root ?? '/'),
    ...{ cpuModel: options.cpuModel, append: options.append, extra: options.qemuArgs ?? [] },
    initramfs: `/dev/fd/${FDS.initramfs}`,
  });
  return {
    ...{ image, arch, accelerator, acceleratorReason, program, args, nonce },
    bootTimeout: atLeast('bootTimeout', options.bootTimeout ?? BOOT_TIMEOUT, 1),
    timeout: options.timeout === undefined ? undefined : atLeast('timeout', options.timeout, 1),
    initramfs: initramfs(initProgram(arch), {
      ...{ nonce, cwd, command, shares, hostname: 'testvm' },
      env: programs === undefined ? env : foreignEnvironment(env),
      layers: layers.map(({ tag }) => tag),
      input: options.stdin !== undefined,
    }),
  };
}
