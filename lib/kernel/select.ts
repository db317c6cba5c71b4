/** Which kernel a program runs on, and why. The only place that knows the kinds of kernel there are. */
import { type SimulateOptions, simulate } from '../sim/simulate.ts';
import { UnsupportedError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { archObstacle, nativeKernel, realKernel, traced } from './native-kernel.ts';
import { Sys } from './sys.ts';
import type { TraceRecord, TraceSink } from './trace.ts';

// What those above need to say which kernel is simulated.
export { nearestRelease, SIM_ARCHES, SIM_RELEASES, type SimArch, type SimRelease } from '../sim/profile.ts';
export type { SimulateOptions } from '../sim/simulate.ts';
export { kvmAccess, nativeKernel } from './native-kernel.ts';

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
  if (backend === 'kvm') return { sys: realKernel({ trace, arch }), why: 'the real kernel, as asked for' };
  const real = realOrReason(options);
  if (real instanceof Sys) return { sys: real, why: 'the real kernel: it can do this' };
  const why = `the simulated kernel, because the real one cannot do this: ${real.missing}: ${real.reason}`;
  return { sys: traced(simulate(simulated), trace), why };
}

/** The kernel to build on: `Kvm.open(openKernel())`. */
export function openKernel(options: SelectOptions = {}): Sys {
  return selectKernel(options).sys;
}
