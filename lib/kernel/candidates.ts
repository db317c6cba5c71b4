/** Kernels that a piece of work can be carried out on, in order of preference. Real ones are there, simulated ones are made to measure. */
import { type SimPatch, type SimRelease, type SimTechnology, type SimulateOptions, simulate } from '../sim/simulate.ts';
import { UnsupportedError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { kvmAccess, nativeKernel } from './select.ts';
import { Sys } from './sys.ts';
import { type TraceSink, traceKernel } from './trace.ts';

/** What a piece of work wants of a kernel, by name. A real kernel has it or not; a simulated one is made with it. */
export interface KernelNeed {
  readonly arch: Kernel['arch'];
  /** What must protect guests. None: whatever the kernel has by itself; default VMs are always there. */
  readonly technologies: readonly string[];
  /** Series that no release has. */
  readonly patches: readonly string[];
}

export interface KernelCandidate {
  /** For people: `this host`, `simulation`. */
  readonly name: string;
  /** UnsupportedError, with the reason, when it has not what is needed or cannot be had at all. */
  open(need: KernelNeed): Sys;
}

/** This host's kernel. Whether it has what is needed is found out by asking it; here only its architecture is looked at. */
export function hostCandidate(trace?: TraceSink): KernelCandidate {
  let sys: Sys | undefined;
  return {
    name: 'this host',
    open: ({ arch }) => {
      if (sys === undefined) {
        const access = kvmAccess();
        if (access !== 'usable') throw new UnsupportedError('/dev/kvm', `it is ${access}`, 'take the simulated kernel');
        const kernel = nativeKernel();
        sys = new Sys(trace === undefined ? kernel : traceKernel(kernel, trace));
      }
      if (sys.kernel.arch === arch) return sys;
      throw new UnsupportedError(`a kernel of ${arch}`, `this host is ${sys.kernel.arch}`, 'take the simulated kernel');
    },
  };
}

/** The simulation that has what is needed. */
export function simulationOf({ arch, technologies, patches }: KernelNeed, release?: SimRelease): SimulateOptions {
  return {
    arch,
    patches: patches as readonly SimPatch[],
    ...(technologies.length === 0 ? {} : { technologies: technologies as readonly SimTechnology[] }),
    ...(release === undefined ? {} : { release }),
  };
}

/** A simulated kernel with exactly what is needed, a new one at each call. */
export function simulationCandidate(trace?: TraceSink): KernelCandidate {
  return {
    name: 'simulation',
    open: ({ arch, technologies, patches }) => {
      try {
        const kernel = simulate(simulationOf({ arch, technologies, patches }));
        return new Sys(trace === undefined ? kernel : traceKernel(kernel, trace));
      } catch (error) {
        // Options that contradict each other: no kernel has both.
        if (error instanceof RangeError) {
          throw new UnsupportedError(
            `a kernel with ${[...technologies, ...patches].join(' and ') || 'default VMs'}`,
            error.message,
            'none',
          );
        }
        throw error;
      }
    },
  };
}

/** This host if it can, else a simulation. */
export const defaultCandidates = (trace?: TraceSink): readonly KernelCandidate[] => [
  hostCandidate(trace),
  simulationCandidate(trace),
];
