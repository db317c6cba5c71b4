/** The kernel of this host. Apart from the choice between kernels: who wants no other need not load the simulated one. */
import { accessSync, constants } from 'node:fs';
import { UnsupportedError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { loadNative } from './native.ts';
import { Sys } from './sys.ts';
import { type TraceSink, traceKernel } from './trace.ts';

export interface RealKernelOptions {
  /** Gets every call that is made. */
  readonly trace?: TraceSink | undefined;
  /** Default: any. */
  readonly arch?: Kernel['arch'] | undefined;
}

/** The addon and the system calls of this host, whether or not it has KVM. UnsupportedError where there is no addon. */
export function nativeKernel(): Kernel {
  try {
    return loadNative();
  } catch (error) {
    // The loader adds a stack of modules to its first line.
    const [reason = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
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

/** A kernel whose calls go to `trace`, if there is one. */
export const traced = (kernel: Kernel, trace: TraceSink | undefined): Sys =>
  new Sys(trace === undefined ? kernel : traceKernel(kernel, trace));

/** What speaks against a kernel for an architecture. */
export function archObstacle({ kernel }: Sys, arch: Kernel['arch'] | undefined): UnsupportedError | undefined {
  if (arch === undefined || kernel.arch === arch) return undefined;
  return new UnsupportedError(
    `a kernel of ${arch}`,
    `this host is ${kernel.arch}`,
    'take the simulated one (--backend sim)',
  );
}

/** The real kernel. UnsupportedError without the addon, or when it is of another architecture. */
export function realKernel({ trace, arch }: RealKernelOptions = {}): Sys {
  const sys = traced(nativeKernel(), trace);
  const against = archObstacle(sys, arch);
  if (against !== undefined) throw against;
  return sys;
}
