/** Which kernel a program runs on, and why. The only place that knows the kinds of kernel there are. */
import { accessSync, constants } from 'node:fs';
import { UnsupportedError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { loadNative } from './native.ts';
import { Sys } from './sys.ts';
import { type TraceSink, traceKernel } from './trace.ts';

export type Backend = 'auto' | 'kvm' | 'sim';

export interface Selection {
  readonly sys: Sys;
  /** In words: what was chosen and why. */
  readonly why: string;
}

export interface SelectOptions {
  /** Default `auto`: the real kernel. */
  readonly backend?: Backend;
  /** Gets every call that is made. */
  readonly trace?: TraceSink | undefined;
}

const simMissing = (): UnsupportedError =>
  new UnsupportedError(
    'backend sim',
    'the simulated kernel is not built yet',
    'use --backend kvm on a Linux host with /dev/kvm',
  );

/** The addon and the system calls of this host, whether or not it has KVM. UnsupportedError where there is no addon. */
export function nativeKernel(): Kernel {
  try {
    return loadNative();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const step =
      process.platform === 'linux'
        ? 'install a C++17 compiler, make and python3, then run `npm rebuild privmem`'
        : 'run on Linux';
    throw new UnsupportedError('native addon', reason, step, { cause: error });
  }
}

/** Whether /dev/kvm can be opened by this user, without opening it. */
export function kvmAccess(): 'usable' | 'forbidden' | 'missing' {
  try {
    accessSync('/dev/kvm', constants.F_OK);
  } catch {
    return 'missing';
  }
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return 'usable';
  } catch {
    return 'forbidden';
  }
}

/** Chooses a kernel. UnsupportedError, with the reason and the next step, when what was asked for is not to be had. */
export function selectKernel({ backend = 'auto', trace }: SelectOptions = {}): Selection {
  if (backend === 'sim') throw simMissing();
  const kernel = nativeKernel();
  const why = backend === 'kvm' ? 'the real kernel, as asked for' : 'the real kernel: the addon loads on this host';
  return { sys: new Sys(trace === undefined ? kernel : traceKernel(kernel, trace)), why };
}

/** The kernel to build on: `Kvm.open(openKernel())`. */
export function openKernel(options: SelectOptions = {}): Sys {
  return selectKernel(options).sys;
}
