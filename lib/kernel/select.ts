/** Which kernel a program runs on, and why. The only place that knows the kinds of kernel there are. */
import { accessSync, constants } from 'node:fs';
import { type SimulateOptions, simulate } from '../sim/simulate.ts';
import { UnsupportedError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { loadNative } from './native.ts';
import { Sys } from './sys.ts';
import { type TraceRecord, type TraceSink, traceKernel } from './trace.ts';

// What those above need to say which kernel is simulated.
export { nearestRelease, SIM_ARCHES, SIM_RELEASES, type SimArch, type SimRelease } from '../sim/profile.ts';
export type { SimulateOptions } from '../sim/simulate.ts';

export type Backend = 'auto' | 'kvm' | 'sim';

export interface Selection {
  readonly sys: Sys;
  /** In words: what was chosen and why. */
  readonly why: string;
}

export interface SelectOptions {
  /** Default `auto`: the real kernel if it can do what is needed, else the simulated one. */
  readonly backend?: Backend;
  /** Gets every call that is made. */
  readonly trace?: TraceSink | undefined;
  /** For `auto`: says why a kernel cannot do what is needed; undefined when it can. Default: having the addon is enough. */
  readonly obstacle?: (sys: Sys) => UnsupportedError | undefined;
  /** The architecture of the kernel. Default: any. */
  readonly arch?: Kernel['arch'] | undefined;
  /** Which kernel is simulated, if one is. Default: the newest release. */
  readonly simulate?: SimulateOptions;
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

const traced = (kernel: Kernel, trace: TraceSink | undefined): Sys =>
  new Sys(trace === undefined ? kernel : traceKernel(kernel, trace));

function archObstacle({ kernel }: Sys, arch: SelectOptions['arch']): UnsupportedError | undefined {
  if (arch === undefined || kernel.arch === arch) return undefined;
  return new UnsupportedError(
    `a kernel of ${arch}`,
    `this host is ${kernel.arch}`,
    'take the simulated one (--backend sim)',
  );
}

/** The real kernel if nothing speaks against it. The calls that find it out belong to its trace, but not to that of another kernel. */
function realOrReason({ trace, obstacle, arch }: SelectOptions): Sys | UnsupportedError {
  const asked: TraceRecord[] = [];
  let sink: TraceSink | undefined = trace && ((record) => asked.push(record));
  try {
    const sys = traced(nativeKernel(), trace && ((record) => sink?.(record)));
    const against = archObstacle(sys, arch) ?? obstacle?.(sys);
    if (against !== undefined) return against;
    for (const record of asked) trace?.(record);
    sink = trace;
    return sys;
  } catch (error) {
    if (error instanceof UnsupportedError) return error;
    throw error;
  }
}

/** Chooses a kernel. UnsupportedError, with the reason and the next step, when the real one was asked for and is not to be had. */
export function selectKernel(options: SelectOptions = {}): Selection {
  const { backend = 'auto', trace, arch } = options;
  const simulated = arch === undefined ? options.simulate : { ...options.simulate, arch };
  if (backend === 'sim') return { sys: traced(simulate(simulated), trace), why: 'the simulated kernel, as asked for' };
  if (backend === 'kvm') {
    const sys = traced(nativeKernel(), trace);
    const against = archObstacle(sys, arch);
    if (against !== undefined) throw against;
    return { sys, why: 'the real kernel, as asked for' };
  }
  const real = realOrReason(options);
  if (real instanceof Sys) return { sys: real, why: 'the real kernel: it can do this' };
  const why = `the simulated kernel, because the real one cannot do this: ${real.missing}: ${real.reason}`;
  return { sys: traced(simulate(simulated), trace), why };
}

/** The kernel to build on: `Kvm.open(openKernel())`. */
export function openKernel(options: SelectOptions = {}): Sys {
  return selectKernel(options).sys;
}
